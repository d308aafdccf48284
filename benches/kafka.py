"""Through one real broker: binlake and Debezium's engine write the same backlog into it, binlake reads it back into the lake, and both
are asked how long a transaction takes from MySQL to a consumer.

The broker's CPU is apart, as the server's is.
"""

import json
import pathlib
import socket
import subprocess
import threading
import time

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

SERVERS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "servers"
# The load whose latency is taken: so many transactions of one row a second, over so many connections, for so long.
RATE, CONNECTIONS, SECONDS = 1000, 4, 20
# Transactions of the first seconds, when programs warm up, do not count.
WARM_UP = 5


class Broker:
    """One Kafka broker for this run alone."""

    def __init__(self, work):
        self.directory = work / "kafka"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        subprocess.run([SERVERS / "kafka.sh", "start", self.directory, "1", str(self.port)], check=True, stdout=subprocess.DEVNULL)
        self.address = f"127.0.0.1:{self.port}"

    def stop(self):
        subprocess.run([SERVERS / "kafka.sh", "kill", self.directory], check=False)

    def create(self, topic):
        """What Debezium's users make beforehand; binlake makes its own."""
        admin = AdminClient({"bootstrap.servers": self.address})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()

    def end(self, topic):
        """A topic's end; 0 before there is one."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.address, "group.id": "look"})
        try:
            return consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), timeout=30)[1]
        except confluent_kafka.KafkaException:
            return 0
        finally:
            consumer.close()

    def wait_growing(self, topic, change):
        """Makes a change, and waits until something comes into the topic: whoever writes it is at work."""
        before, deadline = self.end(topic), time.monotonic() + 120
        change()
        while self.end(topic) == before:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: nothing comes into {topic}")
            time.sleep(0.1)


class Arrivals(threading.Thread):
    """A consumer: for each row that comes, how long ago it was inserted."""

    def __init__(self, broker, topic):
        super().__init__(daemon=True)
        self.topic, self.milliseconds, self.ended = topic, [], False
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": broker.address, "group.id": "latency", "enable.auto.commit": False, "fetch.wait.max.ms": 100,
        })

    def watch(self):
        """From the topic's end as of now."""
        _, end = self.consumer.get_watermark_offsets(confluent_kafka.TopicPartition(self.topic, 0), timeout=30)
        self.consumer.assign([confluent_kafka.TopicPartition(self.topic, 0, end)])
        self.start()

    def run(self):
        while not self.ended:
            for message in self.consumer.consume(500, timeout=0.02):
                if message.error() is None and message.value():
                    now = time.time()
                    row = json.loads(message.value())["after"]
                    self.milliseconds.append((row["id"], now * 1e3 - row["made_at"] / 1e3))
        self.consumer.close()

    def take(self, count):
        """Waits for all rows; those of the time behind the warm-up."""
        deadline = time.monotonic() + 120
        while len(self.milliseconds) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: {len(self.milliseconds)} of {count} rows came into {self.topic}")
            time.sleep(0.05)
        self.ended = True
        self.join()
        each = count // CONNECTIONS
        return sorted(late for id_, late in self.milliseconds if id_ % 1_000_000 >= each * WARM_UP // SECONDS)


def load(server, base):
    """The transactions, at an even pace; how many there were, and in how long."""
    each = RATE * SECONDS // CONNECTIONS
    started = time.monotonic()
    server.parallel([f"CALL tick({base + i * 1_000_000}, {each}, {RATE // CONNECTIONS})" for i in range(CONNECTIONS)])
    return each * CONNECTIONS, time.monotonic() - started


def quantile(values, share):
    return values[min(int(len(values) * share), len(values) - 1)]


class Backlog:
    """W2 into topics, ours and Debezium's, and out of ours into committed tables."""

    INTO, OUT, OVER = "binlog to Kafka", "Kafka to changelog table", "Kafka to mirror"

    def __init__(self, report, job_of, debezium_of):
        """Before the changes are made: `job_of(mode)` is a binlake on the broker, `debezium_of()` a Debezium."""
        self.report, self.jobs, self.peer = report, {}, None
        if not any(report.wants(name) for name in (self.INTO, self.OUT, self.OVER)):
            return
        for mode in ("changelog", "mirror"):
            self.jobs[mode] = job_of(mode)
            self.jobs[mode].catch_up()
            # A paused table is captured, and nothing writes it: what is left is the tailer.
            self.jobs[mode].pause()
        self.peer = debezium_of()
        self.peer.take(1)

    def measure(self, count):
        if self.peer is None:
            return
        filled = {mode: job.catch_up() for mode, job in self.jobs.items()}
        self.report.add(self.INTO, "binlake", count, filled["changelog"])
        self.report.add(self.INTO, "Debezium, JSON", count, self.peer.take(count))
        # Their topics hold all of it, and their tailers find nothing more to do: this is reading them and writing the lake.
        for name, mode in ((self.OUT, "changelog"), (self.OVER, "mirror")):
            self.jobs[mode].resume()
            self.report.add(name, "binlake", count, self.jobs[mode].catch_up())


def latency(report, broker, server, programs):
    """From the INSERT of a transaction of one row to a consumer, one program after the other under the same load.

    `programs` are (who, topic, take_over, start): the first takes what the table has, `start()` answers what stops it."""
    for number, (who, topic, take_over, start) in enumerate(programs):
        take_over()
        stop = start()
        base = (number + 1) * 100_000_000
        broker.wait_growing(topic, lambda: server.sql(f"INSERT IGNORE INTO tick VALUES ({base - 1}, '2026-01-01', '')"))
        arrivals = Arrivals(broker, topic)
        arrivals.watch()
        count, seconds = load(server, base)
        taken = arrivals.take(count)
        stop()
        report.latency(who, count / seconds, {"p50": quantile(taken, 0.5), "p99": quantile(taken, 0.99), "max": taken[-1]})
