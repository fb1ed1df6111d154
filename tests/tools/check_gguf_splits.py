#!/usr/bin/env python3
"""Compares the splits that GGUF files name with the library tokenizers, on random texts.

For each value of tokenizer.ggml.pre a vocabulary is learned that joins across the split's cuts, so
that ids show where a text is cut. The regular expressions are those of the models' tokenizer.json
where llama.cpp quotes them, else llama.cpp's own.

usage: check_gguf_splits.py CBE [N]            N texts a split (5000)
       check_gguf_splits.py --golden FILE   writes a few texts of each split and their pieces:
                                            tests/golden/tokenizers/splits.json
needs: pip install gguf tokenizers
"""

import json
import random
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import gguf
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]%s[\p{Ll}\p{Lm}\p{Lo}\p{M}]%s"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
HAN = "[一-龥\u3040-\u309f\u30a0-\u30ff]+"
EAST = "[一-龥ࠀ-一가-퟿]+"
LETTERS = (
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕ"
    "Ἐ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭ"
    "ℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)
SIGN = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""


def llama3(digits, short=SHORT + "|"):
    return short + r"[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL


def cased(ending, digits):
    first, second = CASED % ("*", "+") + ending, CASED % ("+", "*") + ending
    return f"{first}|{second}|{digits}" + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL


BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
RUNS = (
    "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4))
    + r"|\s{1,2}(?!\S)|\s{1}"
)
YOUTU = "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + HAN
SPLITS = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "smollm": [r"\p{N}", GPT2],
    "exaone": [r"\p{N}", GPT2],
    "falcon3": [llama3(r"\p{N}{1,3}")],
    "glm4": [llama3(r"\p{N}{1,3}")],
    "jais-2": [llama3(r"\p{N}{1,3}").removesuffix(r"\s+(?!\S)|\s+") + RUNS],
    "minicpm5": [r"\p{N}{1,3}", llama3(r"\p{N}+")],
    "deepseek-r1-qwen": [llama3(r"\p{N}")],
    "stablelm2": [llama3(r"\p{N}")],
    "ufakzeka": [llama3(r"\p{N}", "")],
    "laguna": [r"[^\n]+|[\n]+", llama3(r"\p{N}")],
    "qwen35": [
        SHORT + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + TAIL
    ],
    "bailingmoe": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "seed-coder": [
        SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + TAIL
    ],
    "exaone-moe": [
        SHORT + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "gpt-4o": [cased(SHORT + "?", r"\p{N}{1,3}")],
    "tekken": [cased("", r"\p{N}")],
    "youtu": [YOUTU, cased(SHORT + "?", r"\p{N}")],
    "deepseek-llm": [
        "[\r\n]", LETTERS, "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", r"\s+$", EAST, r"\p{N}+",
    ],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST, r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", HAN, SIGN + r"| ?[\p{P}\p{S}]+[\r\n]*|" + TAIL],
    "spark2_5": [
        r"\p{N}{1,3}", HAN, SIGN + r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+", r"\p{N}",
    ],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "chameleon": [
        "<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]", GPT2,
    ],
}  # fmt: skip
IGNORE_MERGES = {"falcon3", "minicpm5", "tekken", "youtu"}
NFC = {"deepseek-r1-qwen", "qwen35"}

WORDS = (
    "the it's IT'S we've I'LL don't they'd camelCase HTTPServer iPhone naïve Straße ΑΒΓδε Привет "
    "нельзя 北京 漢字 かな カタカナ 한국어 ㄱㄴ ㄅㄆ हिन्दी नमस्ते "
    "العربية עברית ไทย e\u0301a\u0308 ǅ ǆ ʰʲ ﬁ ſ 'ſ "
    "\u212a <sentinel:12> IMGIMGABCZ IMGIMGABCDEZ foo_bar a b c x1y2 https://x.y/z?q=1 "
    "'' '\u00e9 'll"
).split(" ")
NUMBERS = "1 12 123 1234 12345 1234567 2024 3.14 ½ ² Ⅳ ٣٤٥ 一二三 0x1F 1,000".split(" ")
SIGNS = (
    "! ? . , ; : ' \" ( ) [ ] { } < > = + - * / \\ | ~ ^ ` $ % & # @ _ … 。 ， 、 ！ “ ” — € © "
    "\U0001f44d \U0001f44d\U0001f3fd \u200d ( /"
).split(" ")
SPACES = [" ", " ", " ", "  ", "   ", "    ", " " * 9, "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0",
          "\u3000", "\u2028", "\u0085", "\u200b", "\n \n"]  # fmt: skip


# Characters of Unicode 13, so that all libraries class them alike.
OTHERS = [chr(c) for c in range(0x80, 0x1F000)
          if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]  # fmt: skip


def text(r):
    kinds = (WORDS, NUMBERS, SIGNS, SPACES, OTHERS)
    parts = (r.choice(r.choices(kinds, (5, 2, 3, 5, 2))[0]) for _ in range(r.randint(1, 14)))
    return "".join(parts)


def learn(texts):
    """A tokenizer without cuts."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    )
    return json.loads(t.to_str())["model"]


def reference(model, name):
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    t = Tokenizer(models.BPE(model["vocab"], merges, ignore_merges=name in IGNORE_MERGES))
    if name in NFC:
        t.normalizer = normalizers.NFC()
    steps = [pre_tokenizers.Split(Regex(p), "isolated") for p in SPLITS[name]]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return t


def write(model, name, path):
    tokens = [token for token, _ in sorted(model["vocab"].items(), key=lambda x: x[1])]
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(name)
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def compare(cbe, n, folder):
    wrong = 0
    for name in SPLITS:
        r = random.Random(name)
        texts = [text(r) for _ in range(n)]
        model = learn(texts)
        write(model, name, folder / "m.gguf")
        (folder / "t.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
        command = [cbe, "tokenize", folder / "m.gguf", "--text", folder / "t.jsonl"]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        got = [[int(i) for i in line.split()] for line in run.stdout.splitlines()]
        t = reference(model, name)
        want = [e.ids for e in t.encode_batch(texts, add_special_tokens=False)]
        plain = reference(model, "gpt-2")
        differ = [i for i in range(n) if got[i] != want[i]]
        other = sum(plain.encode(x, add_special_tokens=False).ids != y
                    for x, y in zip(texts[:500], want[:500], strict=True))  # fmt: skip
        wrong += len(differ)
        print(
            f"{name:18s} {n} texts, {len(differ)} differ; of 500, {other} are not as gpt-2 has them"
        )
        for i in differ[:3]:
            print(
                "   ", ascii(texts[i]), [p for p, _ in t.pre_tokenizer.pre_tokenize_str(texts[i])]
            )
    print(f"{len(SPLITS)} splits, {wrong} texts differ")
    return wrong > 0


def golden(path):
    r = random.Random(0)
    texts = [text(r) for _ in range(40)]
    lines = []
    for name, patterns in SPLITS.items():
        splits = [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]
        cut = pre_tokenizers.Sequence(splits).pre_tokenize_str
        # the texts of most pieces, and the first ones
        cases = [[x, [piece for piece, _ in cut(x)]] for x in texts]
        cases = sorted(cases, key=lambda case: -len(case[1]))[:6] + cases[:6]
        lines.append(f"{json.dumps(name)}: {json.dumps(cases)}")
    path.write_text("{" + ",\n".join(lines) + "}\n")


def main():
    if sys.argv[1] == "--golden":
        golden(Path(sys.argv[2]))
        return False
    with tempfile.TemporaryDirectory() as folder:
        return compare(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 5000, Path(folder))


sys.exit(main())
