#!/usr/bin/env bash
# From a bare checkout to test results: installs what is missing, builds, gets the model, tests.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/test.sh [--quick | --asan | --tsan | --fuzz | --cross]
                       [OPTION OF ctest]...

Checks the layout of the sources (scripts/format.sh --check). Builds and tests
with warnings as errors: optimised (preset ci); the tests of several processes
with another MPI (preset mpich); all with the address and undefined-behaviour
sanitizers (preset asan); those that use threads with the thread sanitizer
(preset tsan); the fuzz targets, each for a moment (preset fuzz); and for 64-bit
ARM (preset aarch64), whose tests an emulator runs, all but the slowest. Needs
no file outside the checkout but the model, which is fetched once; without it
the tests that read it are skipped. Where MPICH, clang, or compiler, emulator or
libraries for ARM cannot be had, that build is left out; where it was asked for,
and with CI=true in the environment, that is a failure.
  --quick  only the layout and the optimised build, and of its tests the fast
           ones (label fast), or all those that -R, -L or -I chooses
  --asan   only the build with sanitizers
  --tsan   only the build with the thread sanitizer
  --fuzz   only the fuzz targets; scripts/fuzz.sh runs them for long
  --cross  only the build for 64-bit ARM
Everything else is passed on to ctest, as in:
scripts/test.sh --quick -R tokenizer
END
}

presets=(ci mpich asan tsan fuzz)
[[ $(uname -m) == aarch64 ]] || presets+=(aarch64) # there ci is that build
[[ ${CI-} == true ]] && all_are_needed=1 || all_are_needed=0
check_format=1
quick=0
chosen=0 # whether the options of ctest choose tests
options=()
for argument in "$@"; do
    case $argument in
    -h | --help) usage && exit ;;
    --quick) presets=(ci) quick=1 ;;
    --asan) presets=(asan) check_format=0 ;;
    --tsan) presets=(tsan) check_format=0 all_are_needed=1 ;;
    --fuzz) presets=(fuzz) check_format=0 all_are_needed=1 ;;
    --cross) presets=(aarch64) check_format=0 all_are_needed=1 ;;
    -R | -L | -I | --tests-regex | --label-regex | --tests-information | --rerun-failed)
        chosen=1 options+=("$argument")
        ;;
    *) options+=("$argument") ;;
    esac
done
if ((quick && !chosen)); then options+=(-L '^fast$'); fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

status=0
if ((check_format)); then
    mkdir -p build
    scripts/format.sh --check 2>&1 | tee build/format.log || status=1
fi

scripts/install-dependencies.sh build tests mpi bf16
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

# Installs what a preset takes besides, and makes sure that its programs are there.
prepare() {
    local set=$1 tool
    shift
    scripts/install-dependencies.sh "$set" || return
    for tool; do
        if ! command -v "$tool" >/dev/null; then
            echo "test: $tool was not found" >&2
            return 1
        fi
    done
}

prepare_preset() {
    case $1 in
    mpich) prepare mpich mpicc.mpich mpiexec.mpich ;;
    tsan) prepare tsan clang ;;
    fuzz) prepare fuzz clang ;;
    aarch64) prepare cross aarch64-linux-gnu-gcc qemu-aarch64 && scripts/make-sysroot.sh ;;
    esac
}

export CTEST_PARALLEL_LEVEL
CTEST_PARALLEL_LEVEL=$(nproc)
for preset in "${presets[@]}"; do
    rm -f "build/$preset/ctest.log"
    if ! prepare_preset "$preset"; then
        ((all_are_needed)) && status=1
        continue
    fi
    cmake --preset "$preset"
    cmake --build --preset "$preset" --parallel "$(nproc)"
    if [[ $preset == asan ]]; then use_sanitizers; fi
    ctest --preset "$preset" --timeout 1500 "${options[@]}" 2>&1 |
        tee "build/$preset/ctest.log" || status=$?
done
if ((check_format)); then printf '\n%s\n' "$(tail -n 1 build/format.log)"; fi
for preset in "${presets[@]}"; do
    printf '\n%s:\n' "$preset"
    if [[ -f build/$preset/ctest.log ]]; then
        sed -n '/tests passed,/,$p' "build/$preset/ctest.log"
    else
        echo "not run: its compiler, emulator or libraries could not be had (see above)"
    fi
done
exit "$status"
