#!/usr/bin/env python3
"""The rooms of src/: nothing in a room needs what lies in a room above it.

usage: rooms.py BUILD

The order of the rooms, from the bottom to the top, is that of CBE_ROOMS in src/CMakeLists.txt; cli
lies above them all, include/cbe below them. BUILD is a build folder, whose object files say by what
symbols files need each other. Names each include and each symbol that goes upward, each circle of
files, each room of more than 15% of the lines, a table in CONTRIBUTING.md of another order, and
each test that lies in no room's folder of tests/.
"""

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

MOST_OF_SRC = 0.15
DEFINED = "TDBRVWCi"  # what nm says of a symbol that other files can use
ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
TESTS = ROOT / "tests"
ROOMLESS = ["faults", "install", "mpi", "public", "support"]  # tests of several rooms, or of none


def read_rooms():
    """The rooms from the bottom to the top; folders within a room are part of it."""
    listed = re.search(r"set\(CBE_ROOMS ([^)]*)\)", (SRC / "CMakeLists.txt").read_text())
    if not listed:
        sys.exit("rooms: src/CMakeLists.txt has no list CBE_ROOMS")
    rooms = dict.fromkeys(folder.split("/")[0] for folder in listed.group(1).split())
    return [*rooms, "cli"]


def sources():
    return sorted(str(p.relative_to(SRC)) for p in SRC.rglob("*.[ch]"))


def room_of(path):
    return path.split("/")[0]


def check_folders(rooms):
    for folder in sorted({room_of(path) for path in sources()} - set(rooms)):
        yield f"src/{folder} is no room of src/CMakeLists.txt's CBE_ROOMS"


def check_tests(rooms):
    """tests/CMakeLists.txt builds what lies in folders of rooms."""
    for file in sorted(TESTS.rglob("test_*.c")):
        path = str(file.relative_to(TESTS))
        if room_of(path) not in [*rooms, *ROOMLESS]:
            yield f"tests/{path} lies in no room's folder"


def check_table(rooms):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = re.findall(r"^\| `src/(\w+)/` \|", text, re.MULTILINE)
    if table != rooms:
        yield (
            f"CONTRIBUTING.md lists the rooms {' '.join(table)}; "
            f"src/CMakeLists.txt has {' '.join(rooms)}"
        )


def check_includes(rooms):
    rank = {room: i for i, room in enumerate(rooms)}
    own = re.compile(r'^#include ["<]([^">]+)[">]', re.MULTILINE)
    headers = [(path, SRC / path) for path in sources() if room_of(path) in rank]
    headers += [(f"include/cbe/{p.name}", p) for p in sorted((ROOT / "include/cbe").glob("*.h"))]
    for path, file in headers:
        for name in own.findall(file.read_text()):
            above = rank.get(room_of(name)) if "/" in name and (SRC / name).exists() else None
            if above is not None and above > rank.get(room_of(path), -1):
                yield f"{path} includes {name}, which lies above it"


def read_symbols(build):
    """Which file defines each symbol, and the symbols that each file takes from elsewhere."""
    defined, taken = {}, defaultdict(set)
    paths = {}
    for file in sorted((build / "src").rglob("*.o")):
        path = re.sub(r"^.*?\.dir/", "", str(file.relative_to(build / "src")))[: -len(".o")]
        if ".dir" in str(file) and (SRC / path).exists():
            paths[str(file)] = path
    if not paths:
        sys.exit(f"rooms: no object files in {build / 'src'}")
    command = ["nm", "--print-file-name", *paths]
    listing = subprocess.run(command, check=True, capture_output=True, text=True)
    for line in listing.stdout.splitlines():
        file, _, symbol = line.rpartition(":")
        path, words = paths[file], symbol.split()
        if len(words) == 2 and words[0] == "U":
            taken[path].add(words[1])
        elif len(words) == 3 and words[1] in DEFINED:
            defined[words[2]] = path
    return defined, taken


def check_symbols(rooms, defined, taken):
    rank = {room: i for i, room in enumerate(rooms)}
    for path in sorted(taken):
        for symbol in sorted(taken[path]):
            where = defined.get(symbol)
            if where and rank[room_of(where)] > rank[room_of(path)]:
                yield f"{path} uses {symbol} of {where}, which lies above it"


def reachable(graph, start):
    seen, waiting = set(), [start]
    while waiting:
        for other in graph[waiting.pop()] - seen:
            seen.add(other)
            waiting.append(other)
    return seen


def check_circles(defined, taken):
    graph = {path: set() for path in {*defined.values(), *taken}}
    for path, symbols in taken.items():
        graph[path] = {defined[s] for s in symbols if s in defined} - {path}
    reached = {path: reachable(graph, path) for path in graph}
    told = set()
    for path in sorted(graph):
        if path not in reached[path] or path in told:
            continue
        circle = {other for other in reached[path] if path in reached[other]}
        told |= circle
        calls = [
            f"    {a} uses {s} of {defined[s]}"
            for a in sorted(circle)
            for s in sorted(taken[a])
            if defined.get(s) in circle - {a}
        ]
        yield "\n".join([f"these files need each other: {' '.join(sorted(circle))}", *calls])


def check_sizes():
    lines = Counter()
    for path in sources():
        lines[room_of(path)] += len((SRC / path).read_text().splitlines())
    total = sum(lines.values())
    for room, n in sorted(lines.items()):
        if n > MOST_OF_SRC * total:
            yield (
                f"src/{room} has {n} of {total} lines of src, {n / total:.1%}; "
                f"at most {MOST_OF_SRC:.0%}"
            )


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rooms = read_rooms()
    faults = [*check_folders(rooms)]
    if not faults:
        defined, taken = read_symbols(Path(sys.argv[1]))
        faults = [
            *check_table(rooms),
            *check_tests(rooms),
            *check_includes(rooms),
            *check_symbols(rooms, defined, taken),
            *check_circles(defined, taken),
            *check_sizes(),
        ]
        print(f"{len(rooms)} rooms, {len({*defined.values(), *taken})} files, {len(faults)} faults")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
