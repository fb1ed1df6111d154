#!/usr/bin/env bash
# Lays out C, shell and Python, or checks that they are laid out.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/format.sh [--check]

Lays out all C, shell and Python files that git tracks, but for third_party,
by clang-format 14, shfmt and ruff. Other versions of clang-format lay out
otherwise, and are not used.
  --check  changes nothing, and fails when clang-format, shfmt, shellcheck or
           ruff find something, or when a line of C, shell, Python or CMake is
           longer than 100 columns. Names the files and lines. C between
           "clang-format off" and "on" is left out.
Missing tools are installed: Debian's packages, and ruff by pip in build/tools.
A tool that cannot be had is left out; with CI=true in the environment that is
a failure.
END
}

readonly ruff_version=0.17.6
check=0
case ${1-} in
'') ;;
-h | --help) usage && exit ;;
--check) check=1 ;;
*) usage >&2 && exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

found=() # what found something
left=()  # what could not be had

leave() { # NAME REASON
    echo "format: $1 is left out: $2" >&2
    left+=("$1")
}

finding() { # NAME
    echo "format: $1 found something (see above); scripts/format.sh mends what is layout" >&2
    found+=("$1")
}

close() {
    local text=clean
    ((check)) || text="done"
    ((${#found[@]} == 0)) || text="findings by $(IFS=, && echo "${found[*]}")"
    ((${#left[@]} == 0)) || text+="; left out: $(IFS=, && echo "${left[*]}")"
    echo "format: ${text//,/, }"
    if ((${#found[@]})) || { ((${#left[@]})) && [[ ${CI-} == true ]]; }; then exit 1; fi
    exit 0
}

if ! git rev-parse --is-inside-work-tree >/dev/null; then
    echo "format: not run: git does not tell which files it tracks"
    [[ ${CI-} != true ]]
    exit
fi

# tracked PATTERN...: the tracked files that are there, each ended by a zero byte.
tracked() {
    local file
    while read -rd '' file; do
        if [[ -f $file ]]; then printf '%s\0' "$file"; fi
    done < <(git ls-files -z -- "$@" ':!third_party')
}

mapfile -d '' c < <(tracked '*.c' '*.h')
mapfile -d '' shell < <(tracked '*.sh' .ci/run)
mapfile -d '' python < <(tracked '*.py')
mapfile -d '' cmake < <(tracked '*.cmake' '*CMakeLists.txt')

clang_format_14() {
    local candidate
    for candidate in clang-format clang-format-14; do
        if [[ $("$candidate" --version 2>/dev/null) == *' version 14.'* ]]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

is_there() {
    command -v "$1" >/dev/null
}

if ! clang_format_14 >/dev/null || ! is_there shfmt || ! is_there shellcheck; then
    scripts/install-dependencies.sh format || true # what is missing is told below
fi

# over FILES_A_CALL COMMAND...: files, from standard input, in as many calls as there are cores.
over() {
    xargs -0 -r -n "$1" -P "$(nproc)" "${@:2}"
}

if ! clang_format=$(clang_format_14); then
    leave clang-format "version 14 was not found"
elif ((check)); then
    printf '%s\0' "${c[@]}" | over 16 "$clang_format" --dry-run -Werror 2>&1 || finding clang-format
else
    printf '%s\0' "${c[@]}" | over 16 "$clang_format" -i
fi

if ! is_there shfmt; then
    leave shfmt "it was not found"
elif ((check)); then
    shfmt -i 4 -d "${shell[@]}" || finding shfmt
else
    shfmt -i 4 -w "${shell[@]}"
fi

if ((check)); then
    if is_there shellcheck; then
        shellcheck -f gcc "${shell[@]}" || finding shellcheck
    else
        leave shellcheck "it was not found"
    fi
fi

# Sets ruff to the program of this very version, and installs it where it is not.
find_ruff() {
    local interpreter
    for ruff in build/tools/bin/ruff ruff; do
        if [[ $("$ruff" --version 2>/dev/null) == "ruff $ruff_version" ]]; then return; fi
    done
    ruff=build/tools/bin/ruff
    if ! interpreter=$(scripts/find-pip.sh); then
        leave ruff "python3 with pip is needed"
    elif ! "$interpreter" -m pip install --disable-pip-version-check --root-user-action ignore -q \
        --no-deps --only-binary :all: --upgrade --target build/tools "ruff==$ruff_version" >&2; then
        leave ruff "pip could not install ruff $ruff_version; behind a proxy set HTTPS_PROXY"
    elif [[ $("$ruff" --version) != "ruff $ruff_version" ]]; then
        leave ruff "what pip installed is not ruff $ruff_version"
    else
        return
    fi
    return 1
}

if find_ruff; then
    if ((check)); then
        "$ruff" format --no-cache --check --quiet "${python[@]}" || finding "ruff format"
        "$ruff" check --no-cache --output-format concise --quiet "${python[@]}" ||
            finding "ruff check"
    else
        "$ruff" check --no-cache --quiet --select I --fix "${python[@]}"
        "$ruff" format --no-cache --quiet "${python[@]}"
    fi
fi

if ((check)); then
    long=$(LC_ALL=C.UTF-8 sed -sn '/clang-format off/,/clang-format on/!{/^.\{101\}/{F;=}}' \
        "${c[@]}" "${shell[@]}" "${python[@]}" "${cmake[@]}" | paste -d: - -)
    if [[ -n $long ]]; then
        while read -r line; do echo "$line: longer than 100 columns"; done <<<"$long"
        finding "line length"
    fi
fi
close
