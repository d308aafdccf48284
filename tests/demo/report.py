#!/usr/bin/env python3
"""The end of the demo: the report from MySQL and from the lake, whether they and all tables are equal, and what it cost.

    report.py REPORT.sql WORK CAUGHT_UP_MS TABLE...

WORK holds mysql-side/N.tsv (the report by MySQL), mysql-side/TABLE.parquet (its tables, see dump.rs), TABLE.files (what
`binlake files` printed), watch.json and load.txt; and, where Spark has read the lake too, spark/N.tsv and spark/TABLE (hive.py).
Exits 1 when anything differs.
"""

import json
import pathlib
import statistics
import sys
import unicodedata

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "servers"))
import compare  # noqa: E402

SHOWN_ROWS = 12
TITLES = ["by grade", "by subject", "by teacher"]


def statements(text):
    """The statements of an SQL file that has no semicolon inside one, but maybe in its comments."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [statement.strip() for statement in code.split(";") if statement.strip()]


def from_lake(report, files):
    """The report's results by DuckDB over the lake's files, as `school report` writes MySQL's."""
    connection = compare.connect()
    for table, paths in files.items():
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {compare.parquet(paths)}")
    results = []
    for statement in statements(report):
        cursor = connection.execute(statement)
        if not statement.upper().startswith("SELECT"):
            continue
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
        results.append("\n".join("\t".join(str(cell) for cell in row) for row in [names, *rows]) + "\n")
    return results


def written(directory):
    """The report's results that were written down in a directory."""
    return [(directory / f"{number}.tsv").read_text(encoding="utf-8") for number in range(1, len(TITLES) + 1)]


def width(text):
    """Columns of a terminal: the wide characters of East Asia take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def padded(text, columns, left):
    blanks = " " * (columns - width(text))
    return text + blanks if left else blanks + text


def show(title, text):
    """A result as a table, with the rate that its numbers make."""
    head, *rows = [line.split("\t") for line in text.splitlines()]
    print(f"\n  {title}")
    place = head.index("enrolled")
    lines = [head + ["rate"]]
    for row in rows[:SHOWN_ROWS]:
        lines.append(row + [f"{100 * int(row[place + 1]) / int(row[place]):.1f} %"])
    widths = [max(width(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [padded(cell, widths[column], left=column < place) for column, cell in enumerate(line)]
        print("    " + "  ".join(cells).rstrip())
    if len(rows) > SHOWN_ROWS:
        print(f"    … and {len(rows) - SHOWN_ROWS} more, compared like these")


def costs(work, caught_up_ms):
    """What was seen of speed, freshness and memory."""
    watch = json.loads((work / "watch.json").read_text())
    print("\nWhat it cost")
    rows, seconds = watch["snapshot_rows"], watch["snapshot_seconds"]
    if seconds:
        print(f"  snapshots   {rows:,} rows in {seconds:.1f} s under load: {rows / seconds:,.0f} rows a second")
    else:
        print(f"  snapshots   {rows:,} rows, not all done while the daemon was watched")
    print(f"  changes     {(work / 'load.txt').read_text().strip()}")
    print(f"  caught up   {caught_up_ms / 1000:.1f} s after the load's end, a restart of the daemon in between")
    fresh = watch["freshness_seconds"]
    if fresh:
        print(f"  freshness   of the stalest live table: {statistics.median(fresh):.1f} s in the median, "
              f"{max(fresh):.1f} s at worst ({len(fresh)} samples)")
    else:
        print("  freshness   not seen: not every table was live while the daemon was watched")
    print(f"  memory      {watch['peak_memory_mib']:.0f} MiB at the peak")


def main():
    report, work, caught_up_ms, *tables = sys.argv[1:]
    work = pathlib.Path(work)
    files = {table: (work / f"{table}.files").read_text().splitlines() for table in tables}
    jobs = [{"table": table, "dump": str(work / "mysql-side" / f"{table}.parquet"), "files": files[table]} for table in tables]

    empty = [table for table in tables if not files[table]]
    if empty:
        sys.exit(f"the lake has no files of {', '.join(empty)}")
    lake = from_lake(pathlib.Path(report).read_text(encoding="utf-8"), files)
    sides = [("From MySQL, by SQL", written(work / "mysql-side")), ("From the lake, by DuckDB over `binlake files`", lake)]
    if (work / "spark").is_dir():
        sides.append(("From the lake, by Spark through the Hive Metastore", written(work / "spark")))
        copies = {table: [str(path) for path in (work / "spark" / table).glob("*.parquet")] for table in tables}
        jobs += [{**job, "table": f"{job['table']} by Spark", "files": copies[job["table"]]} for job in jobs]
    for side, results in sides:
        print(f"\n{side}")
        for title, text in zip(TITLES, results):
            show(title, text)

    same = all(results == lake for _, results in sides) and len(lake) == len(TITLES)
    print(f"\nThe {'two' if len(sides) == 2 else 'three'} reports are {'equal' if same else 'DIFFERENT'}.")
    print("Every table, row by row:")
    connection = compare.connect()
    results = [compare.compare(connection, job) for job in jobs]
    for result in results:
        print("  " + compare.describe(result))
    costs(work, int(caught_up_ms))
    good = same and all(result["equal"] for result in results)
    print("\n" + ("The lake is equal to MySQL." if good else "THE LAKE IS NOT EQUAL TO MYSQL."))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
