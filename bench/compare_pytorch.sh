#!/usr/bin/env bash
# One evaluation (energy and gradient of one direction) in PyTorch and in cbe, alternating.
set -euo pipefail

usage() {
    cat <<'END'
usage: bench/compare_pytorch.sh [HIDDEN.safetensors DECODER.safetensors LAYER]

Without arguments: SmolLM2-135M, layer 15, 2,048 tokens of data/sample.txt, made
by cbe capture and cbe decoder. Prints every round, then the ratio of the median
times. The energies and the lengths of the gradients of both sides must agree
within 1e-3, or the comparison fails.
  CBE_BENCH_VENV=DIR    virtual environment with torch and safetensors to use;
                        otherwise one is made in
                        ${XDG_CACHE_HOME:-~/.cache}/cbe/bench-venv
  CBE_BENCH_ROUNDS=N    rounds, each with one process a side (3)
  OMP_NUM_THREADS=N     threads of both sides; unset: one a core
END
}

case ${1-} in -h | --help) usage && exit ;; esac
if (($# != 0 && $# != 3)); then
    usage >&2
    exit 2
fi
inputs=()
if (($# == 3)); then inputs=("$(realpath "$1")" "$(realpath "$2")" "$3"); fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=compare_pytorch
source bench/compare_common.sh
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cbe

targets=(bench_evaluation)
if (($# == 0)); then targets+=(cbe-program); fi
scripts/build-release.sh "${targets[@]}" >&2
if (($# == 0)); then
    model=$(scripts/get-model.sh)
    inputs=("$cache/bench-hidden.safetensors" "$cache/bench-decoder.safetensors" 15)
    mkdir -p "$cache"
    build/release/cbe capture "$model" --text data/sample.txt --max-tokens 2048 --layers 15 \
        -o "${inputs[0]}" >&2
    build/release/cbe decoder "$model" -o "${inputs[1]}" >&2
fi

use_python torch safetensors

print_torch_version
echo ", layer ${inputs[2]} of ${inputs[0]##*/}"
pytorch_times=() cbe_times=()
for ((round = 1; round <= ${CBE_BENCH_ROUNDS:-3}; round++)); do
    pytorch=$("$venv/bin/python" bench/pytorch_evaluation.py "${inputs[@]}")
    cbe=$(build/release/bench/bench_evaluation "${inputs[@]}")
    printf 'round %d  pytorch  %s\nround %d  cbe      %s\n' "$round" "$pytorch" "$round" "$cbe"
    agree energy "$(value energy "$pytorch")" "$(value energy "$cbe")"
    agree gradient "$(value gradient "$pytorch")" "$(value gradient "$cbe")"
    pytorch_times+=("$(value seconds "$pytorch")")
    cbe_times+=("$(value seconds "$cbe")")
done
a=$(printf '%s\n' "${pytorch_times[@]}" | median)
b=$(printf '%s\n' "${cbe_times[@]}" | median)
awk -v a="$a" -v b="$b" \
    'BEGIN { printf "PyTorch %.4f s, cbe %.4f s: %.1f times faster\n", a, b, a / b }'
