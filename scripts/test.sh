#!/usr/bin/env bash
# From a bare checkout to test results: installs what is missing, builds, gets the model, runs all tests.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/test.sh [--quick | --asan] [OPTION OF ctest]...

Builds and tests with warnings as errors, first optimised (preset ci), then with the address and
undefined-behaviour sanitizers (preset asan). Needs no file outside the checkout but the model, which
is fetched once; without it the tests that read it are skipped.
  --quick  only the optimised build
  --asan   only the build with sanitizers
Everything else is passed on to ctest, as in: scripts/test.sh --quick -R tokenizer
END
}

presets=(ci asan)
options=()
for argument in "$@"; do
    case $argument in
    -h | --help) usage && exit ;;
    --quick) presets=(ci) ;;
    --asan) presets=(asan) ;;
    *) options+=("$argument") ;;
    esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/install-dependencies.sh build tests
if model=$(scripts/get-model.sh); then
    export CBE_SMOLLM2=$model
else
    unset CBE_SMOLLM2
    echo "test: no model (see above): the tests that read it will be skipped" >&2
fi

# Some containers forbid what the leak detector needs; leaks then go unseen, other errors do not.
use_sanitizers() {
    export UBSAN_OPTIONS=print_stacktrace=1
    export ASAN_OPTIONS=detect_leaks=1
    local output
    output=$(build/asan/cbe --help 2>&1) || true
    if [[ $output == *'LeakSanitizer has encountered a fatal error'* ]]; then
        echo "test: leaks cannot be detected here (no ptrace); other errors still are" >&2
        ASAN_OPTIONS=detect_leaks=0
    fi
}

status=0
for preset in "${presets[@]}"; do
    cmake --preset "$preset"
    cmake --build --preset "$preset" --parallel "$(nproc)"
    if [[ $preset == asan ]]; then use_sanitizers; fi
    ctest --preset "$preset" --timeout 600 "${options[@]}" 2>&1 | tee "build/$preset/ctest.log" || status=$?
done
for preset in "${presets[@]}"; do
    printf '\n%s:\n' "$preset"
    sed -n '/tests passed,/,$p' "build/$preset/ctest.log"
done
exit "$status"
