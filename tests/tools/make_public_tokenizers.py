#!/usr/bin/env python3
"""Makes tests/public/tokenizers.json: what people have reported of tokenizers in folders, each as a
few hundred bytes, with the ids that the library tokenizers or, where files lie beside
tokenizer.json, transformers' AutoTokenizer gives.

    make_public_tokenizers.py > tests/public/tokenizers.json

A new report is an entry of REPORTS: its name, where it was told if it was, tokenizer.json, texts,
and the files beside it. Needs: pip install tokenizers transformers sentencepiece. Made with
tokenizers 0.23.3 and transformers 5.24.0.
"""

import base64
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer
from transformers import AutoTokenizer

TOKENIZERS = "github.com/huggingface/tokenizers/issues/"
TRANSFORMERS = "github.com/huggingface/transformers/issues/"


def bpe(words="", merges=(), **traits):
    """A BPE of the characters of ASCII and some more, of words and of merges."""
    characters = [chr(c) for c in range(0x20, 0x7F)] + list("éĠĊ▁") + words.split()
    vocab = {}
    for token in characters + ["".join(m) for m in merges]:
        vocab.setdefault(token, len(vocab))
    return {"type": "BPE", "vocab": vocab, "merges": [list(m) for m in merges], **traits}


def added(content, index=None, **traits):
    """An added token; its id is the one that the library gives it, unless it is told."""
    base = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": content, **base, "special": True, **traits}


def named(content, **traits):
    """A token as tokenizer_config.json and special_tokens_map.json write it."""
    return {k: v for k, v in added(content, **traits).items() if k != "id"}


def tokenizer(model, **parts):
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": []}
    none = {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return {**base, **none, "model": model, **parts}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def normalizers(*steps):
    return {"type": "Sequence", "normalizers": list(steps)}


def charsmap():
    """A small table of normalisation, made by SentencePiece."""
    with tempfile.TemporaryDirectory() as place:
        rules = Path(place) / "rules.tsv"
        rules.write_text("AA\t61\nAA 300\tE0\n200B\t\n9\t20\nFF21\t41\n")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f g h"] * 20),
            model_prefix=f"{place}/m",
            vocab_size=20,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(rules),
            minloglevel=2,
        )
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(Path(f"{place}/m.model").read_bytes())
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


