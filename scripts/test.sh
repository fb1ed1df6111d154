#!/usr/bin/env bash
# From a bare checkout to test results: installs what is missing, builds, gets the model, runs all tests.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/test.sh [--quick | --asan | --fuzz | --cross] [OPTION OF ctest]...

Builds and tests with warnings as errors, first optimised (preset ci), then with the address and
undefined-behaviour sanitizers (preset asan), then the fuzz targets (preset fuzz), each for a moment, then
for 64-bit ARM (preset aarch64), whose tests an emulator runs, all but the slowest. Needs no file outside the
checkout but the model, which is fetched once; without it the tests that read it are skipped. Where clang, or
compiler, emulator or libraries for ARM cannot be had, that build is left out; with --fuzz or --cross, or with
CI=true in the environment, that is a failure.
  --quick  only the optimised build
  --asan   only the build with sanitizers
  --fuzz   only the fuzz targets; scripts/fuzz.sh runs them for long
  --cross  only the build for 64-bit ARM
Everything else is passed on to ctest, as in: scripts/test.sh --quick -R tokenizer
END
}

presets=(ci asan fuzz)
[[ $(uname -m) == aarch64 ]] || presets+=(aarch64) # there ci is that build
[[ ${CI-} == true ]] && all_are_needed=1 || all_are_needed=0
options=()
for argument in "$@"; do
    case $argument in
    -h | --help) usage && exit ;;
    --quick) presets=(ci) ;;
    --asan) presets=(asan) ;;
    --fuzz) presets=(fuzz) all_are_needed=1 ;;
    --cross) presets=(aarch64) all_are_needed=1 ;;
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

# What the preset fuzz takes.
prepare_fuzz() {
    scripts/install-dependencies.sh fuzz || return
    if ! command -v clang >/dev/null; then
        echo "test: clang was not found" >&2
        return 1
    fi
}

# What the preset aarch64 takes.
prepare_cross() {
    local tool
    scripts/install-dependencies.sh cross || return
    for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
        if ! command -v "$tool" >/dev/null; then
            echo "test: $tool was not found" >&2
            return 1
        fi
    done
    scripts/make-sysroot.sh
}

status=0
for preset in "${presets[@]}"; do
    rm -f "build/$preset/ctest.log"
    if [[ $preset == fuzz ]] && ! prepare_fuzz; then
        ((all_are_needed)) && status=1
        continue
    fi
    if [[ $preset == aarch64 ]]; then
        if ! prepare_cross; then
            ((all_are_needed)) && status=1
            continue
        fi
    fi
    if [[ $preset == fuzz || $preset == aarch64 ]]; then
        export CTEST_PARALLEL_LEVEL
        CTEST_PARALLEL_LEVEL=$(nproc)
    fi
    cmake --preset "$preset"
    cmake --build --preset "$preset" --parallel "$(nproc)"
    if [[ $preset == asan ]]; then use_sanitizers; fi
    ctest --preset "$preset" --timeout 600 "${options[@]}" 2>&1 | tee "build/$preset/ctest.log" || status=$?
done
for preset in "${presets[@]}"; do
    printf '\n%s:\n' "$preset"
    if [[ -f build/$preset/ctest.log ]]; then
        sed -n '/tests passed,/,$p' "build/$preset/ctest.log"
    else
        echo "not run: what it takes could not be had (see above)"
    fi
done
exit "$status"
