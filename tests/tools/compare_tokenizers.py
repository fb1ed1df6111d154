#!/usr/bin/env python3
"""Compares cbe's ids with those of Hugging Face's tokenizers and transformers on random texts.

    compare_tokenizers.py CBE LIBCBE.so FOLDER [TEXTS] [SEED] [NAME...]

Makes tokenizers of many forms in FOLDER (those of make_tokenizer_golden.py, forms of its own,
random combinations of steps, and folders with the files that transformers reads beside
tokenizer.json), encodes TEXTS random texts with each (default 300), with and without special
tokens, and prints a row a form. A form agrees, or cbe warns of it or refuses it (the row says how);
anything else is a silent difference, which is printed, and the exit status is 1.
Needs: pip install tokenizers transformers sentencepiece
"""

import ctypes
import json
import os
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
import sentencepiece
from make_tokenizer_golden import GAPS, KINDS, MARK, ODD, WORDS, train, train_words
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

SPECIAL = ["<unk>", "<s>", "</s>"]
BLANKS = [
    " ",
    "  ",
    "   ",
    "      ",
    "\t",
    "\n",
    "\r\n",
    "\u00a0",
    "\u3000",
    "\u2003",
    "\x0b",
    "\x85",
]
MARKS = [
    "\u0301",
    "\u0308",
    "\u0323",
    "\u093f",
    "\u094d",
    "\u0e31",
    "\u05b8",
    "\u064e",
    "\u20dd",
    "\ufe0f",
]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧", "🇩🇪", "❤️", "1️⃣", "🫠", "🥺", "☕", "✈️"]
CJK = list("你好世界漢字日本語ひらがなカタカナーㇰ한국어ㄅㄆ々〇𠀀𪜀豈丽〜「」、。")
CONTROLS = [chr(c) for c in (*range(0, 32), 127, 0x80, 0x85, 0x8F, 0x9F, 0xAD, 0x200B, 0x200C)]
CONTROLS += ["\u200d", "\u200e", "\u202e", "\ufeff", "\ufffd", "\ue000", "\u2028", "\ufff9"]
INVALID = [
    b"\xff",
    b"\xc0\x80",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\x80\x80",
    b"\xed\xa0\x80",
    b"a\xc3",
]
CASES = ["İ", "ß", "ẞ", "ſ", "ΑΣ", "ǅ", "ﬃ", "①", "Ⓐ", "ⓐ", "²", "½", "Ⅷ", "٣", "२", "𝟘", "㍿", "…"]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»¿¡–—‘’“”…、。¤§©®™°±×÷€")


def random_text(source, added):
    """Bytes of a text, seldom with ill-formed UTF-8."""
    pieces = []
    for _ in range(source.choice([1, 2, 3, 5, 8, 13, 21])):
        kind = source.random()
        if kind < 0.30:
            piece = source.choice(WORDS)
        elif kind < 0.42 and added:
            piece = source.choice(added)
            if source.random() < 0.3:
                piece = source.choice(["a", "_", "é", "\u0301", ".", " ", "  ", "1"]) + piece
            if source.random() < 0.3:
                piece += source.choice(["a", "_", "é", "\u0301", ".", " ", "  ", "1"])
        elif kind < 0.47:
            piece = source.choice(ODD + CASES)
        elif kind < 0.52:
            piece = "".join(source.choice(CJK) for _ in range(source.randrange(1, 5)))
        elif kind < 0.57:
            piece = "e" + "".join(source.choice(MARKS) for _ in range(source.randrange(1, 4)))
        elif kind < 0.62:
            piece = source.choice(EMOJI)
        elif kind < 0.67:
            piece = source.choice(CONTROLS)
        elif kind < 0.72:
            piece = source.choice(BLANKS) * source.randrange(1, 4)
        elif kind < 0.80:
            piece = "".join(source.choice("0123456789") for _ in range(source.randrange(1, 9)))
        elif kind < 0.88:
            piece = "".join(source.choice(PUNCTUATION) for _ in range(source.randrange(1, 4)))
        elif kind < 0.96:
            piece = "".join(source.choice("abcdeéABC") for _ in range(source.randrange(1, 12)))
        elif kind < 0.98:
            piece = "\u0378"
            while unicodedata.category(piece) == "Cn":  # newer versions of Unicode class more
                piece = chr(
                    source.choice(
                        [source.randrange(0x80, 0xD800), source.randrange(0xE000, 0x1FBFF)]
                    )
                )
        else:
            piece = source.choice(INVALID)
        pieces.append(piece.encode() if isinstance(piece, str) else piece)
        if source.random() < 0.6:
            pieces.append(source.choice(GAPS).encode())
    return b"".join(pieces)


