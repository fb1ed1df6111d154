#!/usr/bin/env bash
# Seeds of each fuzz target, OUT/TARGET/..., from the fixtures of the tests; what no fixture is
# comes from make_seeds.c.
set -euo pipefail

if (($# != 3)); then
    echo "usage: make-seeds.sh GOLDEN OUT MAKE_SEEDS" >&2
    exit 2
fi
golden=$1 out=$2 program=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rm -rf "$out"
mkdir -p "$out"/{safetensors,gguf,torch,tokenizer_json,config_json,text,command_line} \
    "$out"/{basis,lens,npy,folder,raw_ids,tokenizer_config,charsmap}
"$program" "$golden" "$out"

# Small files of a kind: take TARGET MOST_BYTES FILE... The folder's name begins the seed's.
take() {
    local target=$1 most=$2 file
    shift 2
    for file in "$@"; do
        if (($(stat -c %s "$file") <= most)); then
            cp "$file" "$out/$target/$(basename "$(dirname "$file")")-$(basename "$file")"
        fi
    done
}

# Files of one input, with zero bytes between them: join SEED FILE...
join() {
    local seed=$1 file
    shift
    cat "$1" >"$seed"
    for file in "${@:2}"; do
        printf '\0' >>"$seed"
        cat "$file" >>"$seed"
    done
}

take safetensors 4096 "$golden"/extract/*/*.safetensors "$golden"/torch/*.safetensors \
    "$golden"/lbfgs/*.safetensors
take gguf 2600 "$golden"/gguf/*.gguf
take torch 2600 "$golden"/torch/good/*.pt "$golden"/torch/bad/*.pt
take tokenizer_json 8192 "$golden"/tokenizers/made-{gpt2,smollm,unigram}/tokenizer.json
take config_json 4000 "$golden"/models/*/config*.json
take npy 2000 "$golden"/npy/*.np[yz]
for lens in layernorm rmsnorm; do
    join "$out/lens/$lens" "$golden/extract/$lens-tuned/lens/"{config.json,params.safetensors}
done
cp -r "$here"/seeds/. "$out"

# How a text is read is its first byte (fuzz_text.c).
text() { # SEED FIRST_BYTE (in octal), the text on standard input
    { printf '%b' "\\0$2" && cat; } >"$out/text/$1"
}
lines='{"text": "One, two."}\n\n{"text": "caf\\u00e9 \xf0\x9f\x99\x82", "b": "x"}\n'
printf 'A line.\n\nAnother one, with 123 and \xc3\xa9\xff.\n' | text file 1
printf 'A line.\nIts second.\n\n\n  \nAnother.\n' | text blank-line 2
printf '%b' "$lines" | text jsonl 3
printf '%b' "$lines" | text jsonl-by-name 4
printf '%b' "$lines" | gzip -n | text gzip 3
printf 'one' | gzip -n | { cat && printf 'two' | gzip -n; } | text gzip-members 1
printf '\050\265\057\375\040\007\071\000\000A line.' | text zstd 1
printf '%b' "$lines" | text json-by-content 0
printf '%b' "$lines" | text json-by-name 40
printf '[{"text": "One."}]' | text array 40
printf '{"text": null}\n{"text": "caf\351\\ud83d", "x": NaN}\n\357\273\277{"text": ""}' |
    text odd-lines 3
{ printf 'one' | gzip -n && printf '\000\000\000' && printf 'two' | gzip -n && printf 'x'; } |
    text gzip-padded 1
printf '\120\052\115\030\002\000\000\000xy\050\265\057\375\040\007\071\000\000A line.\000' |
    text zstd-skipped 1
printf '\050\265\057\375\000\250\071\000\000A line.' | text zstd-window 1
printf 'A\000 \000l\000i\000n\000e\000' | text utf-16 1

# The first byte chooses the vocabulary, the second the length of an index (fuzz_raw_ids.c).
raw_ids() { # SEED FIRST_BYTE INDEX_LENGTH (both in octal), the index and the ids on standard input
    { printf '%b' "\\0$2\\0$3" && cat; } >"$out/raw_ids/$1"
}
printf '\001\000\020\000\377\001' | raw_ids uint16 3 0
printf '\001\000\001\000\377\001\000\000' | raw_ids uint32 5 0
printf 'MMIDIDX\000\000\001\000\000\000\000\000\000\000\004\001\000\000\000' | raw_ids index 12 22
{
    printf '\210\330\064\001\001\000\000\000\002' && head -c 1015 /dev/zero
    printf '\001\000\002\000'
} | raw_ids llmc 3 0

# The first byte chooses the command, arguments are lines (fuzz_command_line.c).
line() { # SEED COMMAND (in octal) ARGUMENT...
    local seed=$out/command_line/$1 command=$2
    shift 2
    { printf '%b' "\\0$command" && printf '%s\n' "$@"; } >"$seed"
}
line extract 0 model --text a b.jsonl -o out -k 3 --layers 0-2,5 --ablation optimal --seed=7 \
    --memory 1.5G --skip-positions auto
line extract-states 0 --hidden-states h --decoder d -oout --objective ce --lens tuned=f \
    --held-out .25 --min-energy 1e-3 -q
line probe 1 model --text a --vectors-file v -o out --site post --threads 2
line ablate 2 model --text a -k 4 --layers all
line capture 3 model --text a --tokens t --context-length 64 -o f
line fit 5 model --text a --max-tokens 1000 -v -o l
line train 6 model --text a -o l --rate .1 --momentum 0.5 --resume --optimizer adam
line eval 7 model --text a -o l
line convert 010 a b --format safetensors
line tokenize 012 model text --special --documents jsonl --text-field body
line info 013 --tensors -- -f
line help 0 --help
