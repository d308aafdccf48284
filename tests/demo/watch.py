#!/usr/bin/env python3
"""Watches a running daemon through `binlake status --json` until SIGTERM, and writes down what it saw.

    watch.py BINLAKE CONFIG PID OUTPUT.json

Tells of every change of a table's phase, and now and then how far things are. OUTPUT.json gets the rows of the snapshots and the
seconds they took, the freshness of the live tables second by second, and the daemon's peak memory.
"""

import json
import signal
import subprocess
import sys
import threading
import time

# Often while snapshots are read, so that their seconds are worth something; then every second.
FIRST_SECONDS = 0.2
EVERY_SECONDS = 1.0
TELL_SECONDS = 10.0


def status(binlake, config):
    """What the daemon says; None while it cannot be asked."""
    try:
        asked = subprocess.run(
            [binlake, "status", "--json", "-c", config], capture_output=True, text=True, timeout=20, check=False
        )
        return json.loads(asked.stdout) if asked.returncode == 0 else None
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None


def peak_memory_mib(pid):
    """The highest resident memory of a process so far; None when it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


class Watch:
    def __init__(self):
        self.started = time.monotonic()
        self.phases = {}
        self.snapshot_rows = {}
        self.snapshot_seconds = None
        self.freshness = []
        self.memory = 0.0
        self.told = 0.0
        self.samples = 0

    def elapsed(self):
        return time.monotonic() - self.started

    def see(self, seen):
        self.samples += 1
        tables = [table for source in seen["sources"] for table in source["tables"]]
        for table in tables:
            self.snapshot_rows[table["table"]] = (table.get("snapshot") or {}).get("rows") or 0
            if self.phases.get(table["table"]) != table["phase"]:
                self.phases[table["table"]] = table["phase"]
                reason = f" ({table['reason']}; {table['remedy']})" if table.get("reason") else ""
                print(f"  {self.elapsed():4.0f} s  {table['table']}: {table['phase']}{reason}", flush=True)
        if tables and self.snapshot_seconds is None and not {"pending", "snapshotting"} & set(self.phases.values()):
            self.snapshot_seconds = self.elapsed()
        fresh = [table["freshness_seconds"] for table in tables if table["phase"] == "live"]
        fresh = [seconds for seconds in fresh if seconds is not None]
        if fresh and len(fresh) == len(tables):
            self.freshness.append(max(fresh))
        if self.elapsed() - self.told >= TELL_SECONDS:
            self.told = self.elapsed()
            rows = sum(self.snapshot_rows.values())
            print(f"  {self.elapsed():4.0f} s  {rows:,} rows loaded, the stalest live table is "
                  f"{f'{max(fresh):.1f} s' if fresh else 'not there yet'}", flush=True)

    def summary(self):
        return {
            "samples": self.samples,
            "snapshot_rows": sum(self.snapshot_rows.values()),
            "snapshot_seconds": self.snapshot_seconds,
            "freshness_seconds": self.freshness,
            "peak_memory_mib": self.memory,
            "phases": self.phases,
        }


def main():
    binlake, config, pid, output = sys.argv[1:]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch = Watch()
    while True:
        last = ended.wait(FIRST_SECONDS if watch.snapshot_seconds is None else EVERY_SECONDS)
        watch.memory = max(watch.memory, peak_memory_mib(pid) or 0.0)
        seen = status(binlake, config)
        if seen is not None:
            watch.see(seen)
        if last:
            break
    with open(output, "w", encoding="utf-8") as file:
        json.dump(watch.summary(), file)


if __name__ == "__main__":
    main()
