#!/usr/bin/env bash
# Every benchmark that docs/performance.md reports, in one run on this machine.
set -euo pipefail

usage() {
    cat <<'END'
usage: bench/run.sh [PART]...

Prints the machine, then the parts that are named, or all of them (minutes on
two cores):
  pytorch  one evaluation with gradient beside PyTorch:
           bench/compare_pytorch.sh, two rounds. Left out where there is no
           virtual environment with torch: give one as CBE_BENCH_VENV, or let
           compare_pytorch.sh make one
  shapes   evaluations against the machine's floor, in the shapes of SmolLM2,
           Llama 3 and GPT-2
  growth   evaluation time with N, V, d, batch and threads
  tuned    a tuned lens beside the logit lens, in two shapes
  search   SmolLM2, layers 4, 15 and 25, 2,048 tokens, 4 vectors: default search
           beside preset `seed`
  memory   peak memory of an extraction, beside the --memory that it was given
The floor is the larger of reading the logits Z once and N V exponentials on
cached data. The largest shape takes 2.9 GB.
  OMP_NUM_THREADS=N   threads; unset: one a core
END
}

readonly all=(pytorch shapes growth tuned search memory)
parts=("$@")
for part in "${parts[@]}"; do
    case $part in -h | --help) usage && exit ;; esac
    if [[ " ${all[*]} " != *" $part "* ]]; then
        echo "run: there is no part '$part'; there are: ${all[*]}" >&2
        exit 2
    fi
done
if ((${#parts[@]} == 0)); then parts=("${all[@]}"); fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly programs=build/release/bench
scripts/build-release.sh cbe-program benchmarks >&2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

part_pytorch() {
    local venv=${CBE_BENCH_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/cbe/bench-venv}
    if ! "$venv/bin/python" -c 'import torch, safetensors' 2>/dev/null; then
        echo "left out: CBE_BENCH_VENV names no virtual environment with torch and safetensors"
        return
    fi
    CBE_BENCH_VENV=$venv CBE_BENCH_ROUNDS=${CBE_BENCH_ROUNDS:-2} \
        bench/compare_pytorch.sh 2>"$scratch/log" ||
        { cat "$scratch/log" >&2 && return 1; }
}

part_shapes() {
    "$programs/bench_lens" 2048 49152 576 rmsnorm   # SmolLM2-135M
    "$programs/bench_lens" 1024 128256 2048 rmsnorm # Llama 3
    "$programs/bench_lens" 4096 50257 768 layernorm # GPT-2
}

part_growth() {
    "$programs/bench_growth"
}

part_tuned() {
    "$programs/bench_translator" 2048 49152 576
    "$programs/bench_translator" 1024 128256 2048
}

readonly input=(--text data/sample.txt --max-tokens 2048 --quiet)

part_search() {
    local skip preset
    for skip in 0 1; do
        for preset in seed default; do
            build/release/cbe extract "$model" "${input[@]}" --layers 4,15,25 -k 4 --within all \
                --preset "$preset" --skip-positions "$skip" -o "$scratch/$preset-$skip" >/dev/null
        done
        python3 bench/compare_searches.py "$skip" "$scratch/seed-$skip/basis.json" \
            "$scratch/default-$skip/basis.json"
    done
}

# Few iterations: what an extraction holds does not depend on their number. Too little memory is
# refused before the search.
part_memory() {
    local size logits
    printf '  %8s %9s  %s\n' --memory "peak, MB" logits
    for size in 500M 1G 4G; do
        if python3 bench/peak_memory.py "$scratch/peak" \
            build/release/cbe extract "$model" "${input[@]}" --layers 15 -k 1 --max-iter 3 \
            --starts 2 --skip-positions 1 --memory "$size" -o "$scratch/memory" \
            >/dev/null 2>"$scratch/log"; then
            logits=$(sed -n 's/.*"logits": "\([a-z0-9]*\)".*/\1/p' "$scratch/memory/basis.json")
        else
            logits=$(tail -n 1 "$scratch/log")
        fi
        printf '  %8s %9s  %s\n' "$size" "$(<"$scratch/peak")" "$logits"
    done
}

model=
"$programs/bench_machine"
for part in "${parts[@]}"; do
    case $part in search | memory) model=${model:-$(scripts/get-model.sh)} ;; esac
    SECONDS=0
    printf '\n%s\n' "$part"
    "part_$part"
    printf '  (%s: %d s)\n' "$part" "$SECONDS"
done
