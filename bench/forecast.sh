#!/usr/bin/env bash
# What bases of models of 8 and 70 billion parameters would take on clusters whose cores are like
# this machine's (docs/scaling.md).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cbe=${CBE-build/release/cbe}

# MODEL, tokens, vectors, processes, nodes, threads of a process, memory of a process
forecast() {
    echo "== $1, $2 tokens, $3 vectors: $4 processes of $6 threads and $7 on $5 nodes"
    "$cbe" plan "bench/models/$1.json" --tokens "$2" -k "$3" -p "$4" --nodes "$5" -t "$6" \
        --memory "$7" "${@:8}"
    echo
}

forecast llama-3-8b 65536 16 4 4 64 400G
forecast llama-3-8b 65536 16 32 8 16 100G
forecast llama-3-70b 65536 16 16 16 64 400G
forecast llama-3-70b 65536 16 80 20 16 200G --divide tokens --context-length 256
