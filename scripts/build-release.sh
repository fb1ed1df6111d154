#!/usr/bin/env bash
# Builds targets of the preset `release` in build/release, and installs what that needs.
set -euo pipefail

if (($# == 0)) || [[ $1 == -h || $1 == --help ]]; then
    echo "usage: scripts/build-release.sh TARGET..., as in: scripts/build-release.sh cbe-program"
    exit $(($# == 0 ? 2 : 0))
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/install-dependencies.sh build
# A first configuration leaves the tests out, as they need another library; a folder that has been
# configured before keeps its choice.
options=()
[[ -f build/release/cmake_install.cmake ]] || options=(-D CBE_TESTS=OFF)
cmake --preset release "${options[@]}"
cmake --build --preset release --parallel "$(nproc)" --target "$@"