def corpus(n=2000, seed=7):
    source = random.Random(seed)
    added = []
    return [random_text(source, added).decode("utf8", "replace") for _ in range(n)]


def bpe(normalizer=None, pre=None, size=500, unk="<unk>", alphabet=120, changes=None, **traits):
    """A BPE of characters; changes edits the JSON of the model."""
    tokenizer = Tokenizer(models.BPE(unk_token=unk, **traits))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    affixes = {
        k: traits[k] for k in ("continuing_subword_prefix", "end_of_word_suffix") if k in traits
    }
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        show_progress=False,
        limit_alphabet=alphabet,
        **affixes,
    )
    return change(train_on(tokenizer, trainer), changes)


def train_on(tokenizer, trainer):
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def change(tokenizer, changes):
    if not changes:
        return tokenizer
    data = json.loads(tokenizer.to_str())
    changes(data)
    return json.dumps(data)  # as it is: the library would write some changes otherwise


def wordpiece(normalizer, pre, prefix="##", longest=100, unk="[UNK]"):
    tokenizer = Tokenizer(models.WordPiece(unk_token=unk, max_input_chars_per_word=longest))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.WordPiece(prefix)
    trainer = trainers.WordPieceTrainer(
        vocab_size=900,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        continuing_subword_prefix=prefix,
        show_progress=False,
    )
    train_on(tokenizer, trainer)

    def set_model(data):
        data["model"]["continuing_subword_prefix"] = prefix
        data["model"]["max_input_chars_per_word"] = longest

    return Tokenizer.from_str(change(tokenizer, set_model))


def bert(**traits):
    tokenizer = wordpiece(normalizers.BertNormalizer(**traits), pre_tokenizers.BertPreTokenizer())
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def word_level(pre, unk="<unk>"):
    tokenizer = Tokenizer(models.WordLevel(unk_token=unk))
    tokenizer.pre_tokenizer = pre
    trainer = trainers.WordLevelTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)
    return train_on(tokenizer, trainer)


def charsmap(name):
    """A table of normalisation as SentencePiece has it."""
    model = Path(os.environ.get("TMPDIR", "/tmp")) / f"compare-{name}"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g h"] * 20),
        model_prefix=str(model),
        vocab_size=20,
        hard_vocab_limit=False,
        normalization_rule_name=name,
        minloglevel=2,
    )
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(Path(f"{model}.model").read_bytes())
    return proto.normalizer_spec.precompiled_charsmap


def unigram(normalizer, pre, size=700, changes=None):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    return change(train_words(tokenizer, trainer), changes)


def byte_level(pre, size=500, normalizer=None, **traits):
    tokenizer = Tokenizer(models.BPE(**traits))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    return train(tokenizer, trainer)


def regex_split(pattern, behaviour="isolated", invert=False):
    return bpe(pre=pre_tokenizers.Split(Regex(pattern), behaviour, invert))


def add(tokenizer, *tokens):
    tokenizer.add_tokens(list(tokens))
    return tokenizer


def added_traits(normalizer=None, pre=None):
    tokens = []
    for i in range(32):
        single, left, right, normalised, special = (bool(i >> k & 1) for k in range(5))
        word = ["the", "Of", "<m>", "É", "ß", "[x]", "naïve", "foo_bar"][i % 8] + (
            str(i) if i > 7 else ""
        )
        tokens.append(
            AddedToken(
                word,
                single_word=single,
                lstrip=left,
                rstrip=right,
                normalized=normalised,
                special=special,
            )
        )
    return add(bpe(normalizer=normalizer, pre=pre), *tokens)


