"""Stands for Grafana, which cannot be had where this runs: it reads what is provisioned as Grafana does, and fails where that is wrong.

It answers /api/health, /api/datasources, /api/search, /api/dashboards/uid/UID (with the data sources that its variables stand for), and
sends what is asked of a data source's proxy on to it. Nothing is drawn.
"""

import http.server
import json
import os
import pathlib
import signal
import sys
import urllib.parse
import urllib.request

import yaml

PROVISIONING = pathlib.Path("/etc/grafana/provisioning")
# Of Grafana's settings, each of which is documented as GF_<SECTION>_<KEY>, what docker-compose.yml uses.
KNOWN = {
    "GF_AUTH_ANONYMOUS_ENABLED",
    "GF_AUTH_ANONYMOUS_ORG_ROLE",
    "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH",
    "GF_SECURITY_ADMIN_PASSWORD",
}
OF_EVERY_CONTAINER = {"PATH", "HOME", "HOSTNAME", "LC_CTYPE", "TERM"}


def fail(text):
    print(f"stand-in: {text}", file=sys.stderr)
    sys.exit(64)


def read_environment():
    unknown = set(os.environ) - KNOWN - OF_EVERY_CONTAINER
    if unknown:
        fail(f"Grafana does not document {', '.join(sorted(unknown))}")
    home = pathlib.Path(os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    if not home.is_file():
        fail(f"there is no dashboard {home}")


def provisioned(kind, known):
    """The entries of the files of a kind, none of which has a key that Grafana does not know."""
    entries = []
    for file in sorted((PROVISIONING / kind).glob("*.yml")) + sorted((PROVISIONING / kind).glob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        key = "providers" if kind == "dashboards" else kind
        if content.get("apiVersion") != 1 or set(content) != {"apiVersion", key}:
            fail(f"{file}: apiVersion: 1 and {key} are what it has to hold")
        for entry in content[key]:
            if set(entry) - known:
                fail(f"{file}: {sorted(set(entry) - known)} is not a key of Grafana's")
            entries.append(entry)
    return entries


def read_sources():
    sources = provisioned("datasources", {"name", "uid", "type", "access", "url", "isDefault", "jsonData", "editable"})
    if len({source["uid"] for source in sources}) != len(sources):
        fail("two data sources have one uid")
    return {source["uid"]: source for source in sources}


def variables_of(dashboard, sources):
    """The values of the variables that stand for a data source: the first one of its type that is provisioned."""
    values = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "datasource":
            fitting = [uid for uid, source in sources.items() if source["type"] == variable["query"]]
            if not fitting:
                fail(f"{dashboard['title']}: no data source of type {variable['query']} is provisioned")
            values[f"${{{variable['name']}}}"] = fitting[0]
    return values


def panels_of(dashboard):
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def check_dashboard(file, dashboard, sources):
    for key in ("uid", "title", "panels", "schemaVersion", "time", "templating"):
        if key not in dashboard:
            fail(f"{file}: no {key}")
    ids = [panel["id"] for panel in panels_of(dashboard)]
    if len(set(ids)) != len(ids):
        fail(f"{file}: two panels have one id")
    variables = variables_of(dashboard, sources)
    for panel in panels_of(dashboard):
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            fail(f"{file}: {panel['title']} is wider than the page")
        for target in panel.get("targets", []):
            source = target.get("datasource") or panel["datasource"]
            uid = source["uid"] = variables.get(source["uid"], source["uid"])
            if uid not in sources:
                fail(f"{file}: {panel['title']} asks a data source {uid}, which is not provisioned")


def read_dashboards(sources):
    dashboards = {}
    known = {"name", "type", "disableDeletion", "options", "orgId", "folder", "updateIntervalSeconds", "allowUiUpdates"}
    for provider in provisioned("dashboards", known):
        for file in sorted(pathlib.Path(provider["options"]["path"]).glob("*.json")):
            dashboard = json.loads(file.read_text())
            check_dashboard(file, dashboard, sources)
            dashboards[dashboard["uid"]] = dashboard
    if not dashboards:
        fail("no dashboard is provisioned")
    return dashboards


class Answer(http.server.BaseHTTPRequestHandler):
    """What is asked over HTTP."""

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path)
        parts = path.path.strip("/").split("/")
        if path.path == "/api/health":
            return self.answer({"database": "ok", "version": "stand-in"})
        if path.path == "/api/datasources":
            return self.answer(list(SOURCES.values()))
        if path.path == "/api/search":
            return self.answer([{"uid": uid, "title": dashboard["title"]} for uid, dashboard in DASHBOARDS.items()])
        if parts[:3] == ["api", "dashboards", "uid"] and parts[3] in DASHBOARDS:
            return self.answer({"dashboard": DASHBOARDS[parts[3]]})
        if parts[:4] == ["api", "datasources", "proxy", "uid"] and parts[4] in SOURCES:
            url = f"{SOURCES[parts[4]]['url']}/{'/'.join(parts[5:])}?{path.query}"
            try:
                with urllib.request.urlopen(url, timeout=10) as reply:
                    return self.answer(json.load(reply))
            except urllib.error.HTTPError as error:
                return self.answer(json.load(error), error.code)
        return self.answer({"message": "not found"}, 404)

    def answer(self, content, code=200):
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


# The first process of a container ends by no signal that it does not handle.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
read_environment()
SOURCES = read_sources()
DASHBOARDS = read_dashboards(SOURCES)
http.server.ThreadingHTTPServer(("0.0.0.0", 3000), Answer).serve_forever()
