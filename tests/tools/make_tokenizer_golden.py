#!/usr/bin/env python3
"""Makes tokenizers of each kind that cbe reads, and the ids that Hugging Face's package gives.

    make_tokenizer_golden.py FOLDER [CASES] [SEED] [NAME...]

Each NAME gets a folder with tokenizer.json and golden.json (a list of random texts, ids, decoded
and, where it differs, ids_with_special). Tokenizers are trained on a text made of the same random
words. Needs: pip install tokenizers
Made tests/golden/tokenizers/made-*, with 24 cases and seed 0.
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
DEEPSEEK = [
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+",
    r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
    r"\s+$",
    r"[一-龥\u0800-一가-\ud7ff]+",
]
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
MARK = "▁"

WORDS = (
    "the of and a to in is was that for it with as his on be at by I this had not are but "
    "from or have an they which one you were her all she there would their we him been has "
    "when who will more no if out so said what "
    "naïve café Ångström straße strasse ΑΒΓ αβγς Привет мир "
    "你好 世界 こんにちは カタカナ 한국어 שלום مرحبا हिन्दी ไทย "
    "don't I'M we'LL 'tis rock'n'roll x=y+1; foo_bar() ÉCOLE "
    "İstanbul ﬁne ½ Ⅷ ２３ ٣٤ 12 345 6789 3.14 1,000 "
    "http://a.b/c?d=e&f <b>bold</b> é 👍🏽 👨‍👩‍👧 🇩🇪 "
    "‘quoted’ “so” — … ！ 。 ، ۔ । ~ ^ ` $5 #tag @me"
).split()
GAPS = [" "] * 12 + [
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\t",
    " \n ",
    "\r\n",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\u0085",
    "",
    "",
    "-",
]
ODD = [
    "\u180e",
    "\ufeff",
    "\u200b",
    "\u200d",
    "\x00",
    "\x01",
    "\x7f",
    "\ufffd",
    "\U0010ffff",
    "\u0301",
    "\u0345",
    "\u1e9b\u0323",
    "\u212b",
    "ſ",
    "'ſ",
    "\u2126",
    "ǆ",
    "Ǆ",
    "ﷺ",
    "\u0958",
    "각",
    "각",
]


def random_text(source, special=()):
    pieces = []
    for _ in range(source.randrange(1, 16)):
        kind = source.random()
        if kind < 0.75:
            word = source.choice(WORDS)
        elif kind < 0.83:
            word = source.choice(ODD)
        elif kind < 0.9 and special:
            word = source.choice(special)
        elif kind < 0.95:
            word = "".join(
                chr(source.randrange(0x20, 0x250)) for _ in range(source.randrange(1, 6))
            )
        else:
            word = chr(
                source.choice([source.randrange(0x250, 0xD7FF), source.randrange(0xE000, 0x1FBFF)])
            )
        pieces += [word, source.choice(GAPS)]
    return "".join(pieces[:-1] if source.random() < 0.7 else pieces)


def train(tokenizer, trainer):
    source = random.Random(7)
    tokenizer.train_from_iterator([random_text(source) for _ in range(3000)], trainer)
    return tokenizer


def train_words(tokenizer, trainer):
    """On words alone: a unigram vocabulary has every character that it has seen."""
    source = random.Random(7)
    tokenizer.train_from_iterator(
        [" ".join(source.choice(WORDS) for _ in range(8)) for _ in range(3000)], trainer
    )
    return tokenizer


def byte_level(
    steps, size=420, normalizer=None, special=("<|endoftext|>",), prefix_space=False, use_regex=True
):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=use_regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, last]) if steps else last
    tokenizer.decoder = decoders.ByteLevel()
    return train(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(special),
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def start_with(tokenizer, token, end=None):
    ids = [(t, tokenizer.token_to_id(t)) for t in (token, end) if t]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A" + (f" {end}" if end else ""), special_tokens=ids
    )
    return tokenizer


def character_bpe(normalizer, pre_tokenizer, decoder, byte_fallback=True, fuse=True, size=500):
    special = ["<unk>", "<s>", "</s>"] + (
        [f"<0x{b:02X}>" for b in range(256)] if byte_fallback else []
    )
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse, byte_fallback=byte_fallback))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    train(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=special,
            show_progress=False,
            max_token_length=8,
            limit_alphabet=60,
        ),
    )
    if byte_fallback:  # bytes are tokens of the model, and no text means them
        data = json.loads(tokenizer.to_str())
        data["added_tokens"] = [
            t for t in data["added_tokens"] if not t["content"].startswith("<0x")
        ]
        tokenizer = Tokenizer.from_str(json.dumps(data))
    return tokenizer


def sentencepiece_decoder(strip=True):
    return decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([decoders.Strip(" ", 1, 0)] if strip else [])
    )


def unigram(normalizer, pre_tokenizer, decoder, byte_fallback=False, size=900):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    train_words(
        tokenizer,
        trainers.UnigramTrainer(
            vocab_size=size,
            special_tokens=["<unk>", "</s>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    if byte_fallback:
        data = json.loads(tokenizer.to_str())
        data["model"]["byte_fallback"] = True
        data["model"]["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
        tokenizer = Tokenizer.from_str(json.dumps(data))
    return tokenizer


def phi():
    tokenizer = byte_level([])
    tokenizer.add_tokens([AddedToken(" " * n, normalized=False) for n in range(8, 1, -1)])
    tokenizer.add_tokens([AddedToken("\t" * n, normalized=False) for n in range(4, 1, -1)])
    return tokenizer


def flags():
    tokenizer = byte_level(
        [], normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    )
    tokenizer.add_tokens(
        [
            AddedToken("<mask>", lstrip=True),
            AddedToken("<right>", rstrip=True, normalized=False),
            AddedToken("the", single_word=True, normalized=False),
            AddedToken("STRASSE", normalized=True),
            AddedToken("<a>"),
            AddedToken("<a><b>"),
        ]
    )
    return tokenizer


def steps():
    """A model of characters behind every other kind of step."""
    return character_bpe(
        normalizers.Sequence(
            [
                normalizers.NFD(),
                normalizers.StripAccents(),
                normalizers.Strip(),
                normalizers.Replace(Regex(r"\d{3,}"), "#"),
            ]
        ),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Digits(False),
                pre_tokenizers.Punctuation("merged_with_previous"),
                pre_tokenizers.Split("-", "contiguous"),
            ]
        ),
        decoders.Fuse(),
        byte_fallback=False,
        fuse=False,
    )


def words():
    return character_bpe(
        normalizers.NFKD(),
        pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)]),
        None,
        byte_fallback=False,
    )


def olmo2():
    tokenizer = byte_level([split(LLAMA3)], use_regex=False)
    return tokenizer


MARKS = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
KINDS = {
    "gpt2": lambda: byte_level([]),
    "opt": lambda: start_with(
        byte_level([], special=("<s>", "</s>"), prefix_space=True), "<s>", "</s>"
    ),
    "gpt_neox": lambda: byte_level([], normalizer=normalizers.NFC()),
    "bloom": lambda: byte_level([split(BLOOM)], use_regex=False),
    "gpt4o": lambda: byte_level([split(GPT4O)], use_regex=False),
    "cl100k": lambda: byte_level([split(CL100K)], use_regex=False),
    "deepseek": lambda: byte_level(
        [*(split(p) for p in DEEPSEEK), pre_tokenizers.Digits(individual_digits=True)],
        use_regex=False,
    ),
    "smollm": lambda: byte_level([pre_tokenizers.Digits(individual_digits=True)]),
    "olmo2": olmo2,
    "phi": phi,
    "flags": flags,
    "llama2": lambda: start_with(character_bpe(MARKS, None, sentencepiece_decoder()), "<s>"),
    "mistral": lambda: start_with(
        character_bpe(
            None, pre_tokenizers.Metaspace(MARK, "first", split=False), sentencepiece_decoder()
        ),
        "<s>",
    ),
    "gemma": lambda: character_bpe(
        normalizers.Replace(" ", MARK),
        pre_tokenizers.Split(" ", "merged_with_previous"),
        sentencepiece_decoder(strip=False),
    ),
    "metaspace": lambda: character_bpe(
        None, pre_tokenizers.Metaspace(MARK, "always"), decoders.Metaspace(MARK, "always")
    ),
    "unigram": lambda: start_with(
        unigram(
            normalizers.NFKC(),
            pre_tokenizers.Metaspace(MARK, "always"),
            decoders.Metaspace(MARK, "always"),
        ),
        "</s>",
    ),
    "unigram-bytes": lambda: unigram(
        None,
        pre_tokenizers.Metaspace(MARK, "never", split=False),
        sentencepiece_decoder(strip=False),
        byte_fallback=True,
    ),
    "steps": steps,
    "words": words,
}


def main():
    folder, n_cases, seed = (
        Path(sys.argv[1]),
        int((sys.argv[2:3] or [24])[0]),
        int((sys.argv[3:4] or [0])[0]),
    )
    for name in sys.argv[4:] or KINDS:
        tokenizer = KINDS[name]()
        out = folder / f"made-{name}"
        out.mkdir(parents=True, exist_ok=True)
        special = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
        source, cases = random.Random(seed), []
        for _ in range(n_cases):
            text = random_text(source, special)
            ids, full = (
                tokenizer.encode(text, add_special_tokens=add).ids for add in (False, True)
            )
            case = {
                "text": text,
                "ids": ids,
                "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            }
            cases.append(case | ({"ids_with_special": full} if full != ids else {}))
        data = json.loads(tokenizer.to_str())
        (out / "tokenizer.json").write_text(
            json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        )
        (out / "golden.json").write_text(json.dumps(cases, ensure_ascii=False, indent=0))


if __name__ == "__main__":
    main()
