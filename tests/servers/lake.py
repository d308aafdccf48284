#!/usr/bin/env python3
"""Reads the lake for the tests with DuckDB, and with pyarrow what lies in a bucket, over HTTP what lies in HDFS: one request a line on standard input, one answer a line on standard output.

    {"query": SQL, "files": {"name": [FILE...]}}   the rows of SQL, which sees the files of each name as a view of that name
    {"compare": [JOB...]}                          what compare.py says of each job

The answer is {"rows": [[...]...]}, {"results": [...]} or {"error": text}.
"""

import functools
import json
import os
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request

import compare
import pyarrow.fs


@functools.cache
def bucket_files():
    """pyarrow's own S3, at the server that the tests started."""
    return pyarrow.fs.S3FileSystem(
        access_key="a-reader", secret_key="a-reader's", endpoint_override=os.environ["LAKE_S3"], scheme="http", region="us-east-1"
    )


def hadoop_stream(file):
    """A file of HDFS, as the DataNode that the tests started gives it to whoever asks over HTTP: by Hadoop's own client."""
    url = urllib.parse.urlsplit(file)
    where = urllib.parse.urlencode({"op": "OPEN", "namenoderpcaddress": url.netloc, "offset": 0})
    return urllib.request.urlopen(f"http://{os.environ['LAKE_HDFS']}/webhdfs/v1{urllib.parse.quote(url.path)}?{where}", timeout=60)


@functools.cache
def copies():
    return tempfile.TemporaryDirectory(prefix="binlake-lake.")


@functools.cache
def here(file):
    """A file of a bucket or of HDFS as a file that DuckDB can read; data files never change."""
    if not file.startswith(("s3://", "hdfs://")):
        return file
    copy = os.path.join(copies().name, file.partition("://")[2].replace("/", "!"))
    if file.startswith("hdfs://"):
        with hadoop_stream(file) as stream, open(copy, "wb") as target:
            shutil.copyfileobj(stream, target)
        return copy
    with bucket_files().open_input_stream(file.removeprefix("s3://")) as stream, open(copy, "wb") as target:
        target.write(stream.read())
    return copy


def query(connection, request):
    for name, files in request["files"].items():
        files = [here(file) for file in files]
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
            jobs = [job | {"files": [here(file) for file in job["files"]]} for job in request["compare"]]
            results = [compare.compare(connection, job) for job in jobs]
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
