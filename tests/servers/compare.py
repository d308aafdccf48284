#!/usr/bin/env python3
"""Holds tables of the lake against what MySQL itself shows of them, row by row.

    compare.py JOBS.json

JOBS.json is a list of {"table": name, "dump": FILE, "files": [FILE...], "datetime_zone": "UTC", "datetime": "instant"}:
`dump` was written by dump.rs, `files` are what `binlake files` prints. The rows of both sides are brought into the same text and counted against each other, so
a row that is missing, superfluous, double or different in any cell is found. Prints a line per table and the first differences;
exits 1 when any table differs.
"""

import json
import sys

import duckdb
import pyarrow.parquet

EXAMPLES = 10


class Different(Exception):
    """The two sides cannot even be compared."""


def connect():
    """A DuckDB that prints the same everywhere."""
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.execute("SET memory_limit = '2GB'")
    return connection


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "'" + text.replace("'", "''") + "'"


def parquet(files):
    """The files as DuckDB reads them: only what is in them, nothing from their paths."""
    return f"read_parquet([{', '.join(literal(file) for file in files)}], hive_partitioning = false)"


def source_text(kind, column, zone):
    """A cell of the dump in the common text."""
    if kind == "double":
        return f"CAST(CAST({column} AS DOUBLE) AS VARCHAR)"
    if kind == "date":
        return f"CAST(CAST({column} AS DATE) AS VARCHAR)"
    if kind == "datetime" and zone != "UTC":
        return f"CAST(epoch_us(timezone({literal(zone)}, CAST({column} AS TIMESTAMP))) AS VARCHAR)"
    if kind in ("datetime", "timestamp"):
        return f"CAST(epoch_us(CAST({column} AS TIMESTAMP)) AS VARCHAR)"
    return column


def lake_text(kind, column, stored):
    """A cell of the lake, stored as `stored`, in the common text."""
    text = f"CAST({column} AS VARCHAR)"
    if stored.startswith("DECIMAL"):
        # One without digits before the point would print without its zero.
        text = f"CAST(CAST({column} AS DECIMAL(38,{stored.split(',')[1].strip(' )')})) AS VARCHAR)"
    if kind == "text" and (stored == "VARCHAR" or stored.startswith("DECIMAL")):
        return text
    if kind == "integer" and (stored in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT") or stored == "DECIMAL(20,0)"):
        return text
    if kind == "double" and stored in ("DOUBLE", "FLOAT"):
        return f"CAST(CAST({column} AS DOUBLE) AS VARCHAR)"
    if kind == "bit" and stored == "BOOLEAN":
        return f"CAST(CAST({column} AS INTEGER) AS VARCHAR)"
    if kind == "bit" and stored in ("BIGINT", "DECIMAL(20,0)"):
        return text
    if kind == "bytes" and stored == "BLOB":
        return f"hex({column})"
    if kind == "date" and stored == "DATE":
        return text
    if kind in ("datetime", "timestamp") and stored in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
        return f"CAST(epoch_us({column}) AS VARCHAR)"
    raise Different(f"column {column} is stored as {stored}, which does not hold a {kind}")


def lake_rows(connection, columns, files):
    """The lake's side as a query; without files it is an empty table."""
    names = [column["name"].lower() for column in columns]
    if not files:
        nothing = ", ".join(f"CAST(NULL AS VARCHAR) AS c{number}" for number in range(len(names)))
        return f"SELECT {nothing} WHERE false"
    described = connection.execute(f"DESCRIBE SELECT * FROM {parquet(files)}").fetchall()
    stored = {name: kind for name, kind, *_ in described}
    if list(stored) != names:
        raise Different(f"the lake has the columns {list(stored)}, MySQL has {names}")
    cells = [
        f"{lake_text(column['kind'], quoted(name), stored[name])} AS c{number}"
        for number, (name, column) in enumerate(zip(names, columns))
    ]
    return f"SELECT {', '.join(cells)} FROM {parquet(files)}"


def source_rows(columns, dump, zone):
    cells = [
        f"{source_text(column['kind'], quoted(column['name']), zone)} AS c{number}" for number, column in enumerate(columns)
    ]
    return f"SELECT {', '.join(cells)} FROM {parquet([dump])}"


def compare(connection, job):
    """What differs: {"table", "equal", "source_rows", "lake_rows", "differing", "examples"}."""
    metadata = pyarrow.parquet.read_metadata(job["dump"])
    columns = json.loads(metadata.metadata[b"columns"])
    key = json.loads(metadata.metadata[b"key"])
    if job.get("datetime") == "string":
        columns = [column | {"kind": "text"} if column["kind"] == "datetime" else column for column in columns]
    result = {"table": job["table"], "equal": False, "source_rows": metadata.num_rows, "lake_rows": 0, "differing": 0}
    try:
        lake = lake_rows(connection, columns, job["files"])
    except Different as error:
        return result | {"examples": [str(error)]}
    if job["files"]:
        result["lake_rows"] = connection.execute(f"SELECT count(*) FROM {parquet(job['files'])}").fetchone()[0]
    cells = ", ".join(f"c{number}" for number in range(len(columns)))
    source = source_rows(columns, job["dump"], job.get("datetime_zone", "UTC"))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE differing AS SELECT {cells}, CAST(sum(side) AS BIGINT) AS surplus "
        f"FROM (SELECT *, 1 AS side FROM ({source}) UNION ALL SELECT *, -1 AS side FROM ({lake})) "
        f"GROUP BY {cells} HAVING sum(side) <> 0"
    )
    result["differing"] = connection.execute("SELECT count(*) FROM differing").fetchone()[0]
    result["equal"] = result["differing"] == 0 and result["lake_rows"] == result["source_rows"]
    return result | {"examples": examples(connection, columns, key)}


def examples(connection, columns, key):
    """The first differing rows, in the order of the key's text, by name."""
    names = [column["name"] for column in columns]
    order = [f"c{names.index(name)}" for name in key] or ["c0"]
    rows = connection.execute(f"SELECT * FROM differing ORDER BY {', '.join(order)}, surplus DESC LIMIT {EXAMPLES}").fetchall()
    found = []
    for *cells, surplus in rows:
        where = "only in MySQL" if surplus > 0 else "only in the lake"
        shown = ", ".join(f"{name}={'NULL' if cell is None else repr(cell)}" for name, cell in zip(names, cells))
        found.append(f"{where}{'' if abs(surplus) == 1 else f' ({abs(surplus)} times more)'}: {shown}")
    return found


def describe(result):
    """A line for people, and the first differences below it."""
    verdict = "equal" if result["equal"] else f"DIFFERENT in {result['differing']:,} rows"
    lines = [f"{result['table']}: {result['source_rows']:,} rows in MySQL, {result['lake_rows']:,} in the lake: {verdict}"]
    return "\n    ".join(lines + result["examples"])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        jobs = json.load(file)
    connection = connect()
    good = True
    for job in jobs:
        result = compare(connection, job)
        print(describe(result))
        good = good and result["equal"]
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
