#!/usr/bin/env python3
"""Holds Kubernetes' own resources in YAML files against its schemas, strictly; those of the operator are for typescript.py.

    check.py FILE...
"""

import pathlib
import sys

import kubernetes_validate
import yaml

OPERATOR = "monitoring.coreos.com/"


def main():
    checked = 0
    for file in map(pathlib.Path, sys.argv[1:]):
        for resource in yaml.safe_load_all(file.read_text()):
            if resource["apiVersion"].startswith(OPERATOR):
                continue
            try:
                kubernetes_validate.validate(resource, "1.37", strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"{file.stem}: {resource['kind']} {resource['metadata']['name']}: {'.'.join(map(str, error.path))}: {error.message}")
            checked += 1
    if not checked:
        sys.exit("there was nothing to check")
    print(f"{checked} resources are as Kubernetes 1.37 has them")


if __name__ == "__main__":
    main()
