# What bench/compare_*.sh share; sourced from the checkout's root, with the script's name in $name.
# shellcheck shell=bash

fail() {
    # shellcheck disable=SC2154 # of the script that sources this
    echo "$name: $*" >&2
    exit 1
}

# value NAME LINE: the word after NAME in a result line.
value() {
    awk -v name="$1" '{ for (i = 1; i < NF; i++) if ($i == name) print $(i + 1) }' <<<"$2"
}

median() {
    sort -g | awk '{ x[NR] = $1 } END { print (x[int((NR + 1) / 2)] + x[int((NR + 2) / 2)]) / 2 }'
}

# agree WHAT A B
agree() {
    awk -v a="$2" -v b="$3" 'BEGIN { d = a - b; exit !(d * d <= 1e-6 * a * a) }' ||
        fail "the two sides disagree on the $1: $2 in PyTorch, $3 in cbe"
}

# use_python MODULE...: sets venv to an environment that can import these; makes one if needed.
use_python() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/cbe
    venv=${CBE_BENCH_VENV:-$cache/bench-venv}
    local imports
    imports="import $(IFS=, && echo "$*")"
    if "$venv/bin/python" -c "$imports" 2>/dev/null; then return; fi
    [[ -z ${CBE_BENCH_VENV-} ]] || fail "CBE_BENCH_VENV: '$venv' is no virtual environment with $*"
    scripts/install-dependencies.sh model bench
    echo "Installing $* into $venv (several GB)" >&2
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --disable-pip-version-check -q numpy "$@" >&2
    "$venv/bin/python" -c "$imports" 2>/dev/null ||
        fail "$* were installed into $venv but cannot be imported"
}

# print_torch_version: at the start of a line.
print_torch_version() {
    printf 'PyTorch %s' "$("$venv/bin/python" -c 'import torch; print(torch.__version__)')"
}