def blanks():
    return add(
        bpe(pre=pre_tokenizers.Metaspace()),
        AddedToken("<r>", rstrip=True, normalized=False),
        AddedToken("<l>", lstrip=True, normalized=False),
        AddedToken("<n>", lstrip=True, rstrip=True),
        AddedToken("  ", normalized=False),
        AddedToken("    ", normalized=False),
        AddedToken("\n\n", lstrip=True, normalized=False),
        AddedToken("\t", normalized=True),
    )


def fallback(fuse, bytes_known=range(256), unk="<unk>"):
    def set_bytes(data):
        vocab = data["model"]["vocab"]
        for b in bytes_known:
            vocab[f"<0x{b:02X}>"] = len(vocab)

    return bpe(byte_fallback=True, fuse_unk=fuse, alphabet=40, changes=set_bytes, unk=unk)


def repeated(data):
    """Repeated merges with a version line, in the older form."""
    merges = [" ".join(m) for m in data["model"]["merges"] if " " not in "".join(m)]
    data["model"]["merges"] = ["#version: 0.2", *merges, *merges[3:9]]


def twins(data):
    """Two tokens with one id, and a NUL token."""
    vocab = data["model"]["vocab"]
    vocab["the"] = vocab["a"]
    vocab["\0"] = max(vocab.values()) + 1


def equal_entries(data):
    vocab = data["model"]["vocab"]
    vocab += [["the", -1.5], ["<unk>", -9.0], ["xx", -3.0], ["", -2.0]]


def processors_in_a_row():
    tokenizer = bpe(pre=pre_tokenizers.Whitespace())
    template = processors.TemplateProcessing
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            template(single="<s> $A", special_tokens=[("<s>", 1)]),
            template(single="</s> $A:0 </s> <s>", special_tokens=[("<s>", 1), ("</s>", 2)]),
        ]
    )
    return tokenizer


def roberta():
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True))
    tokenizer.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>"))
    )
    return tokenizer


def deep():
    step = pre_tokenizers.Whitespace()
    normal = normalizers.NFKC()
    for _ in range(20):
        step = pre_tokenizers.Sequence([step])
        normal = normalizers.Sequence([normal])
    return bpe(normalizer=normal, pre=step)


