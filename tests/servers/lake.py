#!/usr/bin/env python3
"""Reads the lake for the tests with DuckDB: one request a line on standard input, one answer a line on standard output.

    {"query": SQL, "files": {"name": [FILE...]}}   the rows of SQL, which sees the files of each name as a view of that name
    {"compare": [JOB...]}                          what compare.py says of each job

The answer is {"rows": [[...]...]}, {"results": [...]} or {"error": text}.
"""

import json
import sys

import compare


def query(connection, request):
    for name, files in request["files"].items():
        if not files:
            raise compare.Different(f"{name} has no files")
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {compare.quoted(name)} AS SELECT * FROM {compare.parquet(files)}")
    rows = connection.execute(request["query"]).fetchall()
    return {"rows": [[plain(cell) for cell in row] for row in rows]}


def plain(cell):
    """A cell as JSON has it; what JSON does not have becomes text."""
    if cell is None or isinstance(cell, (bool, int, float, str)):
        return cell
    return cell.hex() if isinstance(cell, bytes) else str(cell)


def answer(connection, request):
    try:
        if "compare" in request:
            results = [compare.compare(connection, job) for job in request["compare"]]
            return {"results": [result | {"text": compare.describe(result)} for result in results]}
        return query(connection, request)
    except Exception as error:  # whatever it is, the test has to hear of it
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    connection = compare.connect()
    for line in sys.stdin:
        print(json.dumps(answer(connection, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
