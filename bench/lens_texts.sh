#!/usr/bin/env bash
# English text that any Debian machine has, for measuring lenses: TRAIN of about 500 KB (licences,
# manual pages, perl's documents, in turns of 8 KB so that every part of it is a mixture) and
# HELD_OUT of about 230 KB from other files.
#
# usage: lens_texts.sh FOLDER      writes FOLDER/train.txt and FOLDER/held-out.txt
set -eu
[ $# -eq 1 ] || {
    sed -n '2,6p' "$0"
    exit 2
}
out=$1
mkdir -p "$out"
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

licences=/usr/share/common-licenses
perl=$(dirname "$(find /usr/share/perl -name perldiag.pod -print -quit)")/..

page() { # manual page NAME, its first BYTES, runs of blanks as one
    MANWIDTH=100 man -P cat "$1" 2>/dev/null | col -bx | tr -s ' ' | head -c "$2" || true
}

cat $licences/Apache-2.0 $licences/GPL-3 $licences/MPL-2.0 $licences/GFDL-1.3 |
    tr -s ' ' | head -c 80000 >"$parts/0"
page bash 90000 >"$parts/1"
page curl 90000 >"$parts/2"
page find 60000 >"$parts/3"
page gpg 60000 >"$parts/4"
page ssh 50000 >"$parts/5"
tr -s ' ' <"$perl/pod/perldiag.pod" | head -c 90000 >"$parts/6"
for i in 0 1 2 3 4 5 6; do split -b 8000 -d -a 3 "$parts/$i" "$parts/turn.$i."; done
for turn in $(seq -f %03g 0 11); do
    cat "$parts"/turn.?."$turn" 2>/dev/null || true
done >"$out/train.txt"

{
    page awk 25000
    page less 25000
    page systemd 25000
    page journalctl 25000
    page grep 25000
    head -c 30000 "$perl/Locale/Maketext/TPJ13.pod"
    head -c 30000 "$perl/Pod/Simple/Subclassing.pod"
    head -c 20000 "$perl/Encode/Supported.pod"
    tr -s ' ' <$licences/MPL-1.1
} >"$out/held-out.txt"
wc -c "$out/train.txt" "$out/held-out.txt"