CLIP = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
OWN = {
    "bert": lambda: bert(lowercase=True),
    "bert-cased": lambda: bert(lowercase=False),
    "bert-accents": lambda: bert(lowercase=True, strip_accents=False, handle_chinese_chars=False),
    "bert-unclean": lambda: bert(lowercase=False, strip_accents=True, clean_text=False),
    "wordpiece-short": lambda: wordpiece(None, pre_tokenizers.Whitespace(), "@@", 6),
    "word-level": lambda: word_level(pre_tokenizers.Whitespace()),
    "word-level-punctuation": lambda: word_level(pre_tokenizers.Punctuation("contiguous")),
    "clip": lambda: bpe(
        normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        ),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(CLIP), "removed", invert=True),
                pre_tokenizers.ByteLevel(False),
            ]
        ),
        end_of_word_suffix="</w>",
    ),
    "suffix": lambda: bpe(
        normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), end_of_word_suffix="</w>"
    ),
    "prefix": lambda: bpe(
        None, pre_tokenizers.WhitespaceSplit(), continuing_subword_prefix="##", fuse_unk=True
    ),
    "prefix-and-suffix": lambda: bpe(
        None,
        pre_tokenizers.Whitespace(),
        continuing_subword_prefix="@",
        end_of_word_suffix="~",
        alphabet=40,
    ),
    "t5": lambda: unigram(
        normalizers.Sequence(
            [
                normalizers.Precompiled(charsmap("nmt_nfkc")),
                normalizers.Strip(left=False),
                normalizers.Replace(Regex(" {2,}"), MARK),
            ]
        ),
        pre_tokenizers.Metaspace(),
    ),
    "xlm-roberta": lambda: unigram(
        normalizers.Precompiled(charsmap("nmt_nfkc_cf")),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    ),
    "charsmap-nfkc": lambda: bpe(
        normalizers.Precompiled(charsmap("nfkc")), pre_tokenizers.Metaspace()
    ),
    "unigram-first": lambda: unigram(
        normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Strip()]),
        pre_tokenizers.Metaspace(prepend_scheme="first"),
    ),
    "unigram-equal": lambda: unigram(None, pre_tokenizers.Metaspace(), changes=equal_entries),
    "behind-byte-level": lambda: byte_level(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.ByteLevel(False),
                pre_tokenizers.Digits(True),
                pre_tokenizers.Punctuation(),
            ]
        )
    ),
    "two-byte-levels": lambda: byte_level(
        pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(False), pre_tokenizers.ByteLevel(True)])
    ),
    "byte-level-normalizer": lambda: byte_level(
        pre_tokenizers.Split(Regex(r"Ġ?\p{L}+|\p{N}"), "isolated"),
        normalizer=normalizers.ByteLevel(),
    ),
    "byte-level-unigram": lambda: unigram(None, pre_tokenizers.ByteLevel(True)),
    "ignore-merges": lambda: add(
        byte_level(pre_tokenizers.ByteLevel(False), ignore_merges=True),
        AddedToken("the", single_word=True),
        AddedToken("Ġof", single_word=True),
    ),
    "nmt": lambda: bpe(normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD()])),
    "strip-accents": lambda: bpe(
        normalizers.Sequence(
            [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
        )
    ),
    "digits-in-threes": lambda: regex_split(r"(?=(\d{3})+(?!\d))"),
    "capitals": lambda: regex_split(r"(?<=[a-z])(?=[A-Z])", "merged_with_next"),
    "empty-contiguous": lambda: regex_split(r"\d*", "contiguous"),
    "empty-inverted": lambda: regex_split(r"\s*", "removed", True),
    "bounds": lambda: regex_split(r"\b"),
    "not-bounds": lambda: regex_split(r"\B\w\B", "merged_with_previous"),
    "intersection": lambda: regex_split(r"[\p{L}&&[^\p{Lu}]]+|[^\W_]+|[[:punct:]&&[^']]+"),
    "options": lambda: regex_split(r"(?i)the|of(?m:.)|[a-c]+\h?|(?-i:[[:upper:]]+\p{Ll})"),
    "replace-empty": lambda: bpe(normalizers.Replace(Regex(r"(?=\d)"), "#")),
    "fixed-length": lambda: bpe(pre=pre_tokenizers.FixedLength(3)),
    "delimiter": lambda: bpe(pre=pre_tokenizers.CharDelimiterSplit("-")),
    "scripts": lambda: bpe(pre=pre_tokenizers.UnicodeScripts()),
    "metaspace-first": lambda: added_traits(pre=pre_tokenizers.Metaspace(prepend_scheme="first")),
    "added": added_traits,
    "added-normalised": lambda: added_traits(
        normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()]),
        pre_tokenizers.Whitespace(),
    ),
    "added-blanks": blanks,
    "fallback": lambda: fallback(False),
    "fallback-fused": lambda: fallback(True, range(0x80, 0xC8)),
    "fallback-some": lambda: fallback(False, range(0x80, 0xC8)),
    "fallback-no-unknown": lambda: fallback(True, range(0x80, 0xD0), None),
    "repeated-merges": lambda: bpe(pre=pre_tokenizers.Whitespace(), changes=repeated),
    "twins": lambda: bpe(pre=pre_tokenizers.WhitespaceSplit(), changes=twins),
    "no-unknown": lambda: bpe(pre=pre_tokenizers.WhitespaceSplit(), unk=None, alphabet=30),
    "processors": processors_in_a_row,
    "roberta": roberta,
    "deep": deep,
}
for behaviour in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
    for invert in (False, True):
        OWN[f"split-{behaviour}-{'inverted' if invert else 'straight'}"] = (
            lambda behaviour=behaviour, invert=invert: regex_split(
                r"\p{L}+|['-]", behaviour, invert
            )
        )
    OWN[f"punctuation-{behaviour}"] = lambda behaviour=behaviour: bpe(
        pre=pre_tokenizers.Punctuation(behaviour)
    )
    OWN[f"literal-{behaviour}"] = lambda behaviour=behaviour: bpe(
        pre=pre_tokenizers.Split(" ", behaviour)
    )


