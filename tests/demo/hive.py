#!/usr/bin/env python3
"""The report, and every table, by Spark through the Hive Metastore.

    hive.py REPORT.sql WORK PYTHON SPARK.py METASTORE CLIENT TABLE...

PYTHON is one with Spark, SPARK.py the project's session of it, CLIENT its jars for METASTORE (thrift://HOST:PORT). Writes
WORK/spark/N.tsv, as `school report` writes MySQL's, and WORK/spark/TABLE/*.parquet. Nothing here knows where the lake's files are.
"""

import json
import pathlib
import subprocess
import sys

from report import statements

DATABASE = "ods_binlake_school"


class Session:
    """A Spark session: a request a line, an answer a line."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "Spark has ended"}
        if "error" in answer:
            sys.exit(f"Spark: {answer['error']}")
        return answer

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    report, work, python, script, metastore, client, *tables = sys.argv[1:]
    work = pathlib.Path(work)
    session = Session(python, script, metastore, client)
    session.ask(query=f"USE {DATABASE}")
    number = 0
    for statement in statements(pathlib.Path(report).read_text(encoding="utf-8")):
        # Spark has views where the others have tables for a session.
        answer = session.ask(query=statement.replace("CREATE TEMPORARY TABLE", "CREATE TEMPORARY VIEW"))
        if statement.upper().startswith("SELECT"):
            number += 1
            lines = [answer["columns"], *answer["rows"]]
            text = "\n".join("\t".join(str(cell) for cell in line) for line in lines) + "\n"
            (work / "spark" / f"{number}.tsv").write_text(text, encoding="utf-8")
    for table in tables:
        session.ask(copy=f"{DATABASE}.{table}", into=str(work / "spark" / table))
    session.end()


main()
