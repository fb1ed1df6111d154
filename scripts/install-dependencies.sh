#!/usr/bin/env bash
# Installs the Debian packages that are missing, and does nothing at all when none is.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/install-dependencies.sh [--list | --names] SET...

Installs what is missing of these sets of packages, as root or through sudo:
  build      compiler, CMake and the libraries that cbe is built on
  libraries  the libraries alone
  tests      what the tests need besides
  bf16       oneDNN, for products in bfloat16 (CMake option CBE_ONEDNN)
  mpi        Open MPI, for several processes (CMake option CBE_MPI)
  mpich      MPICH, for the preset mpich
  cross      compiler and emulator for the preset aarch64
  tsan       compiler and OpenMP for the preset tsan
  fuzz       clang, its fuzzer and OpenMP runtime, for the preset fuzz
  format     what scripts/format.sh lays out and checks with
  model      what fetches the model
  bench      what the comparison with PyTorch needs
  --list     only prints the missing packages, one a line
  --names    only prints the packages, missing or not

CBE_NO_INSTALL=1 installs nothing, for systems where these libraries come from
elsewhere; CMake then says what it misses.
END
}

fail() {
    echo "install-dependencies: $*" >&2
    exit 1
}

# libc6-dev is only recommended by gcc, and recommended packages are not installed here.
packages_of() {
    case $1 in
    build) echo gcc cmake make && packages_of libraries ;;
    libraries)
        echo libc6-dev libopenblas-dev libpcre2-dev libutf8proc-dev nettle-dev \
            zlib1g-dev libzstd-dev libzip-dev
        ;;
    bf16) echo libdnnl-dev ;;
    mpi) echo libopenmpi-dev openmpi-bin ;;
    mpich) echo libmpich-dev mpich ;;
    cross) echo gcc-aarch64-linux-gnu qemu-user ;;
    tests) echo libcmocka-dev libjansson-dev python3 g++ groff-base pkg-config ;;
    tsan) echo clang llvm libomp-dev ;;
    fuzz) echo clang libclang-rt-14-dev libomp-14-dev ;;
    format) echo clang-format shellcheck shfmt ;;
    model) echo python3-pip ca-certificates ;;
    bench) echo python3-venv ;;
    *)
        fail "unknown set '$1': build, libraries, tests, bf16, mpi, mpich, cross, tsan, fuzz," \
            "format, model or bench"
        ;;
    esac
}

is_installed() {
    local states # one for each architecture; "not-installed" is one too
    states=$(dpkg-query -W -f=' ${db:Status-Status} ' "$1" 2>/dev/null) &&
        [[ $states == *' installed '* ]]
}

list=0
names_only=0
wanted=()
for argument in "$@"; do
    case $argument in
    -h | --help) usage && exit ;;
    --list) list=1 ;;
    --names) names_only=1 ;;
    *)
        names=$(packages_of "$argument")
        read -rd '' -a names <<<"$names" || true # ends at the end of the text
        wanted+=("${names[@]}")
        ;;
    esac
done
if ((${#wanted[@]} == 0)); then
    usage >&2
    exit 2
fi
if ((names_only)); then
    printf '%s\n' "${wanted[@]}"
    exit 0
fi
if [[ ${CBE_NO_INSTALL:-0} == 1 ]]; then exit 0; fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    fail "this is not Debian; install the equivalents of ${wanted[*]}, then set CBE_NO_INSTALL=1"
fi
missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then exit 0; fi
if ((list)); then
    printf '%s\n' "${missing[@]}"
    exit 0
fi

as_root=()
if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null ||
        fail "neither root nor sudo; as root run: apt-get install ${missing[*]}"
    as_root=(sudo)
fi
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
}
echo "Installing ${missing[*]}" >&2
apt update ||
    echo "install-dependencies: package lists could not be refreshed; trying with those here" >&2
apt install --no-install-recommends "${missing[@]}" ||
    fail "apt-get could not install ${missing[*]}"
