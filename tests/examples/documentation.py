#!/usr/bin/env python3
"""The snippets of docs/client.md are lines of the examples, each example is shown or named there, and the table of defaults is what the
headers say. A snippet is a fenced block after `<!-- examples/NAME -->`; lines may be left out where the page has a line `...`."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STRUCTS = {"ClientConfig": "client.h", "ProducerConfig": "producer.h", "PushConsumerConfig": "consumer.h",
           "LitePullConsumerConfig": "pull_consumer.h"}


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


def members_of(struct, header):
    """name -> default, of a struct whose members are one declaration a line (or two, where the formatter broke it)."""
    text = (ROOT / "include/apogee" / header).read_text()
    body = re.search(rf"struct {struct} \{{\n(.*?)\n\}};", text, re.S).group(1)
    body = re.sub(r"//[^\n]*", "", body)
    members = {}
    for declaration in body.split(";"):
        declaration = re.sub(r"<.*>", "", " ".join(declaration.split()))
        if "=" not in declaration and "{" not in declaration:
            members |= {each.split()[-1]: "" for each in declaration.split(",") if each.strip()}
        elif found := re.search(r"(\w+)(?: = (.+)|\{(.+)\})$", declaration):
            members[found.group(1)] = (found.group(2) or found.group(3)).replace("'", "").strip()
    return members


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
    for struct, header in STRUCTS.items():
        rows = re.search(rf"<!-- defaults of {struct} -->\n(.*?)\n\n", page, re.S)
        if rows is None:
            wrong.append(f"docs/client.md: no table of {struct}")
            continue
        members = members_of(struct, header)
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
