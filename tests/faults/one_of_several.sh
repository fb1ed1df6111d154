#!/usr/bin/env bash
# An extraction by two processes, of which one has its n-th allocation fail, for every STEP-th n:
# the job must end by itself, with a message, or with the very result of an undisturbed run
# (docs/faults.md).
#
# usage: one_of_several.sh BUILD [STEP]    BUILD: with MPI, as build/ci; STEP: 5 unless given
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "${1-}" = --fault ]; then # in each process: RANK FAULT LIBRARY COMMAND...
    rank=$2 fault=$3 library=$4
    shift 4
    if [ "${OMPI_COMM_WORLD_RANK-${PMI_RANK-}}" = "$rank" ]; then
        export LD_PRELOAD=$library CBE_FAULT=$fault CBE_FAULT_OF=program
    fi
    exec "$@"
fi
[ $# -ge 1 ] || {
    sed -n '2,6p' "$0"
    exit 2
}
build=$(cd "$1" && pwd) step=${2-5}
golden=$here/../golden/models/llama library=$build/tests/libcbe-inject.so
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1

extract() { # DIVISION FOLDER, behind what starts it
    timeout -s KILL 300 mpirun -n 2 "$here/one_of_several.sh" --fault "$rank" "$fault" "$library" \
        "$build/cbe" extract "$golden" --tokens "$golden/golden.safetensors" -q -k 2 --starts 1 \
        --ablation resample --divide "$1" -o "$2" >log 2>&1
}

found=0 tried=0
for division in tokens layers; do
    for rank in 0 1; do
        fault=memory:0
        extract "$division" whole || {
            cat log
            exit 1
        }
        count=$(sed -n 's/^inject: memory \([0-9]*\),.*/\1/p' log)
        for ((n = 1; n <= count; n += step)); do
            rm -rf divided
            fault=memory:$n
            extract "$division" divided
            status=$?
            tried=$((tried + 1))
            wrong=
            if [ $status -eq 137 ]; then
                wrong="did not end"
            elif [ $status -ne 0 ]; then
                grep -q '^cbe: ' log || wrong="ended with status $status and no message"
            else
                cmp -s divided/basis.safetensors whole/basis.safetensors ||
                    wrong="has another result"
            fi
            [ -z "$wrong" ] || {
                echo "$division divided, rank $rank, $fault: $wrong"
                found=$((found + 1))
            }
        done
        echo "$division divided, rank $rank: $count allocations"
    done
done
echo "$tried faults, $found found wanting"
[ $found -eq 0 ]