AB = [("a", "b"), ("ab", "c"), ("b", "c")]
BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
BACKEND = {"tokenizer_class": "PreTrainedTokenizerFast"}
WORDS = {"[UNK]": 0, "un": 1, "##aff": 2, "##able": 3, "[CLS]": 4, "[SEP]": 5, "cafe": 6, "中": 7}
WORDPIECE = {
    "type": "WordPiece",
    "vocab": WORDS,
    "unk_token": "[UNK]",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 20,
}
BERT = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
UNIGRAM = [["<unk>", 0.0], ["▁", -2.0], ["a", -3.0], ["b", -3.5], ["▁a", -4.0], ["ab", -5.0]]
REPORTS = [
    (
        "added tokens are numbered from the vocabulary, whatever ids the file lists",
        TOKENIZERS + "1528",
        tokenizer(bpe(), added_tokens=[added("<|x|>", 32000), added("<|y|>", 32001)]),
        ["a<|x|>b<|y|>"],
        None,
    ),
    (
        "an added token that the vocabulary has keeps its id",
        "github.com/ggml-org/llama.cpp/pull/3585",
        tokenizer(bpe(merges=AB), added_tokens=[added("ab", 9), added("<x>", 500)]),
        ["abc<x>"],
        None,
    ),
    (
        "nothing but added tokens",
        TOKENIZERS + "1366",
        tokenizer(
            {"type": "BPE", "vocab": {}, "merges": []}, added_tokens=[added("my-place-holder")]
        ),
        ["my-place-holder", "x my-place-holder"],
        None,
    ),
    (
        "white space on the right of a token",
        TOKENIZERS + "917",
        tokenizer(bpe(), added_tokens=[added("<r>", rstrip=True), added("  ", special=False)]),
        ["a<r>  b", "a<r>    b  c", "<r>  "],
        None,
    ),
    (
        "a token that is a word, beside marks, letters in circles and underscores",
        TOKENIZERS + "918",
        tokenizer(bpe(), added_tokens=[added("an", single_word=True, special=False)]),
        ["an ban an_ (an) an\u0301 an\u24d0 an", "a an"],
        None,
    ),
    (
        "white space on the left of a token with Unigram",
        TOKENIZERS + "959",
        tokenizer(
            {"type": "Unigram", "unk_id": 0, "vocab": UNIGRAM},
            pre_tokenizer=METASPACE,
            added_tokens=[added("<l>", lstrip=True), added("<n>")],
        ),
        ["a <l> a <n> b", "\u3000<l>b"],
        None,
    ),
    (
        "RoBERTa's mask takes the space in front of it",
        TRANSFORMERS + "3057",
        tokenizer(
            bpe(),
            pre_tokenizer=BYTE_LEVEL,
            added_tokens=[added("<s>"), added("</s>"), added("<mask>", lstrip=True)],
            post_processor={
                "type": "RobertaProcessing",
                "sep": ["</s>", 100],
                "cls": ["<s>", 99],
                "trim_offsets": True,
                "add_prefix_space": False,
            },
        ),
        ["A <mask> b."],
        None,
    ),
    (
        "an added token that the normalizer changes",
        TOKENIZERS + "1544",
        tokenizer(
            bpe(),
            normalizer={"type": "Lowercase"},
            added_tokens=[added("<ACTION>", special=False, normalized=True)],
        ),
        ["<ACTION><action> <Action>"],
        None,
    ),
    (
        "ChatML tokens in added_tokens.json alone",
        TOKENIZERS + "1422",
        tokenizer(bpe()),
        ["<|im_start|>a<|im_end|>"],
        {"tokenizer_config": BACKEND, "added_tokens": {"<|im_end|>": 99, "<|im_start|>": 100}},
    ),
    (
        "tokens that only added_tokens_decoder lists",
        TRANSFORMERS + "27132",
        tokenizer(bpe(), added_tokens=[added("<s>", 99)]),
        ["<s><|im_start|>a <|im_end|> b"],
        {
            "tokenizer_config": BACKEND
            | {
                "eos_token": "<|im_end|>",
                "added_tokens_decoder": {
                    "99": named("<s>"),
                    "100": named("<|im_start|>", special=False, normalized=True),
                    "101": named("<|im_end|>", rstrip=True),
                },
            }
        },
    ),
    (
        "a special token that only special_tokens_map.json names",
        TOKENIZERS + "635",
        tokenizer(WORDPIECE, normalizer=BERT, pre_tokenizer={"type": "BertPreTokenizer"}),
        ["[MASK] unaffable [CLS]"],
        {
            "tokenizer_config": BACKEND,
            "special_tokens_map": {"mask_token": "[MASK]", "cls_token": named("[CLS]")},
        },
    ),
    (
        "special tokens that are to be split",
        TRANSFORMERS + "31337",
        tokenizer(bpe(), added_tokens=[added("<s>"), added("<x>", special=False)]),
        ["<s>a<x>"],
        {"tokenizer_config": BACKEND | {"split_special_tokens": True}},
    ),
    (
        "no limit on the length is 10^30",
        None,
        tokenizer(bpe()),
        ["abc"],
        {"tokenizer_config": BACKEND | {"model_max_length": 10**30}},
    ),
    (
        "a pad token from the padding of tokenizer.json",
        None,
        tokenizer(
            bpe(),
            padding={
                "strategy": "BatchLongest",
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
            truncation={
                "direction": "Right",
                "max_length": 2,
                "strategy": "LongestFirst",
                "stride": 0,
            },
        ),
        ["abcdef[PAD]"],
        {"tokenizer_config": BACKEND},
    ),
    (
        "further special tokens by name",
        None,
        tokenizer(bpe()),
        ["<image>a<boi><video>"],
        {
            "tokenizer_config": BACKEND
            | {"extra_special_tokens": {"image_token": "<image>"}, "boi_token": "<boi>"}
        },
    ),
    (
        "special tokens that only model_specific_special_tokens names",
        None,
        tokenizer(bpe()),
        ["<image>a<video><end>"],
        {
            "tokenizer_config": BACKEND
            | {
                "eos_token": "<end>",
                "model_specific_special_tokens": {
                    "image_token": "<image>",
                    "video_token": {"__type": "AddedToken", **named("<video>", lstrip=True)},
                },
            }
        },
    ),
    (
        "model_specific_special_tokens beside a further token, which replaces them",
        None,
        tokenizer(bpe()),
        ["<image>a<boi>"],
        {
            "tokenizer_config": BACKEND
            | {
                "boi_token": "<boi>",
                "model_specific_special_tokens": {"image_token": "<image>"},
            }
        },
    ),
    (
        "a further key that ends in _token and is an object without a type",
        None,
        tokenizer(bpe()),
        ["<a>b<c>"],
        {
            "tokenizer_config": BACKEND
            | {
                "a_token": named("<a>"),
                "c_token": {"__type": "AddedToken", **named("<c>")},
            }
        },
    ),
    (
        "DeepSeek's folders name Llama's class over a byte-level tokenizer",
        TRANSFORMERS + "45488",
        tokenizer(bpe(), pre_tokenizer=BYTE_LEVEL),
        [" a b", "a  b"],
        {"tokenizer_config": {"tokenizer_class": "LlamaTokenizerFast", "legacy": True}},
    ),
    (
        "folders whose class cuts texts otherwise in transformers 5",
        TRANSFORMERS + "45920",
        tokenizer(
            bpe(merges=[("1", "2")]),
            pre_tokenizer=sequence(split(r"\p{N}"), {**BYTE_LEVEL, "use_regex": False}),
        ),
        ["12"],
        {"tokenizer_config": {"tokenizer_class": "GPT2Tokenizer"}},
    ),
    (
        "a space behind an added token, by Metaspace's scheme first",
        "github.com/ggml-org/llama.cpp/issues/7094",
        tokenizer(
            bpe(),
            pre_tokenizer={**METASPACE, "prepend_scheme": "first", "split": False},
            added_tokens=[added("<s>")],
        ),
        ["a<s>b", "<s>a b", " a"],
        None,
    ),
    (
        "a space behind an added token, by a Llama 2 normalizer",
        TRANSFORMERS + "23818",
        tokenizer(
            bpe(),
            normalizer=normalizers(
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ),
            added_tokens=[added("</s>")],
        ),
        ["ok</s>ok </s> ok"],
        None,
    ),
    (
        "digits in threes from the right, by a look ahead",
        "github.com/huggingface/tokenizers.js/pull/24",
        tokenizer(
            bpe(merges=[("1", "2"), ("2", "3")]),
            pre_tokenizer=sequence(split(r"\d+"), split(r"(?=(\d{3})+(?!\d))")),
        ),
        ["12312123 12 1231"],
        None,
    ),
    (
        "a repeat of a repeat behind a beginning",
        "github.com/huggingface/tokenizers.js/pull/24",
        tokenizer(
            bpe(merges=[("1", "2"), ("2", "3")]),
            pre_tokenizer=sequence(
                split(r"\d+"), split(r"\A\p{Nd}{1,2}(?=\p{Nd}{3}+\z)|\p{Nd}{3}")
            ),
        ),
        ["12312123 12 1231"],
        None,
    ),
    (
        "classes that intersect",
        None,
        tokenizer(bpe(merges=AB), pre_tokenizer=split(r"[\p{L}&&[^b]]+", "Removed", True)),
        ["abc ab"],
        None,
    ),
    (
        "bounds of words beside marks",
        None,
        tokenizer(bpe(words="\u0301 क ि"), pre_tokenizer=split(r"\b")),
        ["e\u0301 x", "कि a"],
        None,
    ),
    (
        "a table of normalisation: the shortest beginning replaces a grapheme",
        TOKENIZERS + "2334",
        tokenizer(
            {"type": "Unigram", "unk_id": 0, "vocab": UNIGRAM},
            normalizer=normalizers(
                {"type": "Precompiled", "precompiled_charsmap": charsmap()},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
            ),
            pre_tokenizer=METASPACE,
        ),
        ["ª\u0300b\u200bª\t\ta", "ñＡab", "a\r\nb"],
        None,
    ),
    (
        "bytes of Unigram where a character has no token",
        "github.com/huggingface/swift-transformers/issues/387",
        tokenizer(
            {
                "type": "Unigram",
                "unk_id": 0,
                "byte_fallback": True,
                "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.0], ["<0x0A>", -3.0]],
            }
        ),
        ["a\nb\n\nñ"],
        None,
    ),
    (
        "bytes of BPE, some of which lack",
        "github.com/ohdearquant/lattice/issues/259",
        tokenizer(
            bpe(words="<unk> <0xC3> <0xB1>", byte_fallback=True, unk_token="<unk>", fuse_unk=True)
        ),
        ["añb", "aø\u4e2dñb"],
        None,
    ),
    (
        "a merge given twice, behind the line of its version",
        "github.com/ohdearquant/lattice/issues/259",
        tokenizer({**bpe(merges=AB), "merges": ["#version: 0.2", "a b", "b c", "ab c", "a b"]}),
        ["abc", "ab bc"],
        None,
    ),
    (
        "ByteLevel in front of other steps",
        TOKENIZERS + "915",
        tokenizer(
            bpe(),
            pre_tokenizer=sequence(BYTE_LEVEL, {"type": "Digits", "individual_digits": True}),
        ),
        ["ab 12", "é"],
        None,
    ),
    (
        "BERT's cleaning: accents, controls, Chinese characters, blanks",
        "github.com/georg-jung/FastBertTokenizer/issues/100",
        tokenizer(
            WORDPIECE,
            normalizer=BERT,
            pre_tokenizer={"type": "BertPreTokenizer"},
            post_processor={"type": "BertProcessing", "sep": ["[SEP]", 5], "cls": ["[CLS]", 4]},
            decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
        ),
        ["UnAffable Café\u200b x中unaffable\u0000", "unaffableunaffableunaffable"],
        None,
    ),
    (
        "words that a WordLevel does not know",
        None,
        tokenizer(
            {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1, "_b": 2}, "unk_token": "<unk>"},
            pre_tokenizer={"type": "Whitespace"},
        ),
        ["a _b c!", "\u200da"],
        None,
    ),
    (
        "ends of words of CLIP",
        None,
        tokenizer(
            bpe(
                words="a</w> b</w> c</w>",
                merges=[("a", "b</w>"), ("b", "c</w>")],
                end_of_word_suffix="</w>",
            ),
            pre_tokenizer={"type": "WhitespaceSplit"},
        ),
        ["ab bc a"],
        None,
    ),
    (
        "added tokens that the normalizer makes alike",
        None,
        tokenizer(
            bpe(),
            normalizer={"type": "Lowercase"},
            added_tokens=[
                added("<A>", normalized=True, single_word=True),
                added("<a>", normalized=True, special=False),
            ],
        ),
        ["b"],
        None,
    ),
    (
        "a vocabulary with a hole, as of a model that leaves ids for later",
        None,
        tokenizer({"type": "BPE", "vocab": {"a": 0, "b": 200000}, "merges": []}),
        ["ab"],
        None,
    ),
    (
        "a String that is empty, which is found between all characters",
        None,
        tokenizer(
            bpe(merges=AB),
            normalizer={"type": "Replace", "pattern": {"String": ""}, "content": "-"},
            pre_tokenizer=split("", kind="String"),
        ),
        ["abc", ""],
        None,
    ),
    (
        "a regular expression over several lines, with comments",
        None,
        tokenizer(
            bpe(merges=AB),
            pre_tokenizer=split("(?x) [ab]+ # words (of a and b\n | c #"),
        ),
        ["abc ab"],
        None,
    ),
    (
        "a NUL token",
        None,
        tokenizer({**bpe(), "vocab": {"a": 0, "\0": 1, "b": 2}}),
        ["a\0b"],
        None,
    ),
    (
        "an unknown token that is an added token alone, in a text that needs it not",
        TOKENIZERS + "1218",
        tokenizer(bpe(unk_token="<|u|>"), added_tokens=[added("<|u|>")]),
        ["ab<|u|>"],
        None,
    ),
    (
        "processors in a sequence: the second takes the parts of the first for a pair",
        None,
        tokenizer(
            bpe(words="<s> </s>"),
            post_processor={
                "type": "Sequence",
                "processors": [
                    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},
                    {
                        "type": "TemplateProcessing",
                        "single": [
                            {"SpecialToken": {"id": "<s>", "type_id": 0}},
                            {"Sequence": {"id": "A", "type_id": 0}},
                        ],
                        "pair": [
                            {"Sequence": {"id": "A", "type_id": 0}},
                            {"Sequence": {"id": "B", "type_id": 1}},
                        ],
                        "special_tokens": {"<s>": {"id": "<s>", "ids": [99], "tokens": ["<s>"]}},
                    },
                    {"type": "BertProcessing", "sep": ["</s>", 100], "cls": ["<s>", 99]},
                ],
            },
        ),
        ["ab"],
        None,
    ),
]


