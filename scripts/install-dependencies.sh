#!/usr/bin/env bash
# Installs the Debian packages that are missing, and does nothing at all when none is.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/install-dependencies.sh [--list | --names] SET...

Installs what is missing of these sets of packages, as root or through sudo:
  build      compiler, CMake and the libraries that cbe is built on; oneDNN where
             it can be had
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

# libc6-dev is only recommended by gcc, and recommended packages are not installed here. A package
# with "?" is one that is done without where it cannot be had.
packages_of() {
    case $1 in
    build) echo gcc cmake make 'libdnnl-dev?' && packages_of libraries ;;
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
    printf '%s\n' "${wanted[@]%\?}"
    exit 0
fi
if [[ ${CBE_NO_INSTALL:-0} == 1 ]]; then exit 0; fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    fail "this is not Debian; install the equivalents of ${wanted[*]%\?}, then set CBE_NO_INSTALL=1"
fi
missing=()
wished=() # missing, and done without
for package in "${wanted[@]}"; do
    if is_installed "${package%\?}"; then continue; fi
    if [[ $package == *\? ]]; then wished+=("${package%\?}"); else missing+=("$package"); fi
done
if ((list)); then
    printf '%s\n' "${missing[@]}" "${wished[@]}" | sed '/^$/d'
    exit 0
fi
if ((${#missing[@]} == 0 && ${#wished[@]} == 0)); then exit 0; fi

as_root=()
if [[ $(id -u) != 0 ]]; then
    if command -v sudo >/dev/null; then
        as_root=(sudo)
        ((${#missing[@]})) || as_root+=(-n) # no password is asked for what is done without
    elif ((${#missing[@]} == 0)); then
        exit 0
    else
        fail "neither root nor sudo; as root run: apt-get install ${missing[*]}"
    fi
fi
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
}
# Lists of packages are refreshed for what must be there alone: a build that lacks only what it can
# do without is not to wait for a network each time.
if ((${#missing[@]})); then
    echo "Installing ${missing[*]}" >&2
    apt update ||
        echo "install-dependencies: package lists could not be refreshed; going on with these" >&2
    apt install --no-install-recommends "${missing[@]}" ||
        fail "apt-get could not install ${missing[*]}"
fi
for package in "${wished[@]}"; do
    [[ $(apt-cache madison "$package" 2>/dev/null) ]] || continue
    echo "Installing $package" >&2
    apt install --no-install-recommends "$package" ||
        echo "install-dependencies: $package could not be installed; going on without it" >&2
done
