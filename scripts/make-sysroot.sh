#!/usr/bin/env bash
# Unpacks the arm64 libraries for the preset aarch64 in build/aarch64-sysroot, and there alone.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/make-sysroot.sh

Fetches Debian's arm64 packages of the libraries that cbe and its tests are
built on, with all that they depend on, and unpacks them in
build/aarch64-sysroot. apt-get works with package lists of its own there, so
that the system learns of no foreign architecture; it takes no root. Does
nothing when the folder holds these packages already.
END
}

fail() {
    echo "make-sysroot: $*" >&2
    exit 1
}

case ${1-} in
'') ;;
-h | --help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || fail "this takes Debian's $tool"
done

readonly sysroot=$PWD/build/aarch64-sysroot
mapfile -t packages < <(scripts/install-dependencies.sh --names libraries tests)
packages+=(libgomp1) # on the build machine it comes with gcc
readonly stamp=$sysroot/packages
if [[ -f $stamp && $(<"$stamp") == "${packages[*]}" ]]; then exit 0; fi

part=$sysroot.part # complete, or absent under its final name
trap 'rm -rf "$part"' EXIT
rm -rf "$part" "$sysroot"
mkdir -p "$part"/apt/{lists,archives}/partial "$part/root"
: >"$part/apt/status" # nothing is installed: every dependency is fetched
apt() {
    apt-get -q -y -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$part/apt" \
        -o Dir::State::status="$part/apt/status" -o Dir::Cache="$part/apt" "$@" </dev/null >&2
}
apt update || echo "make-sysroot: some package lists could not be fetched" >&2
apt install --download-only --no-install-recommends "${packages[@]}" ||
    fail "apt-get could not fetch ${packages[*]} for arm64"
for archive in "$part"/apt/archives/*.deb; do dpkg-deb -x "$archive" "$part/root"; done

# Links to absolute paths would lead out of the sysroot, to the libraries of this machine.
find "$part/root" -type l -lname '/*' | while read -r link; do
    ln -sfnr "$part/root$(readlink "$link")" "$link"
done
printf '%s' "${packages[*]}" >"$part/root/packages"
mv "$part/root" "$sysroot"