def number(data):
    """Fills in the ids of added tokens."""
    tokens = data["added_tokens"]
    numbered = {**data, "added_tokens": [{**t, "id": t["id"] or 0} for t in tokens]}
    reference = Tokenizer.from_str(json.dumps(numbered))
    for token in tokens:
        if token["id"] is None:
            token["id"] = reference.token_to_id(token["content"])
    return data


def encode(folder, beside, texts):
    if beside is None:
        reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return [
            [reference.encode(t, add_special_tokens=s).ids for s in (False, True)] for t in texts
        ]
    reference = AutoTokenizer.from_pretrained(str(folder))
    return [[reference(t, add_special_tokens=s)["input_ids"] for s in (False, True)] for t in texts]


def main():
    out = []
    for name, source, data, texts, beside in REPORTS:
        with tempfile.TemporaryDirectory() as place:
            files = {
                file: json.dumps(value, ensure_ascii=False)
                for file, value in {"tokenizer": number(data), **(beside or {})}.items()
            }
            for file, text in files.items():
                (Path(place) / f"{file}.json").write_text(text)
            ids = encode(Path(place), beside, texts)
        report = {"name": name, **({"told": source} if source else {}), "files": files}
        report["texts"] = [
            {"text": t, "ids": plain, "ids_with_special": special}
            for t, (plain, special) in zip(texts, ids, strict=True)
        ]
        out.append(report)
    lines = ",\n".join(json.dumps(r, ensure_ascii=False) for r in out)
    sys.stdout.write(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
