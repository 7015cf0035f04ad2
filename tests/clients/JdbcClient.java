// What a program of Java does with the driver of JDBC. Arguments: the URL, the role and the token. Prints what it saw, a
// line for each: name=value.

import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.postgresql.PGStatement;

public class JdbcClient {
    interface Work {
        void run() throws SQLException;
    }

    static String url;
    static Properties login = new Properties();

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        login.setProperty("user", arguments[1]);
        login.setProperty("password", arguments[2]);
        try (Connection connection = DriverManager.getConnection(url, login)) {
            prepared(connection);
            types(connection);
            transactions(connection);
            batches(connection);
            cursor(connection);
            metadata(connection);
            errors(connection);
            likeAPool(connection);
        }
        queryModes();
    }

    static void saw(String name, Object value) {
        System.out.println(name + "=" + value);
    }

    static String one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getString(1);
        }
    }

    static String stateOf(Work work) {
        try {
            work.run();
            return "none";
        } catch (SQLException problem) {
            return problem.getSQLState();
        }
    }

    // Past prepareThreshold (5) the driver names its statements, and later asks for results in binary.
    static void prepared(Connection connection) throws SQLException {
        try (PreparedStatement statement =
                connection.prepareStatement("select auth.user_id() || ':' || ?::text, ?::int * 2, now()")) {
            List<String> found = new ArrayList<>();
            for (int number = 0; number < 12; number++) {
                statement.setString(1, "n" + number);
                statement.setInt(2, number);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    found.add(rows.getString(1) + ":" + rows.getInt(2) + ":" + (rows.getTimestamp(3) != null));
                }
            }
            saw("first", found.get(0));
            saw("last", found.get(11));
            saw("server prepared", statement.unwrap(PGStatement.class).isUseServerPrepare());
        }
    }

    static void types(Connection connection) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(
                "select ?::bigint, ?::numeric, ?::timestamptz at time zone 'UTC', ?::text[], ?::bytea, ?::boolean, ?::text")) {
            statement.setLong(1, Long.MAX_VALUE);
            statement.setBigDecimal(2, new java.math.BigDecimal("1.50"));
            statement.setTimestamp(3, Timestamp.from(java.time.Instant.parse("2026-01-02T03:04:05Z")));
            statement.setArray(4, connection.createArrayOf("text", new String[] {"a", "b c", null}));
            statement.setBytes(5, new byte[] {1, -1});
            statement.setBoolean(6, true);
            statement.setNull(7, java.sql.Types.VARCHAR);
            for (int turn = 0; turn < 7; turn++) {
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    Array array = rows.getArray(4);
                    saw((turn < 5 ? "text " : "binary ") + turn, rows.getLong(1) + " " + rows.getBigDecimal(2) + " "
                            + rows.getObject(3, java.time.LocalDateTime.class) + " "
                            + String.join("|", java.util.Arrays.asList((String[]) array.getArray()).stream()
                                    .map(String::valueOf).toList())
                            + " " + rows.getBytes(5).length + " " + rows.getBoolean(6) + " " + rows.getString(7));
                }
            }
        }
    }

    static void transactions(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("insert into todos (task) values ('kept')");
            Savepoint savepoint = connection.setSavepoint("before");
            statement.executeUpdate("insert into todos (task) values ('lost')");
            saw("in the savepoint", stateOf(() -> statement.executeQuery("select 1/0")));
            saw("then", stateOf(() -> statement.executeQuery("select 1")));
            connection.rollback(savepoint);
            connection.releaseSavepoint(savepoint);
            connection.commit();
            saw("kept", one(connection, "select string_agg(task, ',') from todos"));
            statement.executeUpdate("delete from todos");
            connection.rollback();
            saw("rolled back", one(connection, "select count(*) from todos"));
            statement.executeUpdate("delete from todos");
            connection.commit();
        }
        connection.setAutoCommit(true);
    }

    static void batches(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement statement = connection.prepareStatement(
                "insert into todos (task) values (?)", Statement.RETURN_GENERATED_KEYS)) {
            for (int number = 0; number < 500; number++) {
                statement.setString(1, "batch " + number);
                statement.addBatch();
            }
            saw("batch", statement.executeBatch().length);
            int keys = 0;
            try (ResultSet rows = statement.getGeneratedKeys()) {
                while (rows.next()) {
                    keys++;
                }
            }
            saw("keys", keys);
        }
        saw("inserted", one(connection, "select count(*) from todos where user_id = 'user_alice'"));
        try (PreparedStatement statement = connection.prepareStatement("insert into todos (user_id) values (?)")) {
            for (String user : new String[] {"user_alice", "user_bob", "user_alice"}) {
                statement.setString(1, user);
                statement.addBatch();
            }
            statement.executeBatch();
            saw("forged batch", "none");
        } catch (BatchUpdateException problem) {
            saw("forged batch", problem.getSQLState());
        }
        connection.rollback();
        connection.setAutoCommit(true);
    }

    static void cursor(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement statement = connection.prepareStatement("select g from generate_series(1, 1050) g")) {
            statement.setFetchSize(100);
            long sum = 0;
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    sum += rows.getInt(1);
                }
            }
            saw("cursor", sum);
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData metadata = connection.getMetaData();
        saw("product", metadata.getDatabaseProductName());
        saw("tables", names(metadata.getTables(null, "public", "%", new String[] {"TABLE"}), "TABLE_NAME"));
        saw("columns", names(metadata.getColumns(null, "public", "todos", "%"), "COLUMN_NAME"));
        saw("key", names(metadata.getPrimaryKeys(null, "public", "todos"), "COLUMN_NAME"));
        saw("indexes", names(metadata.getIndexInfo(null, "public", "todos", false, false), "INDEX_NAME"));
        saw("schemas", names(metadata.getSchemas(), "TABLE_SCHEM").contains("public"));
        saw("types", names(metadata.getTypeInfo(), "TYPE_NAME").contains("int4"));
    }

    static String names(ResultSet rows, String column) throws SQLException {
        List<String> found = new ArrayList<>();
        while (rows.next()) {
            found.add(rows.getString(column));
        }
        return String.join(",", found);
    }

    static void errors(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            saw("division", stateOf(() -> statement.executeQuery("select 1/0")));
            saw("no table", stateOf(() -> statement.executeQuery("select * from nowhere")));
            saw("refused", stateOf(() -> statement.execute("set role postgres")));
            saw("forged", stateOf(() -> statement.executeUpdate("insert into todos (user_id) values ('user_bob')")));
            statement.setQueryTimeout(1);
            saw("time-out", stateOf(() -> statement.executeQuery("select slowly(30)")));
        }
        saw("after errors", one(connection, "select auth.user_id()"));
    }

    // What HikariCP and its kin do between two borrowers.
    static void likeAPool(Connection connection) throws SQLException {
        connection.setReadOnly(true);
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        connection.setAutoCommit(false);
        saw("read only", stateOf(() -> connection.createStatement().executeUpdate("delete from todos")));
        connection.rollback();
        saw("isolation", one(connection, "show transaction_isolation"));
        connection.rollback();
        connection.setAutoCommit(true);
        connection.setReadOnly(false);
        connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        connection.setSchema("public");
        connection.setNetworkTimeout(Runnable::run, 20_000);
        connection.clearWarnings();
        connection.setClientInfo("ApplicationName", "a pool");
        saw("application", one(connection, "show application_name"));
        saw("valid", connection.isValid(5));
        saw("isolation again", one(connection, "show transaction_isolation"));
        saw("writes again", stateOf(() -> connection.createStatement().executeUpdate("delete from todos")));
        saw("after the pool", one(connection, "select auth.user_id() || ' ' || current_user"));
        for (String reset : new String[] {"discard all", "reset all", "deallocate all"}) {
            connection.createStatement().execute(reset);
            saw("after " + reset, one(connection, "select auth.user_id()"));
        }
    }

    static void queryModes() throws SQLException {
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            Properties more = new Properties();
            more.putAll(login);
            more.setProperty("preferQueryMode", mode);
            more.setProperty("prepareThreshold", "1");
            more.setProperty("reWriteBatchedInserts", "true");
            try (Connection connection = DriverManager.getConnection(url, more)) {
                String me = "";
                for (int turn = 0; turn < 3; turn++) {
                    try (PreparedStatement statement = connection.prepareStatement("select auth.user_id(), ?")) {
                        statement.setString(1, "x");
                        try (ResultSet rows = statement.executeQuery()) {
                            rows.next();
                            me = rows.getString(1) + rows.getString(2);
                        }
                    }
                }
                saw(mode, me);
            }
        }
    }
}
