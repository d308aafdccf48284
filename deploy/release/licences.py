#!/usr/bin/env python3
"""Prints the licences of all that a binlake binary is made of: each crate with its licence and where it comes from, then every text once.

    licences.py CRATES

CRATES has a line `name version` for each crate in the binary. What stands in a crate's sources beside its own code (librdkafka, SQLite,
zstd) is found in its directory. Fails for a crate without a licence's text, of its own or of another crate under the same licence.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

TEXT = re.compile(r"(licen[cs]e|copying|notice|copyright|unlicense)", re.I)
NOT_TEXT = {".rs", ".toml", ".py", ".c", ".h", ".json", ".html", ".sh"}
# Directories of tests, documentation and tools, whose texts are about what is not in the binary.
ASIDE = {"tests", "test", "doc", "docs", "examples", "benches", "packaging", "target", "third_party", "contrib", "programs"}


def packages(crates):
    """The packages of the binary, as cargo describes them."""
    wanted = {tuple(line.split()[:2]) for line in pathlib.Path(crates).read_text().splitlines()}
    described = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"], check=True, capture_output=True, text=True
    ).stdout
    found = [package for package in json.loads(described)["packages"] if (package["name"], package["version"]) in wanted]
    if len(found) != len(wanted):
        sys.exit(f"cargo describes {len(found)} of {len(wanted)} crates")
    return sorted((package for package in found if package["name"] != "binlake"), key=lambda package: package["name"])


def texts_of(package):
    """The files with licences in a crate, as (name within it, text)."""
    root = pathlib.Path(package["manifest_path"]).parent
    for file in sorted(root.rglob("*")):
        inside = file.relative_to(root)
        if file.is_file() and TEXT.search(file.name) and file.suffix not in NOT_TEXT and not ASIDE & set(inside.parts[:-1]):
            yield str(inside), file.read_text(encoding="utf-8", errors="replace").strip()


def main():
    texts, shown, without = {}, [], []
    by_licence = {}
    for package in packages(sys.argv[1]):
        numbers = []
        for name, text in texts_of(package):
            number = texts.setdefault(hashlib.sha256(" ".join(text.split()).encode()).hexdigest(), (len(texts) + 1, text))[0]
            numbers.append((name, number))
        licence = package["license"] or f"see {package['license_file']}"
        if numbers:
            by_licence.setdefault(licence, numbers)
        else:
            without.append(package["name"])
        shown.append((package, licence, numbers))
    print("binlake is under Apache-2.0 (LICENSE). In its binary are these; the texts stand below, by their numbers.\n")
    for package, licence, numbers in shown:
        numbers = numbers or by_licence.get(licence)
        if not numbers:
            sys.exit(f"{package['name']} has no text, and nobody else is under {licence}")
        own = "" if package["name"] not in without else " (the text is that of others under the same licence)"
        where = package["repository"] or package["homepage"] or "crates.io"
        print(f"{package['name']} {package['version']}: {licence}; {where}{own}")
        authors = ", ".join(re.sub(r" *<[^>]*>", "", author) for author in package["authors"])
        if package["name"] in without and authors:
            print(f"    by {authors}")
        print("    " + ", ".join(f"{name}: {number}" for name, number in numbers))
    for number, text in sorted(texts.values()):
        print(f"\n{'=' * 100}\n[{number}]\n\n{text}")


if __name__ == "__main__":
    main()
