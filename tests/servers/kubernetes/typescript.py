#!/usr/bin/env python3
"""Prints the Prometheus operator's resources of YAML files as a program in TypeScript: it compiles where every field is known, and runs
where what stands in them is right.

    typescript.py FILE...
"""

import json
import pathlib
import sys

import yaml

KINDS = ("PodMonitor", "PrometheusRule")


def main():
    resources = [resource for file in sys.argv[1:] for resource in yaml.safe_load_all(pathlib.Path(file).read_text())]
    ours = [resource for resource in resources if resource["kind"] in KINDS]
    if {resource["kind"] for resource in ours} != set(KINDS):
        sys.exit(f"there is not one of each: {', '.join(KINDS)}")
    for kind in KINDS:
        print(f'import {{ {kind}, I{kind} }} from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/{kind}";')
    for number, resource in enumerate(ours):
        print(f"const resource{number}: I{resource['kind']} = {json.dumps(resource)};")
        print(f"new {resource['kind']}(resource{number}).validate();")
    print(f'console.log("{len(ours)} resources are as the Prometheus operator has them");')


if __name__ == "__main__":
    main()
