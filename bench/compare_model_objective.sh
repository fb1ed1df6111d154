#!/usr/bin/env bash
# One evaluation in the whole model (energy and gradient of one direction) in PyTorch and in cbe, alternating in one run.
set -euo pipefail

usage() {
    cat <<'END'
usage: bench/compare_model_objective.sh [LAYER...]

SmolLM2-135M, layers 15 and 25 unless others are given, 8 x 256 tokens of data/sample.txt. PyTorch in two ways: all blocks in every
evaluation, the ablation being a hook; and the blocks behind the layer alone. Prints every round, then the ratios of the median times.
The energies and the lengths of the gradients of all sides must agree within 1e-3, or the comparison fails.
  CBE_BENCH_VENV=DIR    virtual environment with torch, transformers, safetensors and gguf; otherwise one is made
                        in ${XDG_CACHE_HOME:-~/.cache}/cbe/bench-venv
  CBE_BENCH_ROUNDS=N    rounds, each with one process a side (3)
  OMP_NUM_THREADS=N     threads of all sides; unset: one a core
END
}

fail() {
    echo "compare_model_objective: $*" >&2
    exit 1
}

# value NAME LINE: the word after NAME in a result line.
value() {
    awk -v name="$1" '{ for (i = 1; i < NF; i++) if ($i == name) print $(i + 1) }' <<<"$2"
}

median() {
    sort -g | awk '{ x[NR] = $1 } END { print (x[int((NR + 1) / 2)] + x[int((NR + 2) / 2)]) / 2 }'
}

# agree WHAT A B
agree() {
    awk -v a="$2" -v b="$3" 'BEGIN { d = a - b; exit !(d * d <= 1e-6 * a * a) }' ||
        fail "the two sides disagree on the $1: $2 in PyTorch, $3 in cbe"
}

case ${1-} in -h | --help) usage && exit ;; esac
layers=("$@")
if (($# == 0)); then layers=(15 25); fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cbe
scripts/build-release.sh bench_model_objective cbe-program >&2
model=$(scripts/get-model.sh)
tokens=$cache/bench-tokens.safetensors
mkdir -p "$cache"
build/release/cbe capture "$model" --text data/sample.txt --max-tokens 2048 --layers 0 -o "$tokens" >&2

venv=${CBE_BENCH_VENV:-$cache/bench-venv}
has_modules() {
    "$venv/bin/python" -c 'import torch, transformers, safetensors, gguf' 2>/dev/null
}
if ! has_modules; then
    [[ -z ${CBE_BENCH_VENV-} ]] || fail "CBE_BENCH_VENV: '$venv' is no virtual environment with torch, transformers, safetensors and gguf"
    scripts/install-dependencies.sh model bench
    echo "Installing PyTorch and transformers into $venv (several GB)" >&2
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --disable-pip-version-check -q torch numpy safetensors transformers gguf >&2
    has_modules || fail "PyTorch and transformers were installed into $venv but cannot be imported"
fi

echo "PyTorch $("$venv/bin/python" -c 'import torch; print(torch.__version__)')"
for layer in "${layers[@]}"; do
    whole_times=() suffix_times=() cbe_times=()
    for ((round = 1; round <= ${CBE_BENCH_ROUNDS:-3}; round++)); do
        whole=$("$venv/bin/python" bench/pytorch_model_objective.py "$model" "$tokens" "$layer" 3 whole 2>/dev/null)
        suffix=$("$venv/bin/python" bench/pytorch_model_objective.py "$model" "$tokens" "$layer" 2>/dev/null)
        cbe=$(build/release/bench/bench_model_objective "$model" "$tokens" "$layer")
        printf 'round %d  pytorch, all blocks     %s\nround %d  pytorch, blocks behind  %s\nround %d  cbe                     %s\n' \
            "$round" "$whole" "$round" "$suffix" "$round" "${cbe//$'\n'/; }"
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
        printf "layer %d: PyTorch %.3f s (all blocks), %.3f s (blocks behind the layer), cbe %.3f s: %.2f and %.2f times faster\n",
            l, a, b, c, a / c, b / c }'
done
