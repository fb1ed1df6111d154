#!/usr/bin/env bash
# Prints the first Python that has pip, and installs pip where none has: one in front of Debian's
# in PATH may come without.
set -euo pipefail

python_with_pip() {
    local candidate
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -m pip --version >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if python_with_pip; then exit; fi
"$(dirname "${BASH_SOURCE[0]}")/install-dependencies.sh" model
python_with_pip
