"""`make bench`: binlake beside Debezium, mysqldump and the raw limit, all from one run on one machine.

Works on a MySQL server of its own. Figures are rows a second, rows per CPU second of the client (the server's CPU apart) and the
client's peak memory. binlake is measured as a process, `run --until-caught-up` from its start to its exit, everything fsynced;
Debezium from its first record to its last, so without the start of the JVM.

Environment:
  BENCH_ROWS      row changes in the binlog (default 5200000); W1 has as many rows less a fifth, W1b twice as many as that
  BENCH_BINARY    the binlake to measure (default target/release/binlake)
  BENCH_ONLY      words of the table's first column, comma-separated: only these are run
"""

import json
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import kafka
import raw

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent
SERVERS = REPOSITORY / "tests" / "servers"
BINARY = os.environ.get("BENCH_BINARY", str(REPOSITORY / "target/release/binlake"))
CHANGES_PER_ROUND, TRANSACTIONS_PER_ROUND, LOADERS = 13, 3, 4
UPDATE_ROUNDS = 6
# Updates that are spread over a whole table touch one row in so many.
SPREAD = 101
# Rows of large values are so many times fewer.
LARGE_SHARE = 2000
LATENCY = "MySQL to a consumer"
SERVER_OPTIONS = [
    "--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=2G", "--innodb-doublewrite=OFF",
    "--innodb-redo-log-capacity=2G", "--max-binlog-size=1G",
]


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def measured(command, **options):
    """Runs a process to its end: what it cost, and what it printed."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"bench: {command[:3]} ended with {process.returncode}")
    return {"seconds": time.monotonic() - started, "cpu_seconds": usage.ru_utime + usage.ru_stime, "rss_kib": usage.ru_maxrss}, output


def stopper(process):
    def stop():
        process.terminate()
        process.wait()

    return stop


class Server:
    """A MySQL server for this run alone."""

    def __init__(self, work):
        self.directory = work / "mysql"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        subprocess.run([SERVERS / "mysql.sh", "start", self.directory, str(self.port), *SERVER_OPTIONS], check=True)
        root = subprocess.run([SERVERS / "mysql.sh", "install"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        self.bin = pathlib.Path(root) / "bin"
        self.arguments = ["--no-defaults", "-uroot", "-h127.0.0.1", f"-P{self.port}"]

    def sql(self, text, database="bench"):
        command = [self.bin / "mysql", *self.arguments, "-N", *([database] if database else [])]
        return subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE, text=True).stdout

    def parallel(self, statements):
        command = [self.bin / "mysql", *self.arguments, "bench", "-e"]
        running = [subprocess.Popen([*command, statement]) for statement in statements]
        if any([process.wait() for process in running]):
            raise SystemExit("bench: the server refused a statement")

    def end(self):
        file, offset, *_ = self.sql("SHOW BINARY LOG STATUS").split("\t")
        return file, int(offset)

    def stop(self):
        subprocess.run([SERVERS / "mysql.sh", "kill", self.directory], check=False)


class Job:
    """One binlake with a state of its own."""

    def __init__(self, work, server, name, table, mode, check="rows", tls="off", brokers=None):
        self.directory = work / name
        self.directory.mkdir()
        self.table = table
        changelog = f"kind: kafka, brokers: ['{brokers}']" if brokers else "kind: local, dir: state/changelog"
        (self.directory / "binlake.yaml").write_text(
            f"state: sqlite:state/binlake.db\nscratch: state/scratch\nchangelog: {{{changelog}}}\n"
            f"lake: {{url: 'file:lake', datetime_zone: UTC, check: {check}}}\n"
            f"sources:\n  - name: {name}\n    url: mysql://root@127.0.0.1:{server.port}\n"
            f"    snapshot: {{parallel: 2}}\n    tls: {{mode: {tls}}}\n    tables: [{{table: {table}, mode: {mode}}}]\n"
        )

    def command(self, *arguments):
        return [BINARY, *arguments, "-c", str(self.directory / "binlake.yaml")]

    def catch_up(self):
        with open(self.directory / "log", "a") as log:
            return measured(self.command("run", "--until-caught-up"), stderr=log)[0]

    def request(self, command):
        subprocess.run(self.command(command, self.table), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def pause(self):
        self.request("pause")

    def resume(self):
        self.request("resume")

    def start(self):
        """The daemon; answers what stops it."""
        with open(self.directory / "log", "a") as log:
            return stopper(subprocess.Popen(self.command("run"), stderr=log))


class Debezium:
    """The embedded engine in a JVM of its own."""

    def __init__(self, work, server, name, table, kind, broker=None):
        self.kind = kind
        if broker:
            broker.create(f"{name}.{table}")
        self.directory = work / name
        self.directory.mkdir()
        self.properties = self.directory / "engine.properties"
        own = {
            "name": name, "topic.prefix": name, "table.include.list": table, "database.hostname": "127.0.0.1",
            "database.port": server.port, "database.user": "root", "database.password": "", "database.server.id": 990100 + len(name),
            "offset.storage.file.filename": self.directory / "offsets",
            "schema.history.internal.file.filename": self.directory / "history", "producer.bootstrap.servers": broker.address if broker else "",
        }
        text = (HERE / "debezium/engine.properties").read_text()
        self.properties.write_text(text + "".join(f"{key} = {value}\n" for key, value in own.items()))

    def command(self, records):
        jars = subprocess.run([HERE / "debezium/install.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        return [
            "java", "-Xmx2g", f"-Dlog4j2.configurationFile={HERE / 'debezium/log4j2.properties'}", "-cp", jars,
            str(HERE / "debezium/Harness.java"), str(self.properties), self.kind, str(records),
        ]

    def take(self, records):
        with open(self.directory / "log", "a") as log:
            _, output = measured(self.command(records), stderr=log)
        return json.loads(output.splitlines()[-1])

    def start(self):
        """For ever; answers what stops it."""
        with open(self.directory / "log", "a") as log:
            return stopper(subprocess.Popen(self.command(10**15), stdout=subprocess.DEVNULL, stderr=log))


class Report:
    """The lines, as they come and at the end."""

    def __init__(self):
        self.lines, self.latencies = [], []
        only = os.environ.get("BENCH_ONLY", "")
        self.only = [word for word in only.split(",") if word]

    def wants(self, work):
        return not self.only or any(word == work for word in self.only)

    def add(self, work, who, rows, figures):
        self.lines.append({"work": work, "who": who, "rows": rows, **figures})
        say(f"{work}: {who}: {figures['seconds']:.1f} s, {figures['cpu_seconds']:.1f} CPU s")

    def latency(self, who, rate, milliseconds):
        self.latencies.append((who, rate, milliseconds))
        say(f"{LATENCY}: {who}: " + ", ".join(f"{key} {value:.0f} ms" for key, value in milliseconds.items()))

    def print(self):
        print("| work | who | rows | wall s | rows/s | rows per CPU s | CPU s per M rows | peak RSS MB |")
        print("|---|---|---|---|---|---|---|---|")
        for line in self.lines:
            rows, cpu = line["rows"], max(line["cpu_seconds"], 1e-3)
            rss = f"{line['rss_kib'] / 1024:.0f}" if "rss_kib" in line else ""
            print(
                f"| {line['work']} | {line['who']} | {rows:,} | {line['seconds']:.1f} | {rows / line['seconds']:,.0f} | "
                f"{rows / cpu:,.0f} | {cpu / rows * 1e6:.2f} | {rss} |"
            )
        if self.latencies:
            print(f"\n| {LATENCY} | transactions/s | p50 ms | p99 ms | most ms |\n|---|---|---|---|---|")
        for who, rate, late in self.latencies:
            print(f"| {who} | {rate:,.0f} | {late['p50']:.0f} | {late['p99']:.0f} | {late['max']:.0f} |")


def snapshots(report, work, server, rows):
    """W1 and W1b: a whole table into a committed lake table."""
    for table, count, peer in [("w1", rows, "json"), ("w1b", rows * 2, "connect")]:
        name = f"snapshot {table.upper()}"
        if not report.wants(name):
            continue
        say(f"filling {table} with {count:,} rows")
        each = count // LOADERS // 1000 * 1000
        bounds = [(i * each, each if i < LOADERS - 1 else count - each * (LOADERS - 1)) for i in range(LOADERS)]
        server.parallel([f"SET SESSION sql_log_bin = 0; CALL fill_{table}({base}, {n})" for base, n in bounds])
        server.sql(f"ANALYZE TABLE {table}")
        report.add(name, "raw: SELECT drained, one connection", count, raw.select(server.port, f"bench.{table}"))
        dump = [server.bin / "mysqldump", *server.arguments, "--single-transaction", "--quick", "bench", table]
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(dump, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        report.add(name, "mysqldump to nothing", count, {"seconds": time.monotonic() - started, "cpu_seconds": cpu})
        report.add(name, "binlake, committed mirror", count, Job(work, server, f"load_{table}", f"bench.{table}", "mirror").catch_up())
        report.add(name, f"Debezium, {peer}", count, Debezium(work, server, f"dbz_{table}", f"bench.{table}", peer).take(count))


def backlog(report, work, server, broker, changes):
    """W2: a backlog of small transactions, written while everybody was down."""
    names = ["binlog to change log", "binlog to changelog table", "binlog to mirror"]
    through = [kafka.Backlog.INTO, kafka.Backlog.OUT, kafka.Backlog.OVER]
    if not any(report.wants(name) for name in names + through):
        return
    server.sql("INSERT INTO w2 SELECT -1, 1, 'c', 'pad', NOW(6), 1, NULL")
    secure = f"verify_ca, ca: {server.directory}/data/ca.pem"
    kinds = [(names[0], "binlake", "mirror", "off"), (names[0], "binlake over TLS", "mirror", secure),
             (names[1], "binlake", "changelog", "off"), (names[2], "binlake", "mirror", "off")]
    jobs = [(name, who, Job(work, server, f"tail_{i}", "bench.w2", mode, tls=tls))
            for i, (name, who, mode, tls) in enumerate(kinds) if report.wants(name)]
    for name, _, job in jobs:
        job.catch_up()
        if name == names[0]:
            # A paused table is captured, and nothing writes it: what is left is the tailer.
            job.pause()
    peer = Debezium(work, server, "dbz_w2", "bench.w2", "json")
    peer.take(1)
    topics = kafka.Backlog(
        report, lambda mode: Job(work, server, f"kafka_{mode}", "bench.w2", mode, brokers=broker.address),
        lambda: Debezium(work, server, "dbz_kafka_w2", "bench.w2", "kafka", broker),
    )
    rounds = changes // CHANGES_PER_ROUND // LOADERS
    count = rounds * LOADERS * CHANGES_PER_ROUND
    say(f"making {count:,} row changes in {rounds * LOADERS * TRANSACTIONS_PER_ROUND:,} transactions")
    file, offset = server.end()
    server.parallel([f"CALL change_w2({i * 1_000_000_000}, {rounds})" for i in range(LOADERS)])
    report.add(names[0], "raw: binlog drained", count, raw.binlog(server.port, file, offset))
    for name, who, job in jobs:
        report.add(name, who, count, job.catch_up())
    if report.wants(names[0]):
        report.add(names[0], "Debezium, JSON, records dropped", count, peer.take(count))
    topics.measure(count)


def latency(report, work, server, broker):
    """How long a small transaction takes to a consumer of its topic."""
    if not report.wants(LATENCY):
        return
    server.sql("INSERT INTO tick VALUES (0, '2026-01-01', '')")
    job = Job(work, server, "tick", "bench.tick", "changelog", brokers=broker.address)
    peer = Debezium(work, server, "dbz_tick", "bench.tick", "kafka", broker)
    rows = lambda: int(server.sql("SELECT COUNT(*) FROM tick"))
    programs = [
        ("binlake", "tick.bench.tick", job.catch_up, job.start),
        ("Debezium, JSON", "dbz_tick.bench.tick", lambda: peer.take(rows()), peer.start),
    ]
    kafka.latency(report, broker, server, programs)


def large_values(report, work, server, changes):
    """Rows of a TEXT of 128 kB and a BLOB of 64 kB that hardly compress, inserted while binlake was down."""
    name = "large values to mirror"
    if not report.wants(name):
        return
    job = Job(work, server, "large", "bench.large", "mirror")
    job.catch_up()
    count = max(changes // LARGE_SHARE, 100)
    say(f"inserting {count:,} rows of 192 kB")
    file, offset = server.end()
    server.sql(f"CALL fill_large({count})")
    report.add(name, "raw: binlog drained", count, raw.binlog(server.port, file, offset))
    report.add(name, "binlake", count, job.catch_up())


def checks(report, work, server, changes):
    """What `lake.check: rows` costs beside `keys` (promise 11): nothing but updates of rows that the mirror holds, the dearest case.

    Both catch up with the same changes in turn, so that what else the machine does meets both."""
    name = "updates to mirror"
    if not report.wants(name):
        return
    each = max(changes // UPDATE_ROUNDS // 1000, 1) * 1000
    server.sql(f"CREATE TABLE checked LIKE w1; SET SESSION sql_log_bin = 0; CALL fill_w1(500000000, {each})")
    server.sql("SET SESSION sql_log_bin = 0; INSERT INTO checked SELECT * FROM w1 WHERE id >= 500000000")
    jobs = {check: Job(work, server, f"check_{check}", "bench.checked", "mirror", check=check) for check in ("rows", "keys")}
    for job in jobs.values():
        job.catch_up()
    sums = {check: {"seconds": 0.0, "cpu_seconds": 0.0, "rss_kib": 0} for check in jobs}
    for number in range(UPDATE_ROUNDS):
        say(f"updating {each:,} rows, round {number + 1} of {UPDATE_ROUNDS}")
        for base in range(500_000_000, 500_000_000 + each, 1000):
            server.sql(f"UPDATE checked SET k = k + 1, note = CONCAT('changed {number} of ', id) WHERE id >= {base} AND id < {base + 1000}")
        for check in ("rows", "keys") if number % 2 == 0 else ("keys", "rows"):
            figures = jobs[check].catch_up()
            total = sums[check]
            total["seconds"] += figures["seconds"]
            total["cpu_seconds"] += figures["cpu_seconds"]
            total["rss_kib"] = max(total["rss_kib"], figures["rss_kib"])
    for check, figures in sums.items():
        report.add(name, f"binlake, check: {check}", each * UPDATE_ROUNDS, figures)
    # Each of these changes a row that lies alone among a hundred others: what is written anew is the whole table.
    server.sql(f"UPDATE checked SET k = k + 1 WHERE id % {SPREAD} = 0")
    spread = int(server.sql(f"SELECT COUNT(*) FROM checked WHERE id % {SPREAD} = 0"))
    report.add("updates to mirror", f"binlake, one row in {SPREAD}", spread, jobs["rows"].catch_up())
    say(f"check: rows costs {sums['rows']['cpu_seconds'] / sums['keys']['cpu_seconds'] - 1:+.1%} CPU beside keys")


def main():
    changes = int(os.environ.get("BENCH_ROWS", "5200000"))
    if not pathlib.Path(BINARY).is_file():
        raise SystemExit(f"bench: {BINARY} is not there")
    work, report, server, broker = pathlib.Path(tempfile.mkdtemp(prefix="binlake-bench.")), Report(), None, None
    try:
        server, broker = Server(work), kafka.Broker(work)
        server.sql((HERE / "tables.sql").read_text(), database=None)
        snapshots(report, work, server, changes - changes // 5 // 1000 * 1000)
        backlog(report, work, server, broker, changes)
        latency(report, work, server, broker)
        large_values(report, work, server, changes)
        checks(report, work, server, changes)
        report.print()
    finally:
        for started in (broker, server):
            if started:
                started.stop()
        shutil.rmtree(work, ignore_errors=True)


main()
