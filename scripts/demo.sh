#!/usr/bin/env bash
# From a bare checkout to results: installs what is missing, builds, gets the model and runs.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/demo.sh [OPTION OF cbe extract]...

Finds the causal basis of every layer of SmolLM2-135M on data/sample.txt,
through the affine lens of the same text: 4 vectors a layer, 2,048 tokens. The
results are in demo-results/. Options given here are passed on to cbe extract
after the demo's own, as in: scripts/demo.sh --layers 10-15 -k 8 --lens logit
END
}

for argument in "$@"; do
    case $argument in -h | --help) usage && exit ;; esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/build-release.sh cbe-program
model=$(scripts/get-model.sh)

results=demo-results
arguments=("$@")
for ((i = 0; i + 1 < $#; i++)); do
    case ${arguments[i]} in -o | --output) results=${arguments[i + 1]} ;; esac
done

start=$(date +%s)
build/release/cbe extract "$model" --text data/sample.txt -k 4 --max-tokens 2048 --layers all \
    --lens affine -o "$results" "$@"
cat <<END

Done in $(($(date +%s) - start)) s. The results are in $results/:
  vectors.csv        of every vector its energy (the nats by which next-token
                     predictions change when that direction alone is removed),
                     on text that the search did not see too, and what
                     qualifies it; docs/method.md says how to read it
  basis.json         the same with inputs, options and the search
  basis.safetensors  layers.<i>.basis (one direction a column) and more
Energies are what the lens reads; --model-energies yes has them in the model.
END