def random_steps(seed):
    """A tokenizer whose steps are drawn."""
    source = random.Random(seed)
    normal = [
        normalizers.NFC,
        normalizers.NFKC,
        normalizers.NFKD,
        normalizers.Lowercase,
        normalizers.StripAccents,
        normalizers.Nmt,
        lambda: normalizers.Strip(source.random() < 0.5, source.random() < 0.5),
        lambda: normalizers.Prepend(MARK),
        lambda: normalizers.Replace(" ", MARK),
        lambda: normalizers.Replace(Regex(r"\s{2,}"), " "),
        lambda: normalizers.BertNormalizer(lowercase=source.random() < 0.5),
    ]
    behaviours = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
    pre = [
        lambda: pre_tokenizers.ByteLevel(source.random() < 0.5, use_regex=source.random() < 0.5),
        pre_tokenizers.Whitespace,
        pre_tokenizers.WhitespaceSplit,
        pre_tokenizers.BertPreTokenizer,
        lambda: pre_tokenizers.Digits(source.random() < 0.5),
        lambda: pre_tokenizers.Punctuation(source.choice(behaviours)),
        lambda: pre_tokenizers.Metaspace(
            MARK, source.choice(["always", "first", "never"]), source.random() < 0.5
        ),
        lambda: pre_tokenizers.FixedLength(source.randrange(2, 9)),
        lambda: pre_tokenizers.Split(
            Regex(
                source.choice(
                    [r"\w+", r"\p{Lu}", r"\s+(?!\S)", r"[^\s\w]+", r"\b", r"(?<=\d)(?=\D)"]
                )
            ),
            source.choice(behaviours),
            source.random() < 0.3,
        ),
    ]
    chosen = [source.choice(normal)() for _ in range(source.randrange(0, 4))]
    steps = [source.choice(pre)() for _ in range(source.randrange(1, 5))]
    # Where nothing is left of an added token of blanks, the library fails on most texts.
    strips = any(type(n).__name__ == "Strip" or type(n).__name__ == "Replace" for n in chosen)
    traits = {"fuse_unk": source.random() < 0.5}
    if source.random() < 0.2:
        traits["end_of_word_suffix"] = "</w>"
    tokenizer = bpe(
        normalizers.Sequence(chosen) if chosen else None, pre_tokenizers.Sequence(steps), **traits
    )
    return add(
        tokenizer,
        *(
            AddedToken(
                word,
                single_word=source.random() < 0.3,
                lstrip=source.random() < 0.3,
                rstrip=source.random() < 0.3,
                normalized=source.random() < 0.5,
            )
            for word in ("<x>", "the", "É", "_  ", "a b", *([] if strips else ["  "]))
        ),
    )


def token(content, **traits):
    base = {
        "lstrip": False,
        "rstrip": False,
        "single_word": False,
        "normalized": False,
        "special": True,
    }
    return {"content": content, **base, **traits}


def simple():
    return byte_level(pre_tokenizers.ByteLevel(False))


