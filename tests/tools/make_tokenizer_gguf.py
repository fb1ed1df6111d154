#!/usr/bin/env python3
"""Turn a tokenizer.json into a GGUF file that holds the tokenizer alone.

    make_tokenizer_gguf.py TOKENIZER.json PRE OUT.gguf

PRE is the value for tokenizer.ggml.pre (gpt-2, smollm, llama-bpe, qwen2) of a byte-level BPE;
"llama" for one of characters, whose merges become scores; "t5" for a unigram one. Needs the package
`gguf`.
Made each tokenizer.gguf in tests/golden/tokenizers.
"""

import json
import sys

import gguf


def token_kind(added):
    if added is None:
        return gguf.TokenType.NORMAL
    return gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED


def start_token(tokenizer):
    """Id of the token that the post-processor puts first, or None."""
    processor = tokenizer.get("post_processor") or {}
    for part in processor.get("single", []):
        if "SpecialToken" in part:
            return processor["special_tokens"][part["SpecialToken"]["id"]]["ids"][0]
    return None


def vocabulary(model):
    """Tokens by id, and their scores.

    Scores are those of a unigram model, or the ranks of the merges that make the tokens.
    """
    if model["type"] == "Unigram":
        return dict(enumerate(t for t, _ in model["vocab"])), dict(
            enumerate(s for _, s in model["vocab"])
        )
    scores = {}
    for rank, merge in enumerate(model["merges"]):
        merge = merge.split(" ", 1) if isinstance(merge, str) else merge
        scores.setdefault(model["vocab"]["".join(merge)], -float(rank))
    return {index: text for text, index in model["vocab"].items()}, scores


def main(source, pre, out):
    with open(source, encoding="utf-8") as file:
        tokenizer = json.load(file)
    model = tokenizer["model"]
    sentencepiece = pre in ("llama", "t5")
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    texts, scores = vocabulary(model)
    texts.update({index: token["content"] for index, token in added.items()})
    n_tokens = max(texts) + 1
    start = start_token(tokenizer)
    end = next(
        (
            i
            for i, t in added.items()
            if t["content"] in ("<|endoftext|>", "<|end_of_text|>", "</s>")
        ),
        None,
    )
    kinds = [token_kind(added.get(i)) for i in range(n_tokens)]
    for i, text in texts.items():
        if sentencepiece and text == "<unk>":
            kinds[i] = gguf.TokenType.UNKNOWN
        elif sentencepiece and len(text) == 6 and text.startswith("<0x"):
            kinds[i] = gguf.TokenType.BYTE

    writer = gguf.GGUFWriter(out, "llama")
    writer.add_tokenizer_model(pre if sentencepiece else "gpt2")
    writer.add_token_list([texts[i] for i in range(n_tokens)])
    writer.add_token_types(kinds)
    if sentencepiece:
        writer.add_token_scores([scores.get(i, -1e6) for i in range(n_tokens)])
        writer.add_unk_token_id(next(i for i, text in texts.items() if text == "<unk>"))
        writer.add_add_space_prefix(
            tokenizer["normalizer"] is not None and "Prepend" in str(tokenizer["normalizer"])
        )
    else:
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    if start is not None:
        writer.add_bos_token_id(start)
    if end is not None:
        writer.add_eos_token_id(end)
    writer.add_add_bos_token(start is not None)
    if pre == "t5":
        writer.add_add_eos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
