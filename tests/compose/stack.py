#!/usr/bin/env python3
"""What compose.sh looks at: one question a call, exit code 0 for yes.

    stack.py health PS_JSON                  every service is healthy, or has ended well
    stack.py live STATUS.json                every table is live
    stack.py caught-up STATUS.json           every table has all that the server has, and the metastore shows it
    stack.py watched PROMETHEUS GRAFANA DEPLOY   ports; the daemon is scraped, the alerts are quiet, the dashboard's queries answer
    stack.py trino REPORT.sql                prints the report as Trino takes it
    stack.py same MYSQL.tsv TRINO.tsv        the two reports are equal
    stack.py readme README.md                prints the commands of the section on docker compose, but for `up` and `down`
"""

import json
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

SERVICES = {"mysql", "load", "kafka", "s3", "metastore", "binlake", "prometheus", "grafana", "trino"}
ONCE = {"school", "bucket"}
TABLES = 7


def health(listing):
    """Compose prints a list or, in newer versions, a line for each."""
    text = listing.strip()
    containers = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    seen = {container["Service"]: container for container in containers}
    for service in sorted(ONCE & set(seen)):
        if seen[service]["State"] == "exited" and seen[service]["ExitCode"] != 0:
            sys.exit(f"{service} failed")
    good = {name for name, one in seen.items() if one["State"] == "running" and one.get("Health", "") in ("", "healthy")}
    done = {name for name, one in seen.items() if one["State"] == "exited" and one["ExitCode"] == 0}
    return SERVICES <= good and ONCE <= done


def tables_of(file):
    sources = json.loads(pathlib.Path(file).read_text())["sources"]
    tables = [table for source in sources for table in source["tables"]]
    for table in tables:
        if table["phase"] == "parked":
            sys.exit(f"{table['table']} is parked: {table['reason']}")
    return sources, tables


def live(file):
    _, tables = tables_of(file)
    return len(tables) == TABLES and all(table["phase"] == "live" for table in tables)


def caught_up(file):
    sources, tables = tables_of(file)
    shown = [publication for table in tables for publication in table["publications"]]
    return (
        live(file)
        and all(source["lag_seconds"] == 0 for source in sources)
        and all(table["freshness_seconds"] == 0 for table in tables)
        and len(shown) == TABLES
        and all(publication["behind"] == 0 for publication in shown)
    )


def asked(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def wait_for(what, reached, seconds=60):
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            sys.exit(f"never: {what}")
        time.sleep(1)


def watched(prometheus, grafana, deploy):
    prometheus = f"http://127.0.0.1:{prometheus}"
    grafana = f"http://127.0.0.1:{grafana}"

    def value(query):
        result = asked(f"{prometheus}/api/v1/query?query={urllib.parse.quote(query)}")["data"]["result"]
        return float(result[0]["value"][1]) if result else 0

    wait_for("the daemon is scraped", lambda: value('up{job="binlake"}') == 1)
    wait_for("rows are committed", lambda: value("sum(binlake_commit_rows_total)") > 0)
    rules = [rule for group in asked(f"{prometheus}/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
    wanted = re.findall(r"- alert: (\w+)", (pathlib.Path(deploy) / "prometheus/binlake.rules.yml").read_text())
    if sorted(rule["name"] for rule in rules) != sorted(wanted):
        sys.exit("Prometheus has other alerts than deploy/prometheus")
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    if firing:
        sys.exit(f"these alerts fire: {firing}")
    print(f"{len(rules)} alerts are quiet, {value('sum(binlake_commit_rows_total)'):.0f} rows are committed")
    ask_dashboards(grafana)


def ask_dashboards(grafana):
    """Every query of every dashboard, as Grafana would send it."""
    empty, queries = [], 0
    for found in asked(f"{grafana}/api/search"):
        dashboard = asked(f"{grafana}/api/dashboards/uid/{found['uid']}")["dashboard"]
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"].replace("$__rate_interval", "1m")
                query = re.sub(r"\$\w+", ".*", query)
                uid = (target.get("datasource") or panel["datasource"])["uid"]
                answer = asked(f"{grafana}/api/datasources/proxy/uid/{uid}/api/v1/query?query={urllib.parse.quote(query)}")
                if answer["status"] != "success":
                    sys.exit(f"{panel['title']}: {answer}")
                queries += 1
                if not answer["data"]["result"]:
                    empty.append(panel["title"])
    print(f"{queries} queries of the dashboard answer; nothing to show: {', '.join(empty) or 'none'}")


def statements(text):
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [statement.strip() for statement in code.split(";") if statement.strip()]


def trino(report):
    """Trino has no temporary tables: they become the beginning of each query."""
    tables = []
    for statement in statements(pathlib.Path(report).read_text()):
        made = re.match(r"CREATE TEMPORARY TABLE (\w+) AS\s+(.*)", statement, re.S)
        if made:
            tables.append(f"{made[1]} AS (\n{made[2]}\n)")
        else:
            print("WITH " + ",\n".join(tables) + "\n" + statement + ";\n")
    return True


def same(mysql, trino):
    def rows(file):
        # CHAR(20) of Trino is as wide as it says.
        return [[cell.rstrip() for cell in line.split("\t")] for line in pathlib.Path(file).read_text(encoding="utf-8").splitlines()]

    ours, theirs = rows(mysql), rows(trino)
    if len(ours) < 20:
        sys.exit(f"the report has {len(ours)} lines only")
    for number, (left, right) in enumerate(zip(ours, theirs), 1):
        if left != right:
            sys.exit(f"line {number} differs: MySQL has {left}, Trino {right}")
    if len(ours) != len(theirs):
        sys.exit(f"MySQL has {len(ours)} lines, Trino {len(theirs)}")
    print(f"the reports are equal: {len(ours)} lines")
    return True


def readme(file):
    section = re.search(r"## On a laptop.*?(?=\n## )", pathlib.Path(file).read_text(), re.S)
    if not section:
        sys.exit("README.md has no section on docker compose")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", section[0], re.S) for line in block.splitlines()]
    wanted = [line for line in commands if "compose up" not in line and "compose down" not in line]
    if not any("exec trino trino" in line for line in wanted):
        sys.exit("README.md asks Trino nothing")
    print("\n".join(wanted))
    return True


VERBS = {
    "health": health, "live": live, "caught-up": caught_up, "watched": watched,
    "trino": trino, "same": same, "readme": readme,
}  # fmt: skip

if __name__ == "__main__":
    answer = VERBS[sys.argv[1]](*sys.argv[2:])
    sys.exit(1 if answer is False else 0)
