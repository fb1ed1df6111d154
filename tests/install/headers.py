#!/usr/bin/env python3
"""Each public header compiles by itself, as C17 and as C++17, without a warning.

usage: headers.py INCLUDE C_COMPILER
The C++ compiler is the first of g++ and clang++ that is there; without one the test is skipped once
the headers have compiled as C.
"""

import shutil
import subprocess
import sys
from pathlib import Path

SKIPPED = 77
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def compiles(compiler, language, standard, include, header):
    command = [compiler, f"-std={standard}", *WARNINGS, "-fsyntax-only", "-I", include]
    source = f"#include <cbe/{header.name}>\n"
    done = subprocess.run([*command, "-x", language, "-"], input=source, text=True)
    if done.returncode != 0:
        print(f"{header.name} does not compile by itself as {standard}")
    return done.returncode == 0


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    include, c = sys.argv[1:]
    cxx = shutil.which("g++") or shutil.which("clang++")
    headers = sorted(Path(include, "cbe").glob("*.h"))
    failed = 0 if headers else 1
    for header in headers:
        failed += not compiles(c, "c", "c17", include, header)
        if cxx:
            failed += not compiles(cxx, "c++", "c++17", include, header)
    print(f"{len(headers)} headers, {failed} failed")
    if failed == 0 and not cxx:
        print("skipped: there is no C++ compiler")
        return SKIPPED
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
