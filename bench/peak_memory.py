"""Runs a command and writes the most memory that it held (resident, in MB of 10^6 bytes) to a file.

usage: peak_memory.py FILE COMMAND...
"""

import resource
import subprocess
import sys


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    status = subprocess.call(sys.argv[2:])
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(f"{kilobytes * 1.024e-3:.0f}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
