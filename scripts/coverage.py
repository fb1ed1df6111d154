#!/usr/bin/env python3
"""The share of the lines of src/ that the tests of a coverage build ran.

usage: coverage.py BUILD [--least PERCENT]

BUILD is a folder built with gcc --coverage whose tests have run. A line counts once, however often
it was compiled (kernels for each instruction set, inline functions in each file that has them), and
is covered where one of the builds ran it. Prints a table by room, the files below 80% with their
lines that never ran, and the share in all. Fails where that is below PERCENT.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LOW = 0.80
ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"


def read_notes(notes):
    """What gcov says of one object file: for each source file in src/ the numbers of its lines, and
    of those that ran."""
    told = subprocess.run(
        [os.environ.get("GCOV", "gcov"), "--json-format", "--stdout", str(notes)],
        cwd=notes.parent,
        capture_output=True,
        text=True,
    )
    if not told.stdout:
        sys.exit(f"coverage: gcov says nothing of {notes}: {told.stderr.strip()}")
    found = []
    for line in told.stdout.splitlines():
        for file in json.loads(line)["files"]:
            path = Path(os.path.normpath(notes.parent / file["file"]))
            if path.is_relative_to(SRC):
                numbers = {entry["line_number"] for entry in file["lines"]}
                ran = {entry["line_number"] for entry in file["lines"] if entry["count"] > 0}
                found.append((str(path.relative_to(SRC)), numbers, ran))
    return found


def read_build(build):
    """For each source file the numbers of its lines, and of those that ran in any object file."""
    lines, ran = defaultdict(set), defaultdict(set)
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        notes = [file for part in ("src", "tests") for file in (build / part).rglob("*.gcno")]
        for found in workers.map(read_notes, notes):
            for path, numbers, these in found:
                lines[path] |= numbers
                ran[path] |= these
    return lines, ran


def ranges(numbers):
    """As in 3-5 9; lines without code stand between neither."""
    told, first, last = [], None, None
    for number in sorted(numbers):
        if last is None or number > last + 1:
            if last is not None:
                told.append((first, last))
            first = number
        last = number
    told.append((first, last))
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in told)


def print_row(name, ran, total):
    print(f"{name:<40} {ran:>7} of {total:>6}  {ran / total:7.2%}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--least", type=float, default=0)
    options = parser.parse_args()
    lines, ran = read_build(options.build.resolve())
    if not lines:
        sys.exit(f"coverage: no file of src/ has notes in {options.build}; was it built?")
    rooms, files = defaultdict(lambda: [0, 0]), {}
    for path, numbers in lines.items():
        files[path] = (len(ran[path]), len(numbers))
        for room in (path.split("/")[0], "src"):
            rooms[room][0] += files[path][0]
            rooms[room][1] += files[path][1]
    low = sorted((r / n, path) for path, (r, n) in files.items() if n and r / n < LOW)
    print(f"Files below {LOW:.0%}, with the lines that never ran: {len(low) or 'none'}")
    for _, path in low:
        print_row(f"  {path}", *files[path])
        print(f"      {ranges(lines[path] - ran[path])}")
    print("\nLines of src/ that ran, by room:")
    for room in sorted(rooms, key=lambda name: (name == "src", name)):
        print_row(f"  {room}", *rooms[room])
    share = 100 * rooms["src"][0] / rooms["src"][1]
    if share < options.least:
        print(f"coverage: {share:.2f}% of the lines ran, at least {options.least:g}% must")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
