#!/usr/bin/env python3
"""The shared library exports every function that a header marks CBE_API, and nothing else.

usage: exported_names.py INCLUDE LIBRARY NM
"""

import subprocess
import sys

from api_names import read_api_names

MOST = 75


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    include, library, nm = sys.argv[1:]
    declared = read_api_names(include)
    listing = subprocess.run(
        [nm, "-D", "--defined-only", library], check=True, capture_output=True, text=True
    ).stdout
    exported = {line.split()[-1].split("@")[0] for line in listing.splitlines()}
    print(f"{len(declared)} functions declared, {len(exported)} names exported, at most {MOST}")
    faults = [f"{name} is declared, but not exported" for name in sorted(declared - exported)]
    faults += [f"{name} is exported, but in no header" for name in sorted(exported - declared)]
    if len(exported) > MOST:
        faults.append(f"{len(exported)} names are more than {MOST}")
    if len(declared) < 30:
        faults.append("the declarations were not found")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
