#!/usr/bin/env bash
# One evaluation in the whole model (energy and gradient of one direction) in PyTorch and in cbe.
set -euo pipefail

usage() {
    cat <<'END'
usage: bench/compare_model_objective.sh [LAYER...]

SmolLM2-135M, layers 15 and 25 unless others are given, 8 x 256 tokens of
data/sample.txt. PyTorch in two ways: all blocks in every evaluation, the
ablation being a hook; and the blocks behind the layer alone. Prints every
round, then the ratios of the median times. The energies and the lengths of the
gradients of all sides must agree within 1e-3, or the comparison fails.
  CBE_BENCH_VENV=DIR    virtual environment with torch, transformers,
                        accelerate, safetensors and gguf; otherwise one is made
                        in ${XDG_CACHE_HOME:-~/.cache}/cbe/bench-venv
  CBE_BENCH_ROUNDS=N    rounds, each with one process a side (3)
  OMP_NUM_THREADS=N     threads of all sides; unset: one a core
END
}

# pytorch ARGUMENT...: a result line; what else it says is shown only when it fails, for it is
# mostly progress bars.
pytorch() {
    "$venv/bin/python" bench/pytorch_model_objective.py "$@" 2>"$log" ||
        { tail -n 5 "$log" >&2 && fail "PyTorch's side failed"; }
}

case ${1-} in -h | --help) usage && exit ;; esac
layers=("$@")
if (($# == 0)); then layers=(15 25); fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=compare_model_objective
source bench/compare_common.sh
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cbe
scripts/build-release.sh bench_model_objective cbe-program >&2
model=$(scripts/get-model.sh)
tokens=$cache/bench-tokens.safetensors
log=$(mktemp)
trap 'rm -f "$log"' EXIT
mkdir -p "$cache"
build/release/cbe capture "$model" --text data/sample.txt --max-tokens 2048 --layers 0 \
    -o "$tokens" >&2

use_python torch transformers accelerate safetensors gguf

print_torch_version
echo
for layer in "${layers[@]}"; do
    whole_times=() suffix_times=() cbe_times=()
    for ((round = 1; round <= ${CBE_BENCH_ROUNDS:-3}; round++)); do
        whole=$(pytorch "$model" "$tokens" "$layer" 3 whole)
        suffix=$(pytorch "$model" "$tokens" "$layer")
        cbe=$(build/release/bench/bench_model_objective "$model" "$tokens" "$layer")
        printf 'round %d  pytorch, all blocks     %s\n' "$round" "$whole"
        printf 'round %d  pytorch, blocks behind  %s\n' "$round" "$suffix"
        printf 'round %d  cbe                     %s\n' "$round" "${cbe//$'\n'/; }"
        for side in "$whole" "$suffix"; do
            agree energy "$(value energy "$side")" "$(value energy "$cbe")"
            agree gradient "$(value gradient "$side")" "$(value gradient "$cbe")"
        done
        whole_times+=("$(value seconds "$whole")")
        suffix_times+=("$(value seconds "$suffix")")
        cbe_times+=("$(value seconds "$cbe")")
    done
    a=$(printf '%s\n' "${whole_times[@]}" | median)
    b=$(printf '%s\n' "${suffix_times[@]}" | median)
    c=$(printf '%s\n' "${cbe_times[@]}" | median)
    awk -v l="$layer" -v a="$a" -v b="$b" -v c="$c" 'BEGIN {
        printf "layer %d: PyTorch %.3f s (all blocks), %.3f s (blocks behind the layer), ", l, a, b
        printf "cbe %.3f s: %.2f and %.2f times faster\n", c, a / c, b / c }'
done
