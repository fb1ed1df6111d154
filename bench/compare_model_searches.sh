#!/usr/bin/env bash
# Searches in the whole model: the preset `seed` in PyTorch, and cbe's default search.
set -euo pipefail

usage() {
    cat <<'END'
usage: bench/compare_model_searches.sh [LAYER,...]

SmolLM2-135M, 2 x 256 tokens of data/sample.txt, the first position skipped, 2
vectors of each layer (4, 15 and 25 unless others are given). PyTorch:
bench/pytorch_model_search.py, at most 50 iterations a vector. cbe: extract
--lens model as CBE_BENCH_OPTIONS says. Prints energies, evaluations and seconds
of both, the ratios of their sums, and what each kind of start came to.
  CBE_BENCH_VENV=DIR      virtual environment with torch, transformers,
                          accelerate, safetensors and gguf; otherwise one is
                          made in ${XDG_CACHE_HOME:-~/.cache}/cbe/bench-venv
  CBE_BENCH_PYTORCH=FILE  what PyTorch's side printed in an earlier run: it is
                          not run again, which saves ten minutes or more
  CBE_BENCH_WHOLE=1       PyTorch runs all blocks in every evaluation, as the
                          original does; otherwise those behind the layer
  CBE_BENCH_OPTIONS=...   of cbe's search ("--starts 2 --max-iter 5")
  OMP_NUM_THREADS=N       threads of both sides; unset: one a core
END
}

case ${1-} in -h | --help) usage && exit ;; esac
layers=${1:-4,15,25}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=compare_model_searches
source bench/compare_common.sh
scripts/build-release.sh cbe-program >&2
model=$(scripts/get-model.sh)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tokens=$scratch/tokens.safetensors
build/release/cbe capture "$model" --text data/sample.txt --max-tokens 512 --layers 0 --quiet \
    -o "$tokens"

pytorch=${CBE_BENCH_PYTORCH-}
if [[ -z $pytorch ]]; then
    use_python torch transformers accelerate safetensors gguf
    print_torch_version
    echo
    pytorch=$scratch/pytorch.txt
    "$venv/bin/python" bench/pytorch_model_search.py "$model" "$tokens" "$layers" 2 50 1 \
        ${CBE_BENCH_WHOLE:+whole} 2>"$scratch/log" |
        tee "$pytorch" || { tail -n 5 "$scratch/log" >&2 && fail "PyTorch's side failed"; }
fi
# shellcheck disable=SC2086
build/release/cbe extract "$model" --tokens "$tokens" --lens model --preset leaps \
    --layers "$layers" -k 2 \
    --skip-positions 1 --within all --quiet ${CBE_BENCH_OPTIONS:---starts 2 --max-iter 5} \
    -o "$scratch/cbe" >/dev/null
python3 bench/compare_model_searches.py "$pytorch" "$scratch/cbe/basis.json"
