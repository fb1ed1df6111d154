"""GGUF files (F32, no tokenizer) of model folders, with keys and tensors as llama.cpp writes them.

Gemma's gains are stored as they are applied, 1 + w; GPT-2's matrices are transposed to rows of
outputs; the rotary rows of the llama architecture are interleaved; longrope's divisors are tensors.

Usage: make_model_gguf.py FOLDER OUT.gguf [FOLDER OUT.gguf...]
Needs gguf, safetensors, numpy, torch.
"""

import json
import pathlib
import sys

import gguf
import numpy as np
from safetensors.torch import load_file

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "gpt2": "gpt2",
    "phi": "phi2",
    "phi3": "phi3",
}


def interleave(rows, heads):
    head = rows.shape[0] // heads
    return rows.reshape(heads, 2, head // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def write_rope(writer, config, rope):
    """rope: of the global blocks."""
    writer.add_rope_freq_base(rope.get("rope_theta", 10000.0))
    kind = rope["rope_type"]
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "longrope":
        original = config["original_max_position_embeddings"]
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(original)
        factor = config["max_position_embeddings"] / original
        writer.add_rope_scaling_attn_factors(
            float(np.sqrt(1 + np.log(factor) / np.log(original))) if factor > 1 else 1.0
        )
        for name in "long", "short":
            writer.add_tensor(
                f"rope_factors_{name}.weight", np.array(rope[f"{name}_factor"], np.float32)
            )


def convert(folder, out):
    config = json.loads((folder / "config.json").read_text())
    arch = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(out, arch)

    def get(*names):
        return next((config[n] for n in names if config.get(n) is not None), None)

    d, heads, layers = (
        get("hidden_size", "n_embd"),
        get("num_attention_heads", "n_head"),
        get("num_hidden_layers", "n_layer"),
    )
    kv_heads, head = get("num_key_value_heads") or heads, get("head_dim") or d // heads
    writer.add_context_length(get("max_position_embeddings", "n_positions"))
    writer.add_embedding_length(d)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(get("intermediate_size", "n_inner") or 4 * d)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    if get("head_dim"):
        writer.add_key_length(head)
        writer.add_value_length(head)
    writer.add_vocab_size(config["vocab_size"])
    if get("rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    else:
        writer.add_layer_norm_eps(get("layer_norm_eps", "layer_norm_epsilon"))
    if rope := config.get("rope_parameters"):
        local = rope.get("sliding_attention")
        rope = rope.get("full_attention", rope)
        writer.add_rope_dimension_count(int(head * rope.get("partial_rotary_factor", 1)))
        write_rope(writer, config, rope)
        if local:
            writer.add_float32(f"{arch}.rope.freq_base_swa", local["rope_theta"])
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    if config.get("sliding_window_pattern"):
        writer.add_uint32(
            f"{arch}.attention.sliding_window_pattern", config["sliding_window_pattern"]
        )
    if config.get("attn_logit_softcapping") and arch == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if config.get("query_pre_attn_scalar"):
        writer.add_float32(f"{arch}.attention.scale", config["query_pre_attn_scalar"] ** -0.5)

    names = gguf.get_tensor_name_map(
        next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch), layers
    )
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.float().numpy()
        if arch == "gpt2" and values.ndim == 2 and ".c_" in name:
            values = values.T
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            values = values + np.float32(1)
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            values = interleave(values, heads if "q_proj" in name else kv_heads)
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new, name
        writer.add_tensor(new, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


for folder, out in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    convert(pathlib.Path(folder), out)
    print(out, pathlib.Path(out).stat().st_size, "bytes")