BACKEND = {"tokenizer_class": "PreTrainedTokenizerFast"}
# Files beside tokenizer.json; SIZE in them is replaced by the number of the next token.
FOLDERS = {
    "decoder": {
        "tokenizer_config": {
            "added_tokens_decoder": {"500": token("<|im_start|>"), "501": token("<|im_end|>")}
        }
    },
    "decoder-unordered": {
        "tokenizer_config": {
            "added_tokens_decoder": {
                "501": token("<b>"),
                "500": token("<a>"),
                "9": token("the", special=False),
            }
        }
    },
    "decoder-traits": {
        "tokenizer_config": {
            "added_tokens_decoder": {
                "500": token("<m>", lstrip=True),
                "501": token("of", single_word=True, special=False, normalized=True),
                "502": token("<r>", rstrip=True, special=False),
            }
        }
    },
    "named": {
        "tokenizer_config": {
            "bos_token": "<s>",
            "eos_token": "<|endoftext|>",
            "pad_token": "<pad>",
            "mask_token": None,
        }
    },
    "named-objects": {
        "tokenizer_config": {
            "bos_token": {"__type": "AddedToken", **token("<s>", rstrip=True)},
            "mask_token": {"__type": "AddedToken", **token("<mask>", lstrip=True)},
            "unk_token": {"__type": "AddedToken", **token("<u>", special=False, normalized=True)},
        }
    },
    "named-in-vocabulary": {"tokenizer_config": {"bos_token": "the", "pad_token": "Ġof"}},
    "additional": {
        "tokenizer_config": {"additional_special_tokens": ["<x>", "<y>"], "pad_token": "<y>"}
    },
    "additional-empty": {
        "tokenizer_config": {"additional_special_tokens": [], "eos_token": "</s>"}
    },
    "extra": {"tokenizer_config": {"extra_special_tokens": ["<x>", "<y>"]}},
    "extra-object": {
        "tokenizer_config": {
            "extra_special_tokens": {"image_token": "<img>", "video_token": "<vid>"}
        }
    },
    "extra-and-additional": {
        "tokenizer_config": {"extra_special_tokens": ["<x>"], "additional_special_tokens": ["<y>"]}
    },
    "further-keys": {
        "tokenizer_config": {"boi_token": "<boi>", "image_token": "<img>", "add_bos_token": True}
    },
    "map": {
        "special_tokens_map": {"bos_token": "<s>", "eos_token": token("</s>"), "pad_token": "<pad>"}
    },
    "map-beats-config": {
        "tokenizer_config": {"bos_token": "<c>", "eos_token": "<e>"},
        "special_tokens_map": {"bos_token": "<m>", "pad_token": token("<p>", lstrip=True)},
    },
    "decoder-beats-map": {
        "tokenizer_config": {"bos_token": "<c>", "added_tokens_decoder": {"500": token("<c>")}},
        "special_tokens_map": {"bos_token": "<m>"},
    },
    "map-additional": {
        "special_tokens_map": {"additional_special_tokens": ["<x>", "<y>"], "pad_token": "<x>"}
    },
    "added-file": {"added_tokens": {"<b>": 501, "<a>": 500, "of": 502}},
    "added-file-special": {
        "tokenizer_config": {"pad_token": "<a>"},
        "added_tokens": {"<a>": 500, "Big": 501},
    },
    "split-special": {"tokenizer_config": {"split_special_tokens": True, "bos_token": "<s>"}},
    "length": {"tokenizer_config": {"model_max_length": 10**30, "eos_token": "<|endoftext|>"}},
    "ends-ignored": {
        "tokenizer_config": {
            "add_bos_token": True,
            "add_eos_token": True,
            "bos_token": "<s>",
            "eos_token": "</s>",
        }
    },
    "lower-case-ignored": {"tokenizer_config": {"do_lower_case": True, "strip_accents": True}},
    "prefix-space-ignored": {"tokenizer_config": {"add_prefix_space": True, "legacy": True}},
    "clean-up": {"tokenizer_config": {"clean_up_tokenization_spaces": True, "errors": "replace"}},
    "padding": {"padding": True, "tokenizer_config": {}},
    "truncation": {"truncation": True, "tokenizer_config": {}},
    "gap": {"tokenizer_config": {"added_tokens_decoder": {"510": token("<far>")}}},
    "class-gpt2": {"tokenizer_config": {"tokenizer_class": "GPT2Tokenizer"}},
    "class-gpt2-prefix": {
        "tokenizer_config": {"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True}
    },
    "class-llama": {"tokenizer_config": {"tokenizer_class": "LlamaTokenizer"}},
    "class-qwen2": {"tokenizer_config": {"tokenizer_class": "Qwen2Tokenizer"}},
    "class-unknown": {"tokenizer_config": {"tokenizer_class": "NoSuchTokenizer"}},
    "class-of-model": {"config": {"model_type": "gpt2"}},
}


def llama(pre=None, normalizer=None):
    """A BPE of characters with bytes, as Llama 2 has it."""
    tokenizer = fallback(True)
    data = json.loads(tokenizer)
    made = Tokenizer.from_str(json.dumps(data))
    if pre:
        made.pre_tokenizer = pre
    if normalizer:
        made.normalizer = normalizer
    return made


LLAMA2 = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Classes that make their steps anew: where tokenizer.json has the same, ids have to agree.
CLASSES = {
    "LlamaTokenizer": {
        "same": lambda: llama(pre_tokenizers.Metaspace(MARK, "first", split=False)),
        "other": lambda: llama(normalizer=LLAMA2),
        "legacy": (
            lambda: llama(pre_tokenizers.Metaspace(MARK, "always", split=False)),
            {"legacy": True},
        ),
        "bare": (
            lambda: llama(pre_tokenizers.Metaspace(MARK, "never", split=False)),
            {"add_prefix_space": False},
        ),
    },
    "BertTokenizer": {
        "same": lambda: bert(lowercase=True),
        "cased": (lambda: bert(lowercase=False), {"do_lower_case": False}),
        "other": lambda: bert(lowercase=False),
        "accents": (
            lambda: bert(lowercase=True, strip_accents=False, handle_chinese_chars=False),
            {"strip_accents": False, "tokenize_chinese_chars": False},
        ),
    },
    "GemmaTokenizer": {
        "same": lambda: llama(
            pre_tokenizers.Split(" ", "merged_with_previous"), normalizers.Replace(" ", MARK)
        ),
        "other": lambda: llama(normalizer=normalizers.Replace(" ", MARK)),
    },
    "Qwen2Tokenizer": {
        "same": lambda: byte_level(
            pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                    pre_tokenizers.ByteLevel(False, use_regex=False),
                ]
            ),
            normalizer=normalizers.NFC(),
        ),
    },
    "GPTNeoXTokenizer": {
        "same": lambda: byte_level(pre_tokenizers.ByteLevel(False), normalizer=normalizers.NFC()),
        "other": lambda: byte_level(pre_tokenizers.ByteLevel(False)),
    },
    "RobertaTokenizer": {
        "same": lambda: roberta(),
        "other": lambda: byte_level(pre_tokenizers.Whitespace()),
    },
    "T5Tokenizer": {
        "other": lambda: OWN["t5"](),
    },
    "XLMRobertaTokenizer": {"other": lambda: OWN["xlm-roberta"]()},
    "CLIPTokenizer": {"other": lambda: OWN["clip"]()},
}


