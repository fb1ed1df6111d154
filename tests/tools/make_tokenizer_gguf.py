#!/usr/bin/env python3
"""Turn a byte-level BPE tokenizer.json into a GGUF file that holds the tokenizer alone.

    make_tokenizer_gguf.py TOKENIZER.json PRE OUT.gguf

PRE is the value for tokenizer.ggml.pre (gpt-2, smollm, llama-bpe, qwen2). Needs the package `gguf`.
Made the tokenizer.gguf beside each golden.json in tests/golden/tokenizers.
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


def main(source, pre, out):
    with open(source, encoding="utf-8") as file:
        tokenizer = json.load(file)
    model = tokenizer["model"]
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    texts = {index: text for text, index in model["vocab"].items()}
    texts.update({index: token["content"] for index, token in added.items()})
    n_tokens = max(texts) + 1
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    start = start_token(tokenizer)
    end = next((i for i, t in added.items() if t["content"] in ("<|endoftext|>", "<|end_of_text|>")), None)

    writer = gguf.GGUFWriter(out, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([texts[i] for i in range(n_tokens)])
    writer.add_token_types([token_kind(added.get(i)) for i in range(n_tokens)])
    writer.add_token_merges(merges)
    if start is not None:
        writer.add_bos_token_id(start)
    if end is not None:
        writer.add_eos_token_id(end)
    writer.add_add_bos_token(start is not None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
