// Flink as a consumer of topics: runs SQL statements, and prints what the changelogs of its queries lead to.
//
//   java -cp … Reader.java PARALLELISM < STATEMENTS
//
// Statements stand between lines that are `;` alone. The source of a query (SELECT) has to end. Its changes are applied as Flink names them
// (+I, -U, +U, -D); a row that is taken back and is not there is an error. What is left is printed, a row a line, as a JSON array of texts:
// numbers and times as they are, bytes in hexadecimal, NULL as null. Behind the rows of a query stands a line `.`; of one that failed, the
// line before it is `!` and a JSON text: why.

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

public class Reader {
    public static void main(String[] arguments) {
        try {
            run(Integer.parseInt(arguments[0]));
        } catch (Exception error) {
            System.err.println(why(error));
            System.exit(1);
        }
        // The cluster has threads that would go on.
        System.exit(0);
    }

    static void run(int parallelism) throws Exception {
        Configuration settings = new Configuration();
        settings.setString("parallelism.default", String.valueOf(parallelism));
        // Nothing that others could reach, and no second try: an error is a result.
        for (String name : List.of("jobmanager.bind-host", "taskmanager.bind-host", "taskmanager.host", "rest.bind-address", "rest.address")) {
            settings.setString(name, "127.0.0.1");
        }
        settings.setString("rest.bind-port", "0");
        settings.setString("restart-strategy.type", "none");
        settings.setString("table.local-time-zone", "UTC");
        // A cluster that outlives its jobs: the one that a job has for itself may be gone before the last rows are fetched.
        MiniCluster cluster = new MiniCluster(new MiniClusterConfiguration.Builder().setConfiguration(settings)
            .setNumTaskManagers(1).setNumSlotsPerTaskManager(parallelism).build());
        cluster.start();
        settings.setString("execution.target", "remote");
        settings.setString("rest.port", String.valueOf(cluster.getRestAddress().get().getPort()));
        TableEnvironment flink = TableEnvironment.create(
            EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        for (String statement : new String(System.in.readAllBytes(), StandardCharsets.UTF_8).split("\n;\n")) {
            if (statement.startsWith("SET ")) {
                String[] quoted = statement.split("'");
                flink.getConfig().set(quoted[1], quoted[3]);
                continue;
            }
            if (!statement.startsWith("SELECT")) {
                flink.executeSql(statement);
                continue;
            }
            try {
                read(flink, statement).forEach((row, times) -> out.print((row + "\n").repeat(times)));
            } catch (Exception error) {
                out.println("! " + quoted(why(error)));
            }
            out.println(".");
        }
        out.flush();
    }

    static Map<String, Integer> read(TableEnvironment flink, String query) throws Exception {
        Map<String, Integer> left = new TreeMap<>();
        Row missing = null;
        try (CloseableIterator<Row> changes = flink.executeSql(query).collect()) {
            // To the end, whatever comes: a job that is left early keeps its slots from the next one.
            while (changes.hasNext()) {
                Row change = changes.next();
                if (!isApplied(change, left) && missing == null) missing = change;
            }
        }
        if (missing != null) throw new IllegalStateException("taken back, and not there: " + missing);
        return left;
    }

    static boolean isApplied(Row change, Map<String, Integer> left) {
        int more = switch (change.getKind()) {
            case INSERT, UPDATE_AFTER -> 1;
            case UPDATE_BEFORE, DELETE -> -1;
        };
        int times = left.merge(line(change), more, Integer::sum);
        if (times == 0) left.remove(line(change));
        return times >= 0;
    }

    static String why(Throwable error) {
        StringBuilder why = new StringBuilder();
        for (; error != null; error = error.getCause()) why.append(error.getMessage()).append('\n');
        return why.toString();
    }

    static String line(Row row) {
        List<String> cells = new ArrayList<>();
        for (int cell = 0; cell < row.getArity(); cell++) cells.add(quoted(shown(row.getField(cell))));
        return "[" + String.join(",", cells) + "]";
    }

    static String shown(Object cell) {
        if (cell instanceof byte[] bytes) return HexFormat.of().withUpperCase().formatHex(bytes);
        if (cell instanceof BigDecimal number) return number.toPlainString();
        if (cell instanceof Float number) return Double.toString(number);
        if (cell instanceof Object[] items) {
            List<String> all = new ArrayList<>();
            for (Object item : items) all.add(shown(item));
            return String.join(",", all);
        }
        return cell == null ? null : cell.toString();
    }

    static String quoted(String text) {
        if (text == null) return "null";
        StringBuilder quoted = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') quoted.append('\\').append(letter);
            else if (letter < ' ') quoted.append(String.format("\\u%04x", (int) letter));
            else quoted.append(letter);
        }
        return quoted.append('"').toString();
    }
}