class Cbe:
    def __init__(self, program, library):
        self.program = program
        self.so = ctypes.CDLL(library)
        self.so.cbe_tokenizer_encode.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_bool, ctypes.c_void_p,
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self.so.cbe_tokenizer_free_ids.argtypes = [ctypes.c_void_p]
        self.so.cbe_tokenizer_free.argtypes = [ctypes.c_void_p]
        self.error = ctypes.create_string_buffer(4096)

    def says(self, folder):
        """Standard error and exit status of the program."""
        run = subprocess.run([self.program, "tokenize", folder, "x"], capture_output=True)
        return run.returncode, run.stderr.decode()

    def open(self, folder):
        tokenizer = ctypes.c_void_p()
        status = self.so.cbe_tokenizer_open(
            ctypes.byref(tokenizer), str(folder).encode(), self.error
        )
        return tokenizer if status == 0 else None

    def encode(self, tokenizer, text, special):
        ids, n = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_size_t()
        status = self.so.cbe_tokenizer_encode(
            tokenizer,
            text,
            len(text),
            special,
            ctypes.byref(ids),
            ctypes.byref(n),
            None,
            self.error,
        )
        if status:
            return None
        out = ids[: n.value]
        self.so.cbe_tokenizer_free_ids(ids)
        return out


def write(folder, text, files):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    (folder / "tokenizer.json").write_text(text)
    for name, value in files.items():
        if isinstance(value, dict):
            (folder / f"{name}.json").write_text(json.dumps(value))


