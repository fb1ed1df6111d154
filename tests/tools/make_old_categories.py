#!/usr/bin/env python3
"""Prints src/tokenizer/old_categories.c: which characters the library tokenizers takes for
controls, marks and punctuation, asked of the library itself, a character at a time.

    make_old_categories.py > src/tokenizer/old_categories.c

Needs: pip install tokenizers. Made with tokenizers 0.23.3.
"""

from tokenizers import normalizers, pre_tokenizers

CHARACTERS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def ranges(characters):
    out = []
    for c in characters:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def dropped(normalizer):
    return [c for c in CHARACTERS if normalizer.normalize_str(f"a{chr(c)}b") == "ab"]


def bert(clean, accents):
    return normalizers.BertNormalizer(
        clean_text=clean, handle_chinese_chars=False, strip_accents=accents, lowercase=False
    )


def rows(items):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) > 98:
            lines.append(line)
            line = "   "
        line += " " + item
    return "\n".join([*lines, line])


def table(name, characters):
    pairs = [f"{{{low:#x}, {high:#x}}}," for low, high in ranges(characters)]
    return f"static const range {name}[] = {{\n{rows(pairs)}\n}};\n"


punctuation = pre_tokenizers.Punctuation()
others = [c for c in dropped(bert(True, False)) if c not in (0, 0xFFFD)]
punctuation_marks = [c for c in CHARACTERS if len(punctuation.pre_tokenize_str(f"a{chr(c)}b")) == 3]
print(
    """/*
 * old_categories.c - see old_categories.h. Made by tests/tools/make_old_categories.py.
 */
#include "tokenizer/old_categories.h"

#include <stddef.h>

typedef struct {
    int32_t low, high;
} range;

/* clang-format off */"""
)
print(table("others", others))
print(table("nonspacing_marks", dropped(bert(False, True))))
print(table("marks", dropped(normalizers.StripAccents())))
print('const char cbe_old_punctuation[] =\n    "["')
pieces = [
    f"\\\\x{{{low:x}}}" + (f"-\\\\x{{{high:x}}}" if high > low else "")
    for low, high in ranges(punctuation_marks)
]
line = ""
for piece in pieces:
    if len(line) + len(piece) > 92:
        print(f'    "{line}"')
        line = ""
    line += piece
print(f'    "{line}"\n    "]";')
print(
    """/* clang-format on */

static bool is_in(const range *ranges, size_t n, int32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (ranges[middle].high < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && ranges[low].low <= c;
}

#define IS_IN(ranges, c) is_in(ranges, sizeof(ranges) / sizeof *(ranges), c)

bool cbe_old_category_is_other(int32_t character)
{
    return IS_IN(others, character);
}

bool cbe_old_category_is_nonspacing_mark(int32_t character)
{
    return IS_IN(nonspacing_marks, character);
}

bool cbe_old_category_is_mark(int32_t character)
{
    return IS_IN(marks, character);
}"""
)
