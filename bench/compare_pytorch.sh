#!/usr/bin/env bash
# One evaluation (energy and gradient of one direction) in PyTorch and in cbe, alternating in one run.
set -euo pipefail

usage() {
    cat <<'END'
usage: bench/compare_pytorch.sh [HIDDEN.safetensors DECODER.safetensors LAYER]

Without arguments: SmolLM2-135M, layer 15, 2,048 tokens of data/sample.txt, made by cbe capture and
cbe decoder. Prints every round, then the ratio of the median times. The energies and the lengths of
the gradients of both sides must agree within 1e-3, or the comparison fails.
  CBE_BENCH_VENV=DIR    virtual environment with torch and safetensors to use; otherwise one is made
                        in ${XDG_CACHE_HOME:-~/.cache}/cbe/bench-venv
  CBE_BENCH_ROUNDS=N    rounds, each with one process a side (3)
  OMP_NUM_THREADS=N     threads of both sides; unset: one a core
END
}

fail() {
    echo "compare_pytorch: $*" >&2
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
if (($# != 0 && $# != 3)); then
    usage >&2
    exit 2
fi
inputs=()
if (($# == 3)); then inputs=("$(realpath "$1")" "$(realpath "$2")" "$3"); fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cbe

targets=(bench_evaluation)
if (($# == 0)); then targets+=(cbe-program); fi
scripts/build-release.sh "${targets[@]}" >&2
if (($# == 0)); then
    model=$(scripts/get-model.sh)
    inputs=("$cache/bench-hidden.safetensors" "$cache/bench-decoder.safetensors" 15)
    mkdir -p "$cache"
    build/release/cbe capture "$model" --text data/sample.txt --max-tokens 2048 --layers 15 -o "${inputs[0]}" >&2
    build/release/cbe decoder "$model" -o "${inputs[1]}" >&2
fi

venv=${CBE_BENCH_VENV:-$cache/bench-venv}
has_torch() {
    "$venv/bin/python" -c 'import torch, safetensors' 2>/dev/null
}
if ! has_torch; then
    [[ -z ${CBE_BENCH_VENV-} ]] || fail "CBE_BENCH_VENV: '$venv' is no virtual environment with torch and safetensors"
    scripts/install-dependencies.sh model bench
    echo "Installing PyTorch into $venv (several GB)" >&2
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --disable-pip-version-check -q torch numpy safetensors >&2
    has_torch || fail "PyTorch was installed into $venv but cannot be imported"
fi

echo "PyTorch $("$venv/bin/python" -c 'import torch; print(torch.__version__)'), layer ${inputs[2]} of ${inputs[0]##*/}"
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
awk -v a="$a" -v b="$b" 'BEGIN { printf "PyTorch %.4f s, cbe %.4f s: %.1f times faster\n", a, b, a / b }'
