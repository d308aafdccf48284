/** Prints the names of all settings of a Kafka broker, for the stand-in of its image. */
public final class Settings {
    public static void main(String[] arguments) {
        org.apache.kafka.server.config.AbstractKafkaConfig.CONFIG_DEF.names().stream().sorted().forEach(System.out::println);
    }
}