def forms(names):
    """Name, JSON of the tokenizer, files beside it (None: the library alone is asked)."""
    made = [(f"golden-{n}", f, None) for n, f in KINDS.items()]
    made += [(n, f, None) for n, f in OWN.items()]
    made += [(f"random-{i}", lambda i=i: random_steps(i), None) for i in range(40)]
    made += [(f"folder-{n}", simple, f) for n, f in FOLDERS.items()]
    for kind, cases in CLASSES.items():
        for case, make in cases.items():
            make, keys = make if isinstance(make, tuple) else (make, {})
            config = {"tokenizer_class": kind, **keys}
            made.append((f"class-{kind}-{case}", make, {"tokenizer_config": config}))
    for name, make, files in made:
        if names and name not in names:
            continue
        tokenizer = make()
        data = json.loads(tokenizer if isinstance(tokenizer, str) else tokenizer.to_str())
        if files is not None:
            files = {k: BACKEND | v if k == "tokenizer_config" else v for k, v in files.items()}
            if "tokenizer_config" not in files and "config" not in files:
                files["tokenizer_config"] = BACKEND
            if files.get("padding"):
                tokenizer.enable_padding(pad_token="<pad>", pad_id=7)
            if files.get("truncation"):
                tokenizer.enable_truncation(4)
            data = json.loads(tokenizer.to_str())
        yield name, json.dumps(data), files


def encode(reference, text, special):
    if isinstance(reference, Tokenizer):
        return reference.encode(text, add_special_tokens=special).ids
    return reference(text, add_special_tokens=special)["input_ids"]


def main():
    cbe = Cbe(sys.argv[1], sys.argv[2])
    root = Path(sys.argv[3])
    n_texts = int((sys.argv[4:5] or [300])[0])
    seed = int((sys.argv[5:6] or [0])[0])
    counts = {"agrees": 0, "warns": 0, "is refused": 0, "DIFFERS": 0}
    n_encodings = n_refused = n_failed = 0
    for name, text, files in forms(sys.argv[6:]):
        folder = root / name
        write(folder, text, files or {})
        status, said = cbe.says(folder)
        tokenizer = cbe.open(folder) if status == 0 else None
        if files is None:
            reference = Tokenizer.from_str(text)
            added = [t.content for t in reference.get_added_tokens_decoder().values()]
        else:
            from transformers import AutoTokenizer

            reference = AutoTokenizer.from_pretrained(str(folder))
            added = list(reference.get_added_vocab())
        source = random.Random(f"{name} {seed}")
        differs, verdict = 0, "agrees"
        if tokenizer is None:
            verdict = "is refused"
        for _ in range(n_texts if tokenizer else 0):
            raw = random_text(source, added)
            for special in (False, True):
                try:
                    want = encode(reference, raw.decode("utf8", "replace"), special)
                except BaseException as error:  # the library cannot encode the text
                    if isinstance(error, KeyboardInterrupt):
                        raise
                    n_failed += 1
                    continue
                got = cbe.encode(tokenizer, raw, special)
                n_encodings += 1
                n_refused += got is None
                if got == want or got is None:
                    continue
                differs += 1
                if differs < 3 and not said:
                    print(f"  {name} special={special} {raw.decode('utf8', 'replace')!r}")
                    print(f"    {want}\n    {got}")
        if differs:
            verdict = "warns" if said else "DIFFERS"
        counts[verdict] += 1
        print(f"{name:32s} {verdict} {f'{differs} differ' if differs else ''} {said.strip()[:150]}")
        if tokenizer:
            cbe.so.cbe_tokenizer_free(tokenizer)
    print(
        f"{sum(counts.values())} forms, {n_encodings} encodings, {n_refused} refused by cbe,"
        f" {n_failed} more on which the library fails:",
        counts,
    )
    return counts["DIFFERS"] > 0


if __name__ == "__main__":
    sys.exit(main())
