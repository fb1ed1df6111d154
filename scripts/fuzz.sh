#!/usr/bin/env bash
# Runs the fuzz targets of tests/fuzz for long and says what came of it.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/fuzz.sh [--runs N] [--jobs N] [--seed N] [TARGET]...

Runs each target, or those named, for 1,000,000 executions with inputs that it
makes from the seeds, two targets side by side, and prints a table at the end.
What crashes, hangs for 10 s, leaks, allocates more than tests/fuzz/targets.txt
allows or breaks a rule of the target ends its run and is a finding: the input
is kept in build/fuzz/findings, the report in build/fuzz/logs. Exit status 1
where there is one. Interesting inputs gather in build/fuzz/corpus, from which
the next run goes on.
  --runs N   executions of each target (1000000)
  --jobs N   targets side by side (2)
  --seed N   of the random numbers, for a run that can be repeated; otherwise
             each run differs
  --list     only prints the targets
  --build DIR, --test
             for ctest: an existing build, and a run of one target that keeps
             nothing and is the same each time
END
}

runs=1000000 jobs=2 seed=0 list=0 test=0 build=
targets=()
while (($#)); do
    case $1 in
    -h | --help) usage && exit ;;
    --runs) runs=$2 && shift ;;
    --jobs) jobs=$2 && shift ;;
    --seed) seed=$2 && shift ;;
    --build) build=$2 && shift ;;
    --test) test=1 seed=1 ;;
    --list) list=1 ;;
    -*) usage >&2 && exit 2 ;;
    *) targets+=("$1") ;;
    esac
    shift
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t known < <(grep -o '^[a-z][a-z_]*' tests/fuzz/targets.txt)
if ((list)); then
    printf '%s\n' "${known[@]}"
    exit
fi
for target in "${targets[@]}"; do
    if [[ " ${known[*]} " != *" $target "* ]]; then
        echo "fuzz: there is no target '$target'; there are: ${known[*]}" >&2
        exit 2
    fi
done
((${#targets[@]})) || targets=("${known[@]}")

if [[ -z $build ]]; then
    build=build/fuzz
    scripts/install-dependencies.sh build fuzz
    cmake --preset fuzz >/dev/null
    cmake --build --preset fuzz --parallel "$(nproc)" >/dev/null
fi

export UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1
folder=/dev/shm
[[ -w $folder ]] || folder=${TMPDIR:-/tmp}
TMPDIR=$(mktemp -d "$folder/cbe-fuzz-run-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

# Some containers forbid what the leak detector needs; leaks then go unseen, other errors do not.
leaks=1
output=$("$build/tests/fuzz/fuzz_${targets[0]}" -runs=0 2>&1) || true
if [[ $output == *'LeakSanitizer has encountered a fatal error'* ]]; then
    echo "fuzz: leaks cannot be detected here (no ptrace); other errors still are" >&2
    leaks=0
    export ASAN_OPTIONS=detect_leaks=0
fi

# Options of libFuzzer for a target, one a line.
options_of() {
    local name most megabytes dictionary=tests/fuzz/$1.dict
    while read -r name most megabytes; do
        if [[ $name == "$1" ]]; then
            printf '%s\n' "-max_len=$most" "-malloc_limit_mb=$megabytes" -rss_limit_mb=1024 \
                -timeout=10 -print_final_stats=1 "-detect_leaks=$leaks" "-runs=$runs" "-seed=$seed"
        fi
    done <tests/fuzz/targets.txt
    if [[ -f $dictionary ]]; then echo "-dict=$dictionary"; fi
}

# The inputs that are there before a run: seeds, and what earlier findings were made of.
starts_of() {
    echo "$build/tests/fuzz/seeds/$1"
    if [[ -d tests/fuzz/regressions/$1 ]]; then echo "tests/fuzz/regressions/$1"; fi
}

run() { # TARGET; its output to the log
    local target=$1 options starts
    mapfile -t options < <(options_of "$target")
    mapfile -t starts < <(starts_of "$target")
    mkdir -p "$build/corpus/$target" "$build/findings/$target" "$build/logs"
    "$build/tests/fuzz/fuzz_$target" "${options[@]}" -artifact_prefix="$build/findings/$target/" \
        "$build/corpus/$target" "${starts[@]}" >"$build/logs/$target.log" 2>&1 </dev/null || true
}

# Nothing is kept of these: the seeds are given as a list, not as folders, to the first of which
# inputs are added. Addresses, which are among what libFuzzer learns from comparisons, are the same
# in every run where that can be had.
run_test() {
    local target=$1 options starts fixed=()
    mapfile -t options < <(options_of "$target")
    mapfile -t starts < <(starts_of "$target")
    if setarch -R true 2>/dev/null; then fixed=(setarch -R); fi
    # A line's end would be part of a name.
    find "${starts[@]}" -type f | LC_ALL=C sort | paste -sd, | tr -d "\n" >"$TMPDIR/inputs"
    "${fixed[@]}" "$build/tests/fuzz/fuzz_$target" "${options[@]}" \
        -artifact_prefix="$build/tests/fuzz/$target-" -seed_inputs="@$TMPDIR/inputs"
}

if ((test)); then
    for target in "${targets[@]}"; do run_test "$target"; done
    exit
fi

started=$(date '+%Y-%m-%d %H:%M')
for target in "${targets[@]}"; do
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
    echo "fuzz: $target" >&2
    run "$target" &
done
wait

# A number that libFuzzer prints at the end; coverage and time are of its last line of progress.
number() { sed -n "s/^stat::$2: *//p" "$1"; }
status=0
printf '\n%s, %s\n\n' "$started" "$(clang --version | head -1)"
printf '| target | executions | a second | edges covered | findings |\n'
printf '| --- | --- | --- | --- | --- |\n'
for target in "${targets[@]}"; do
    log=$build/logs/$target.log
    executed=$(number "$log" number_of_executed_units)
    edges=$(sed -n 's/^#.*cov: \([0-9]*\).*/\1/p' "$log" | tail -1)
    findings=$(grep -c 'Test unit written to' "$log" || true)
    # Without a finding but not done: it could not start.
    if ((findings == 0)) && ! grep -q '^Done ' "$log"; then findings="did not run: $log"; fi
    [[ $findings == 0 ]] || status=1
    rate=$(number "$log" average_exec_per_sec)
    printf '| %s | %s | %s | %s | %s |\n' "$target" "${executed:-0}" "$rate" "${edges:-0}" \
        "$findings"
done
exit "$status"
