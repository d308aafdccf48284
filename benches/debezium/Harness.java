// Debezium's embedded engine with a consumer that only counts, or writes to Kafka: the peer of `make bench`.
//
//   java -cp … Harness.java PROPERTIES FORMAT RECORDS
//
// FORMAT is `json`, `connect`, or `kafka`: JSON that is written to the brokers at `producer.bootstrap.servers` of PROPERTIES, a batch at a
// time and acknowledged before the next, as Debezium Server does. It ends behind RECORDS records and prints one line of JSON: records, seconds and CPU seconds of this
// process from the first record to the last (the JVM's start and the connector's are left out), and its peak memory. With SHOW_RECORD in
// its environment it also prints each record to its error output, key and value in a line.

import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import io.debezium.embedded.Connect;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.FileReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Harness {
    static final CountDownLatch done = new CountDownLatch(1);
    // JSON is UTF-8, whatever the locale says.
    static final PrintStream shown = System.getenv("SHOW_RECORD") == null ? null
        : new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8);
    static volatile String failure;
    static KafkaProducer<byte[], byte[]> producer;
    static String tables;
    static long wanted, records, bytes, firstNanos, lastNanos, firstCpu, lastCpu;

    static long cpu() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    static <T> void take(List<ChangeEvent<T, T>> batch, DebeziumEngine.RecordCommitter<ChangeEvent<T, T>> committer)
            throws InterruptedException {
        for (ChangeEvent<T, T> event : batch) {
            // Heartbeats and statements have topics of their own, and do not count.
            if (event.destination() != null && event.destination().startsWith(tables)) {
                if (records == 0) {
                    firstNanos = System.nanoTime();
                    firstCpu = cpu();
                }
                records++;
                if (event.value() instanceof String text) bytes += text.length();
                if (producer != null) send(event.destination(), (String) event.key(), (String) event.value());
                if (shown != null) shown.println(event.key() + " " + event.value());
            }
            if (producer == null) committer.markProcessed(event);
        }
        if (producer != null) {
            producer.flush();
            if (failure != null) throw new InterruptedException(failure);
            for (ChangeEvent<T, T> event : batch) committer.markProcessed(event);
        }
        committer.markBatchFinished();
        if (records >= wanted && done.getCount() > 0) {
            lastNanos = System.nanoTime();
            lastCpu = cpu();
            done.countDown();
        }
    }

    static void send(String topic, String key, String value) {
        byte[] keyBytes = key == null ? null : key.getBytes(StandardCharsets.UTF_8);
        producer.send(new ProducerRecord<>(topic, keyBytes, value == null ? null : value.getBytes(StandardCharsets.UTF_8)), (at, error) -> {
            if (error != null) {
                failure = "a record was not acknowledged: " + error;
                done.countDown();
            }
        });
    }

    static KafkaProducer<byte[], byte[]> producer(String brokers) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        settings.put("compression.type", "lz4");
        settings.put("batch.size", "1000000");
        settings.put("linger.ms", "5");
        settings.put("buffer.memory", "134217728");
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        try (FileReader reader = new FileReader(arguments[0])) {
            properties.load(reader);
        }
        tables = properties.getProperty("topic.prefix") + ".";
        wanted = Long.parseLong(arguments[2]);
        if (arguments[1].equals("kafka")) producer = producer(properties.getProperty("producer.bootstrap.servers"));
        DebeziumEngine.CompletionCallback ended = (success, message, error) -> {
            if (!success) {
                failure = message + (error == null ? "" : ": " + error);
                done.countDown();
            }
        };
        DebeziumEngine<?> engine = arguments[1].equals("connect")
            ? DebeziumEngine.create(Connect.class).using(properties).using(ended).notifying(Harness::take2).build()
            : DebeziumEngine.create(Json.class).using(properties).using(ended).notifying(Harness::take1).build();
        var executor = Executors.newSingleThreadExecutor();
        executor.execute(engine);
        if (!done.await(30, TimeUnit.MINUTES)) failure = "not done within 30 minutes: " + records + " of " + wanted;
        // An engine that has failed cannot be closed any more.
        if (failure != null) {
            System.err.println(failure);
            System.exit(1);
        }
        engine.close();
        executor.shutdown();
        executor.awaitTermination(1, TimeUnit.MINUTES);
        String peak = Files.readAllLines(Path.of("/proc/self/status")).stream()
            .filter(line -> line.startsWith("VmHWM")).findFirst().orElse("VmHWM: 0").replaceAll("\\D", "");
        System.out.printf("{\"records\": %d, \"seconds\": %.3f, \"cpu_seconds\": %.3f, \"bytes\": %d, \"rss_kib\": %s}%n",
            records, (lastNanos - firstNanos) / 1e9, (lastCpu - firstCpu) / 1e9, bytes, peak);
        System.exit(0);
    }

    static void take1(List<ChangeEvent<String, String>> batch, DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer)
            throws InterruptedException {
        take(batch, committer);
    }

    @SuppressWarnings("unchecked")
    static void take2(List<? extends Object> batch, DebeziumEngine.RecordCommitter<?> committer) throws InterruptedException {
        take((List<ChangeEvent<Object, Object>>) (List<?>) batch,
            (DebeziumEngine.RecordCommitter<ChangeEvent<Object, Object>>) (DebeziumEngine.RecordCommitter<?>) committer);
    }
}
