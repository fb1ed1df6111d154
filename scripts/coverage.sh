#!/usr/bin/env bash
# Which share of the lines of src/ the tests run.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/coverage.sh [--fast] [--least PERCENT] [OPTION OF ctest]...

Builds with gcc --coverage (preset coverage), runs the tests, and prints the
share of the lines of src/ that ran, by room, and the files below 80% with the
lines that did not. Fails where a test does, or where fewer lines ran.
  --fast           only the tests labelled fast
  --least PERCENT  the share that must have run, as in --least 93
Everything else is passed on to ctest.
END
}

least=0
options=()
while (($#)); do
    case $1 in
    -h | --help) usage && exit ;;
    --fast) options+=(-L '^fast$') ;;
    --least) least=${2:?--least takes a number} && shift ;;
    *) options+=("$1") ;;
    esac
    shift
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/install-dependencies.sh build tests mpi bf16
if model=$(scripts/get-model.sh); then
    export CBE_SMOLLM2=$model
else
    unset CBE_SMOLLM2
    echo "coverage: no model (see above): the tests that read it will be skipped" >&2
fi
cmake --preset coverage
cmake --build --preset coverage --parallel "$(nproc)"

# Some tests take rights or room away from the program, which then complains of what it cannot note.
# Files that are there already can be written by any user; other complaints are left out.
find build/coverage/src build/coverage/tests -name '*.gcno' | while read -r notes; do
    : >"${notes%.gcno}.gcda"
    chmod a+rw "${notes%.gcno}.gcda"
done
export GCOV_ERROR_FILE=/dev/null
status=0
ctest --preset coverage --parallel "$(nproc)" --timeout 3000 "${options[@]}" || status=$?
find build/coverage/src build/coverage/tests -name '*.gcda' -empty -delete
python3 scripts/coverage.py build/coverage --least "$least" || status=1
exit "$status"
