#!/usr/bin/env python3
"""Spark for the tests: one request a line on standard input, one answer a line on standard output.

    spark.py METASTORE [CLIENT]     METASTORE is thrift://HOST:PORT; CLIENT a directory with the jars of another metastore client

    {"query": SQL}                  the rows of SQL, cells as text, and the names of its columns
    {"copy": TABLE, "into": DIR}    writes a table, without what it is partitioned by, as Parquet; the rows are files in DIR
    {"zone": NAME}                  another session time zone
    {"native": BOOL}                whether Spark reads Parquet with its own reader, or with Hive's SerDe

The answer is {"rows": [[...]...], "columns": [...]} or {"error": text}.
"""

import json
import os
import sys

# What Spark itself prints is for people.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from pyspark.sql import SparkSession  # noqa: E402


def connect(metastore, client):
    builder = (
        SparkSession.builder.master("local[2]")
        .appName("tests")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .config("spark.hadoop.hive.metastore.uris", metastore)
        .enableHiveSupport()
    )
    if client:
        builder = (
            builder.config("spark.sql.hive.metastore.version", "4.0.1")
            .config("spark.sql.hive.metastore.jars", "path")
            .config("spark.sql.hive.metastore.jars.path", f"file://{client}/*.jar")
        )
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def plain(cell):
    if cell is None or isinstance(cell, (bool, int, float, str)):
        return cell
    return bytes(cell).hex() if isinstance(cell, (bytes, bytearray)) else str(cell)


def answer(session, request):
    try:
        if "zone" in request:
            session.conf.set("spark.sql.session.timeZone", request["zone"])
            return {"rows": []}
        if "native" in request:
            session.conf.set("spark.sql.hive.convertMetastoreParquet", str(request["native"]).lower())
            return {"rows": []}
        if "copy" in request:
            columns = session.catalog.listColumns(request["copy"])
            table = session.table(request["copy"]).drop(*[column.name for column in columns if column.isPartition])
            table.write.mode("overwrite").parquet(f"file://{request['into']}")
            return {"rows": []}
        result = session.sql(request["query"])
        return {"rows": [[plain(cell) for cell in row] for row in result.collect()], "columns": result.columns}
    except Exception as error:  # whatever it is, the test has to hear of it
        return {"error": f"{type(error).__name__}: {error}"[:4000]}


def main():
    session = connect(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    for line in sys.stdin:
        print(json.dumps(answer(session, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
