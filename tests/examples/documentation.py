#!/usr/bin/env python3
"""The snippets of docs/client.md are lines of the examples, each example is shown or named there, and there is a table of defaults for
each struct of settings, which is what the headers say. A snippet is a fenced block after `<!-- examples/NAME -->`; lines may be left out where the page has a line `...`."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = re.compile(r"^struct (\w+Config|\w+Options|Credentials) \{\n(.*?)\n\};", re.M | re.S)


def lines_of(text):
    """Without indentation and blank lines: what is said, not where it stands."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def stands_in(snippet, program):
    """Each run of lines between `...` stands in the program, in this order."""
    at = 0
    for run in re.split(r"^\s*(?://\s*)?\.\.\.\s*$", snippet, flags=re.M):
        wanted = lines_of(run)
        while at + len(wanted) <= len(program) and program[at:at + len(wanted)] != wanted:
            at += 1
        if program[at:at + len(wanted)] != wanted:
            return wanted[0] if wanted else ""
        at += len(wanted)
    return None


def plain(value):
    """A default as it can be compared: 4 << 20 and 4194304 are the same."""
    shift = re.fullmatch(r"(\d+) << (\d+)", value)
    return str(int(shift.group(1)) << int(shift.group(2))) if shift else value.replace(" ", "")


def members_of(body):
    """name -> default, of a struct with this body. Several members of one declaration have no braces."""
    members = {}
    for declaration in re.sub(r"//[^\n]*", "", body).split(";"):
        declaration = re.sub(r"<.*>", "", " ".join(declaration.split()))
        for each in [declaration] if "{" in declaration else declaration.split(","):
            if found := re.search(r"(\w+)(?: = (.+)|\{(.+)\})?$", each.strip()):
                members[found.group(1)] = (found.group(2) or found.group(3) or "").replace("'", "").strip()
    return members


def settings():
    """(name, members) of each struct of settings in the public headers."""
    for header in sorted((ROOT / "include/apogee").rglob("*.h")):
        for struct, body in SETTINGS.findall(header.read_text()):
            yield struct, members_of(body)


def main():
    page = (ROOT / "docs/client.md").read_text()
    wrong, shown = [], set()
    for name, snippet in re.findall(r"<!-- examples/([\w.]+) -->\n+```\w*\n(.*?)```", page, re.S):
        shown.add(name)
        path = ROOT / "examples" / name
        if not path.exists():
            wrong.append(f"docs/client.md shows examples/{name}, which does not exist")
            continue
        missing = stands_in(snippet, lines_of(path.read_text()))
        if missing is not None:
            wrong.append(f"docs/client.md: examples/{name} does not have the line, or not there: {missing}")
    for path in sorted((ROOT / "examples").glob("*.c*")):
        if path.suffix in (".c", ".cc") and path.name not in shown and f"examples/{path.name}" not in page:
            wrong.append(f"docs/client.md does not know of examples/{path.name}")
    for struct, members in settings():
        rows = re.search(rf"<!-- defaults of {struct} -->\n(.*?)\n\n", page, re.S)
        if rows is None:
            wrong.append(f"docs/client.md: no table of {struct}")
            continue
        told = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]*?)`? \|", rows.group(1), re.M))
        wrong += [f"docs/client.md: {struct}::{name} is missing" for name in members if name not in told]
        for name, value in told.items():
            if name not in members:
                wrong.append(f"docs/client.md: {struct} has no {name}")
            elif plain(value) != plain(members[name]):
                wrong.append(f"docs/client.md: {struct}::{name} is {members[name]}, not {value}")
    for line in wrong:
        print(line)
    print(f"{len(shown)} snippets, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
