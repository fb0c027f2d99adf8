#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every event that the code can say stands in docs/operations.md under its name, and the table of events there names
none that the code does not say, nor another severity than event.h does.

    events_named.py SOURCE_ROOT"""
import pathlib
import re
import sys

SAYERS = {"hg_event_add": 3, "hg_event_addf": 2, "hg_housekeeping_say": 2, "hg_housekeeping_refusal": 1, "end_set": 2}
NAME = re.compile(r'"([a-z]+(?:_[a-z]+)*)"')
NAMES_MIN = 100  # fewer were found: the code is no longer read rightly


def arguments(text, at):
    """What stands in the bracket that was opened before `at`, split at its own commas."""
    depth, quoted, parts, begin = 1, False, [], at
    while depth > 0:
        c = text[at]
        if c == "\\":
            at += 1
        elif c == '"':
            quoted = not quoted
        elif not quoted and c in "([{":
            depth += 1
        elif not quoted and c in ")]}":
            depth -= 1
        if not quoted and (depth == 0 or (depth == 1 and c == ",")):
            parts.append(text[begin:at])
            begin = at + 1
        at += 1
    return parts


def said(source):
    """{name: severity of event.h, or None}"""
    header = (source / "dataplane/stream/event.h").read_text(encoding="utf-8")
    names = {name: severity.lower() for name, severity in re.findall(r"\bX\((\w+), ([A-Z]+),", header)}
    for path in sorted([*source.glob("controlplane/**/*.c"), *source.glob("dataplane/**/*.c")]):
        text = re.sub(r"/\*.*?\*/", " ", path.read_text(encoding="utf-8"), flags=re.S)
        places = [arguments(text, call.end())[SAYERS[call.group(1)]]
                  for call in re.finditer(rf"\b({'|'.join(SAYERS)})\(", text)]
        places += re.findall(r"\baction->name = ([^;]+);", text)  # what hg_failover_run_tick is to say
        for place in places:
            names.update((name, names.get(name)) for name in NAME.findall(place))
    return names


def main():
    names = said(pathlib.Path(sys.argv[1]))
    page = (pathlib.Path(sys.argv[1]) / "docs/operations.md").read_text(encoding="utf-8")
    quoted, wrong = set(re.findall(r"`(\w+)`", page)), []
    for name in sorted(names):
        if name not in quoted:
            wrong.append(f"docs/operations.md: no word of the event `{name}`")
    table = page[page.index("\n| event |"):page.index("\n## DPDK telemetry")]
    for row in re.findall(r"^\| (`.*?) \| ([a-z, ]+) \|", table, re.M):
        events, severities = re.findall(r"`(\w+)`", row[0]), row[1].split(", ")
        for i, name in enumerate(events):
            told = severities[min(i, len(severities) - 1)]
            if name not in names:
                wrong.append(f"docs/operations.md: the event `{name}` is nowhere in the code")
            elif names[name] not in (None, told):
                wrong.append(f"docs/operations.md: the event `{name}` is {names[name]}, not {told}")
    print("\n".join(wrong) or f"{len(names)} events, and each is told of")
    if len(names) < NAMES_MIN:
        print(f"only {len(names)} events were found")
    sys.exit(1 if wrong or len(names) < NAMES_MIN else 0)


if __name__ == "__main__":
    main()
