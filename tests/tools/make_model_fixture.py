"""A fixture of a model family: a new random model of transformers, and what it computes.

Writes DIR/NAME with config.json, model.safetensors (float32) and golden.safetensors: input_ids,
hidden_states.i (the stream that enters block i; the last one leaves the last block, before the
final norm) and logits, rounded to float32. Where the keys of transformers 4 differ, config.v4.json
has them for the same model. The variants that tests/golden/models has from here are the keys of
VARIANTS; for another one add an entry: class of the configuration, its arguments, and the v4 keys
if they differ (None removes a key).

Everything runs in float64 (float64_model.py).

Usage: make_model_fixture.py DIR [NAME...]        needs torch, transformers, safetensors, numpy
"""

import json
import pathlib
import sys

import torch
import transformers
from float64_model import blocks_of, build, in_float64
from safetensors.torch import save_file

SIZES = dict(
    vocab_size=67,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
LLAMA = SIZES | dict(num_key_value_heads=2, rms_norm_eps=1e-5)
NEOX = SIZES | dict(layer_norm_eps=1e-5)


def rope(kind, theta=500.0, **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


def v4_rope(kind, theta=500.0, **more):
    """The keys of transformers 4, with the older name of the kind."""
    return dict(rope_parameters=None, rope_theta=theta, rope_scaling=dict(type=kind, **more))


SHORT = [1.0, 1.5, 2.0, 2.5]
LONG = [1.0, 3.0, 5.0, 9.0]
VARIANTS = {
    "gpt_neox-sequential": (
        "GPTNeoXConfig",
        NEOX
        | dict(
            use_parallel_residual=False,
            attention_bias=False,
            rope_parameters=rope("default", partial_rotary_factor=0.5),
        ),
        dict(rope_parameters=None, rotary_pct=0.5, rotary_emb_base=500.0),
    ),
    "opt-post-norm": (
        "OPTConfig",
        dict(
            vocab_size=67,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=48,
            max_position_embeddings=40,
            do_layer_norm_before=False,
            word_embed_proj_dim=20,
        ),
        None,
    ),
    "opt-no-bias": (
        "OPTConfig",
        dict(
            vocab_size=67,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=48,
            max_position_embeddings=40,
            enable_bias=False,
            layer_norm_elementwise_affine=False,
            activation_function="gelu",
            tie_word_embeddings=False,
        ),
        None,
    ),
    "llama-linear": (
        "LlamaConfig",
        LLAMA | dict(rope_parameters=rope("linear", factor=3.0)),
        v4_rope("linear", factor=3.0),
    ),
    "llama-dynamic": (
        "LlamaConfig",
        LLAMA | dict(max_position_embeddings=9, rope_parameters=rope("dynamic", factor=2.5)),
        v4_rope("dynamic", factor=2.5),
    ),
    "llama-yarn": (
        "LlamaConfig",
        LLAMA
        | dict(
            head_dim=16,
            rope_parameters=rope(
                "yarn", factor=4.0, beta_fast=4.0, original_max_position_embeddings=48
            ),
        ),
        v4_rope("yarn", factor=4.0, beta_fast=4.0, original_max_position_embeddings=48),
    ),
    "llama-biases": (
        "LlamaConfig",
        LLAMA
        | dict(attention_bias=True, mlp_bias=True, hidden_act="gelu", tie_word_embeddings=True),
        None,
    ),
    "qwen2-window": (
        "Qwen2Config",
        LLAMA
        | dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=5, max_window_layers=1),
        dict(layer_types=None, rope_parameters=None, rope_theta=10000.0),
    ),
    "gemma3-linear": (
        "Gemma3TextConfig",
        LLAMA
        | dict(
            num_hidden_layers=3,
            head_dim=8,
            sliding_window=5,
            query_pre_attn_scalar=11,
            sliding_window_pattern=2,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=5.0,
            rope_parameters=dict(
                full_attention=rope("linear", 3000.0, factor=4.0),
                sliding_attention=rope("default", 200.0),
            ),
        ),
        dict(
            rope_parameters=None,
            rope_theta=3000.0,
            rope_local_base_freq=200.0,
            layer_types=None,
            rope_scaling=dict(rope_type="linear", factor=4.0),
        ),
    ),
    "phi-norms": (
        "PhiConfig",
        NEOX
        | dict(
            qk_layernorm=True,
            num_key_value_heads=2,
            rope_parameters=rope("default", partial_rotary_factor=0.5),
        ),
        dict(rope_parameters=None, rope_theta=500.0, partial_rotary_factor=0.5),
    ),
    "phi3": (
        "Phi3Config",
        LLAMA
        | dict(
            sliding_window=7,
            tie_word_embeddings=True,
            rope_parameters=rope("default", partial_rotary_factor=0.75, theta=500.0),
            num_attention_heads=2,
        ),
        dict(rope_parameters=None, rope_theta=500.0, partial_rotary_factor=0.75),
    ),
    "phi3-longrope": (
        "Phi3Config",
        LLAMA
        | dict(
            original_max_position_embeddings=12,
            rope_parameters=rope("longrope", short_factor=SHORT, long_factor=LONG),
        ),
        v4_rope("su", short_factor=SHORT, long_factor=LONG),
    ),
    "phi3-longrope-short": (
        "Phi3Config",
        LLAMA
        | dict(
            original_max_position_embeddings=32,
            rope_parameters=rope("longrope", short_factor=SHORT, long_factor=LONG),
        ),
        None,
    ),
    "gpt2-scaled-by-layer": (
        "GPT2Config",
        dict(
            vocab_size=67,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_inner=40,
            n_positions=40,
            scale_attn_by_inverse_layer_idx=True,
            activation_function="relu",
        ),
        None,
    ),
    "bloom-six-heads": (
        "BloomConfig",
        dict(vocab_size=67, hidden_size=36, n_layer=2, n_head=6),
        None,
    ),
}


def randomise(model, generator):
    """Makes every parameter count: gains near 1, biases near 0.

    Matrices neither grow nor shrink what goes through them.
    """
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
        if p.ndim == 1:
            # Gains start at 1, or, where the model adds 1 to them, at 0 as biases do.
            p.data.copy_(p.data.round().clamp(0, 1) + 0.3 * noise)
        else:
            p.data.copy_(
                noise
                * (
                    0.8
                    if "emb" in name or "wte" in name or "wpe" in name
                    else 1.5 / p.shape[1] ** 0.5
                )
            )


def golden(folder, state, ids):
    """Of the model with the folder's configuration and these weights, in float64."""
    weights = {k: v.double() for k, v in state.items()}
    float32 = torch.float32
    with in_float64():
        model = build(folder)
        model.load_state_dict(weights)
        states, hooks = {}, []
        blocks = blocks_of(model)
        for i, block in enumerate(blocks):
            hooks.append(
                block.register_forward_pre_hook(
                    lambda m, args, kwargs, i=i: states.__setitem__(
                        i, args[0] if args else kwargs["hidden_states"]
                    ),
                    with_kwargs=True,
                )
            )
        hooks.append(
            blocks[-1].register_forward_hook(
                lambda m, args, out: states.__setitem__(
                    len(blocks), out[0] if isinstance(out, tuple) else out
                )
            )
        )
        with torch.no_grad():
            logits = model(ids, use_cache=False).logits
        assert logits.dtype == torch.float64 and all(
            s.dtype == torch.float64 for s in states.values()
        )
    out = {"input_ids": ids, "logits": logits.to(float32)}
    out |= {f"hidden_states.{i}": s.to(float32) for i, s in states.items()}
    return {k: v.contiguous() for k, v in out.items()}


def make(root, name):
    kind, arguments, v4 = VARIANTS[name]
    folder = pathlib.Path(root) / name
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    config = getattr(transformers, kind)(**arguments)
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.float32)
    randomise(model, generator)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if v4:
        keys = (
            json.loads((folder / "config.json").read_text())
            | v4
            | dict(transformers_version="4.44.0")
        )
        keys = {k: v for k, v in keys.items() if v is not None}
        (folder / "config.v4.json").write_text(json.dumps(keys, indent=2, sort_keys=True) + "\n")
    ids = torch.randint(config.vocab_size, (2, 17), generator=generator)
    save_file(golden(folder, model.state_dict(), ids), folder / "golden.safetensors")
    print(name, sum(f.stat().st_size for f in folder.iterdir()), "bytes")


for variant in sys.argv[2:] or VARIANTS:
    make(sys.argv[1], variant)
