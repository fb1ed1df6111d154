#!/usr/bin/env bash
# Gives the program damaged files of every format, under the address and undefined-behaviour
# sanitizers, and says what came of it.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/mutate.sh [--seconds N] [--runs N] [--seed N] [--only FORMAT:RUN]
                         [FORMAT]...

Builds the preset asan and runs cbe on mutants of the tests' fixtures: GGUF,
zip, pickle, npz, npy, safetensors, tokenizer.json, config.json, the index of a
model in parts, gzip, zstd and JSON lines, or the formats named. Bits, integers,
lengths and counts are changed, parts are cut out, doubled and put in. A run
that ends by a signal, in a sanitizer's report, not at all, or with another
status than 0 or 2, is a finding; so is a refusal that is not one line, a
control character on either stream, output that a failed command leaves behind,
and NaN or infinity in what cbe capture wrote. Prints a table at the end; exit
status 1 where there is a finding: its input, its command and what was said are
kept in build/asan/mutants.
  --seconds N   how long (3600, unless --runs is given)
  --runs N      rounds: each set of files is damaged once in one
  --seed N      of the damage (1); the same seed gives the same runs
  --only F:N    run N of format F alone, as a finding is told
END
}

arguments=() limited=0
while (($#)); do
    case $1 in
    -h | --help) usage && exit ;;
    --seconds | --runs | --only) arguments+=("$1" "${2:?"$1 needs a value"}") limited=1 && shift ;;
    --seed) arguments+=("$1" "${2:?"$1 needs a value"}") && shift ;;
    -*) usage >&2 && exit 2 ;;
    *) arguments+=("$1") ;;
    esac
    shift
done
((limited)) || arguments+=(--seconds 3600)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/install-dependencies.sh build
cmake --preset asan >/dev/null
cmake --build --preset asan --parallel "$(nproc)" --target cbe-program mutate >/dev/null

# Some containers forbid what the leak detector needs; leaks then go unseen, other errors do not.
leaks=1
output=$(build/asan/cbe info tests/golden/npy/states.npz 2>&1) || true
if [[ $output == *'LeakSanitizer has encountered a fatal error'* ]]; then
    echo "mutate: leaks cannot be detected here (no ptrace); other errors still are" >&2
    leaks=0
fi
ASAN_OPTIONS=exitcode=99:detect_leaks=$leaks:allocator_may_return_null=1
export ASAN_OPTIONS+=:max_allocation_size_mb=2048
export UBSAN_OPTIONS=exitcode=99:print_stacktrace=1
folder=/dev/shm
[[ -w $folder ]] || folder=${TMPDIR:-/tmp}
TMPDIR=$folder exec build/asan/tests/mutate build/asan/cbe tests/golden \
    --keep build/asan/mutants "${arguments[@]}"
