"""Configurations as people have them: cbe beside transformers.

Makes tiny random models of every family, changes config.json (keys missing, null, of other
families, in both spellings; rotary forms, windows, activations) or the names of tensors (shared
matrices, shards), and compares the logits of `cbe capture --logits` with those of transformers in
float64. Each variant must agree, or be warned of, or be refused by a message that names one of the
keys changed; a silent difference is a failure. Where the difference is above the tolerance, it may
be up to 4 times that of transformers in float32, whose rounding the variant then magnifies. Prints
a line for each variant that does not agree, and a count for each verdict.

Usage: compare_configs.py CBE [FAMILY...] [-k WORD]   needs torch, transformers, safetensors, numpy
       -k WORD: only variants whose name holds WORD
"""

import collections
import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.simplefilter("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

TOLERANCE = 5e-5  # of the largest logit
ROUNDING = 4  # times the difference of transformers in float32
ABSENT = object()

SIZES = dict(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=64,
)
GROUPED = SIZES | dict(num_key_value_heads=1)
NAMED = dict(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=64)
LOCAL = dict(num_hidden_layers=4, sliding_window=5, head_dim=8)

# Of each family: class of its configuration, its arguments, and the norm's own epsilon.
FAMILIES = {
    "llama": ("LlamaConfig", GROUPED, "rms_norm_eps"),
    "mistral": ("MistralConfig", GROUPED | dict(sliding_window=5), "rms_norm_eps"),
    "qwen2": ("Qwen2Config", GROUPED, "rms_norm_eps"),
    "qwen3": ("Qwen3Config", GROUPED | dict(head_dim=8), "rms_norm_eps"),
    "gemma": ("GemmaConfig", GROUPED | dict(head_dim=8), "rms_norm_eps"),
    "gemma2": ("Gemma2Config", GROUPED | LOCAL | dict(query_pre_attn_scalar=64), "rms_norm_eps"),
    "gemma3_text": (
        "Gemma3TextConfig",
        GROUPED | LOCAL | dict(query_pre_attn_scalar=64, sliding_window_pattern=3),
        "rms_norm_eps",
    ),
    "phi": ("PhiConfig", GROUPED, "layer_norm_eps"),
    "phi3": (
        "Phi3Config",
        GROUPED | dict(original_max_position_embeddings=32, pad_token_id=0),
        "rms_norm_eps",
    ),
    "olmo2": ("Olmo2Config", GROUPED, "rms_norm_eps"),
    "gpt2": ("GPT2Config", NAMED, "layer_norm_epsilon"),
    "gpt_neo": (
        "GPTNeoConfig",
        dict(
            vocab_size=32,
            hidden_size=16,
            num_layers=2,
            num_heads=2,
            max_position_embeddings=64,
            attention_types=[[["global", "local"], 1]],
            window_size=5,
        ),
        "layer_norm_epsilon",
    ),
    "gptj": ("GPTJConfig", NAMED | dict(rotary_dim=4), "layer_norm_epsilon"),
    "gpt_neox": ("GPTNeoXConfig", SIZES | dict(rotary_pct=0.5), "layer_norm_eps"),
    "opt": (
        "OPTConfig",
        dict(
            vocab_size=32,
            hidden_size=16,
            ffn_dim=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            word_embed_proj_dim=16,
        ),
        None,
    ),
    "bloom": (
        "BloomConfig",
        dict(vocab_size=32, hidden_size=16, n_layer=2, n_head=2),
        "layer_norm_epsilon",
    ),
}
ROTARY = "llama mistral qwen2 qwen3 gemma gemma2 gemma3_text phi phi3 olmo2 gpt_neox".split()
WINDOWS = "mistral qwen2 qwen3 gemma2 gemma3_text phi3".split()

# Keys that some family reads, each with a value that would change any model that reads it.
KEYS = dict(
    rms_norm_eps=0.3,
    layer_norm_eps=0.3,
    layer_norm_epsilon=0.3,
    norm_eps=0.3,
    norm_epsilon=0.3,
    rotary_dim=2,
    rotary_pct=1.0,
    rotary_emb_base=77,
    rope_theta=77.0,
    rope_local_base_freq=55.0,
    partial_rotary_factor=1.0,
    hidden_act="relu",
    activation_function="relu",
    hidden_activation="relu",
    hidden_size=18,
    n_embd=18,
    n_embed=18,
    d_model=18,
    dim=18,
    num_hidden_layers=1,
    n_layer=1,
    n_layers=1,
    num_layers=1,
    num_attention_heads=4,
    n_head=4,
    n_heads=4,
    num_heads=4,
    intermediate_size=20,
    n_inner=20,
    ffn_dim=20,
    d_ff=20,
    num_key_value_heads=2,
    num_kv_heads=2,
    head_dim=4,
    head_size=4,
    max_position_embeddings=32,
    n_positions=32,
    n_ctx=32,
    vocab_size=40,
    query_pre_attn_scalar=3,
    attn_logit_softcapping=0.7,
    final_logit_softcapping=0.7,
    logit_scale=3.0,
    logits_scaling=3.0,
    attention_multiplier=0.3,
    residual_multiplier=0.3,
    embedding_multiplier=3.0,
    scale_embedding=True,
    sliding_window=3,
    window_size=3,
    use_sliding_window=True,
    max_window_layers=1,
    sliding_window_pattern=2,
    _sliding_window_pattern=2,
    layer_types=["sliding_attention", "full_attention"],
    attention_types=[[["local", "global"], 1]],
    attention_layers=["local", "global"],
    attention_bias=True,
    mlp_bias=True,
    qkv_bias=True,
    use_qkv_bias=True,
    bias=True,
    enable_bias=False,
    no_bias=True,
    use_bias=False,
    qk_layernorm=True,
    use_qk_norm=True,
    use_parallel_residual=False,
    parallel_attn=False,
    scale_attn_weights=False,
    scale_attn_by_inverse_layer_idx=True,
    reorder_and_upcast_attn=True,
    do_layer_norm_before=False,
    layer_norm_elementwise_affine=False,
    _remove_final_layer_norm=True,
    word_embed_proj_dim=12,
    original_max_position_embeddings=16,
    apply_residual_connection_post_layernorm=True,
    use_bidirectional_attention=True,
    add_cross_attention=True,
    is_causal=False,
    is_decoder=True,
    is_encoder_decoder=True,
    attention_chunk_size=4,
    alibi=True,
    multi_query=True,
    pretraining_tp=2,
    slow_but_exact=True,
    attention_dropout=0.5,
    resid_pdrop=0.5,
    hidden_dropout=0.5,
    layerdrop=0.5,
    dtype="bfloat16",
    torch_dtype="float16",
    use_cache=False,
    num_experts=4,
    num_local_experts=4,
    tie_encoder_decoder=True,
    transformers_version="4.30.0",
    pad_token_id=-1,
    attn_implementation="eager",
    _attn_implementation="eager",
    quantization_config=None,
    auto_map={"AutoConfig": "configuration_x.X"},
    architectures=["XForCausalLM"],
    per_layer_config={"0": {"num_attention_heads": 1}},
)
ACTIVATIONS = [
    "silu",
    "swish",
    "gelu",
    "gelu_new",
    "gelu_fast",
    "gelu_python",
    "gelu_python_tanh",
    "gelu_pytorch_tanh",
    "gelu_accurate",
    "gelu_10",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "mish",
    "linear",
    "tanh",
    "sigmoid",
]


def activation_key(family):
    if family in ("gpt2", "gpt_neo", "gptj", "opt"):
        return "activation_function"
    return "hidden_activation" if family in ("gemma2", "gemma3_text") else "hidden_act"


def with_keys(**keys):
    def edit(config):
        for key, value in keys.items():
            if value is ABSENT:
                config.pop(key, None)
            else:
                config[key] = value

    return edit


def rotary_forms(head_dim=8, share=1.0):
    """Names and objects of rotary parameters, without the base."""
    half = int(head_dim * share) // 2
    short, long = [1.0 + 0.5 * i for i in range(half)], [1.0 + 2.0 * i for i in range(half)]
    yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
    return {
        "default": dict(rope_type="default"),
        "linear": dict(rope_type="linear", factor=3.0),
        "linear-type": dict(type="linear", factor=3.0),
        "both-names": dict(rope_type="linear", type="dynamic", factor=3.0),
        "dynamic": dict(rope_type="dynamic", factor=3.0),
        "yarn": yarn,
        "yarn-type": dict(type="yarn", factor=4.0, original_max_position_embeddings=16),
        "yarn-no-original": dict(rope_type="yarn", factor=4.0),
        "yarn-null": yarn | dict(attention_factor=None, beta_fast=None, mscale=None),
        "yarn-zero": yarn | dict(beta_fast=0, beta_slow=0, mscale=0, mscale_all_dim=0),
        "yarn-attention": yarn | dict(attention_factor=1.3),
        "yarn-mscale": yarn | dict(mscale=0.7, mscale_all_dim=0.4),
        "yarn-mscale-one": yarn | dict(mscale=0.7),
        "yarn-not-truncated": yarn | dict(truncate=False, beta_fast=4.0, beta_slow=1.5),
        "yarn-null-factor": yarn | dict(factor=None),
        "llama3": dict(
            rope_type="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=16,
        ),
        "llama3-no-original": dict(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0
        ),
        "longrope": dict(
            rope_type="longrope",
            short_factor=short,
            long_factor=long,
            original_max_position_embeddings=16,
        ),
        "longrope-factor": dict(
            rope_type="longrope",
            short_factor=short,
            long_factor=long,
            factor=2.5,
            original_max_position_embeddings=16,
        ),
        "su": dict(
            type="su", short_factor=short, long_factor=long, original_max_position_embeddings=16
        ),
        "mrope": dict(rope_type="default", mrope_section=[1, 1, 2]),
        "unknown": dict(rope_type="ntk", factor=2.0),
        "proportional": dict(rope_type="proportional", partial_rotary_factor=0.5),
        "empty": dict(),
        "null-type": dict(rope_type=None, factor=2.0),
        "stray": dict(rope_type="default", factor=3.0, beta_fast=7.0),
        "linear-stray": dict(rope_type="linear", factor=3.0, attention_factor=2.0, beta_fast=9.0),
        "share": dict(rope_type="default", partial_rotary_factor=0.5),
        "linear-share": dict(rope_type="linear", factor=3.0, partial_rotary_factor=0.5),
        "string-factor": dict(rope_type="linear", factor="3.0"),
        "no-factor": dict(rope_type="linear"),
    }


def rotary_variants(family):
    share = {"phi": 0.5, "gpt_neox": 0.5}.get(family, 1.0)
    none = dict(
        rope_parameters=ABSENT,
        rope_theta=ABSENT,
        rotary_emb_base=ABSENT,
        rotary_pct=ABSENT,
        partial_rotary_factor=ABSENT,
        rope_local_base_freq=ABSENT,
    )
    base_key = "rotary_emb_base" if family == "gpt_neox" else "rope_theta"
    share_key = "rotary_pct" if family == "gpt_neox" else "partial_rotary_factor"
    for name, form in rotary_forms(share=share).items():
        yield f"rope_scaling {name}", with_keys(**none | {"rope_scaling": form, base_key: 500.0})
        yield (
            f"rope_parameters {name}",
            with_keys(**none | dict(rope_parameters=form | dict(rope_theta=500.0))),
        )
    linear = dict(rope_type="linear", factor=3.0)
    yield "rope none", with_keys(**none)
    yield "rope null", with_keys(**none | dict(rope_parameters=None, rope_scaling=None))
    yield "rope base in the root", with_keys(**none | {base_key: 77.0})
    yield "rope base null", with_keys(**none | {base_key: None})
    yield "rope base of a name of others", with_keys(**none | dict(rope_theta=77.0))
    yield "rope share of a name of others", with_keys(**none | dict(partial_rotary_factor=0.25))
    yield "rope share in the root", with_keys(**none | {share_key: 0.25, base_key: 99.0})
    yield "rope share null", with_keys(**none | {share_key: None})
    yield (
        "rope_theta beside rope_parameters",
        with_keys(**none | dict(rope_theta=77.0, rope_parameters=linear | dict(rope_theta=500.0))),
    )
    yield (
        "rope_theta beside rope_parameters without",
        with_keys(**none | dict(rope_theta=77.0, rope_parameters=linear)),
    )
    yield (
        "base beside rope_parameters without",
        with_keys(**none | {base_key: 77.0, "rope_parameters": linear}),
    )
    yield (
        "share beside rope_parameters",
        with_keys(
            **none
            | {
                share_key: 0.25,
                "rope_parameters": dict(rope_type="default", partial_rotary_factor=0.5),
            }
        ),
    )
    yield (
        "share beside rope_parameters without",
        with_keys(**none | {share_key: 0.25, "rope_parameters": dict(rope_type="default")}),
    )
    yield (
        "rope_theta inside rope_scaling",
        with_keys(**none | {"rope_scaling": linear | dict(rope_theta=77.0), base_key: 500.0}),
    )
    yield (
        "both the same",
        with_keys(
            **none
            | dict(
                rope_scaling=linear | dict(rope_theta=500.0),
                rope_parameters=linear | dict(rope_theta=500.0),
            )
        ),
    )
    yield (
        "both the same but for names",
        with_keys(
            **none
            | {
                "rope_scaling": dict(type="linear", factor=3.0),
                "rope_parameters": linear | dict(rope_theta=500.0),
                base_key: 500.0,
            }
        ),
    )
    yield (
        "both different",
        with_keys(
            **none
            | dict(rope_scaling=linear, rope_parameters=dict(rope_type="default", rope_theta=500.0))
        ),
    )
    yield (
        "both, rope_scaling empty",
        with_keys(**none | dict(rope_scaling={}, rope_parameters=linear | dict(rope_theta=500.0))),
    )
    yield (
        "both, rope_scaling null",
        with_keys(
            **none | dict(rope_scaling=None, rope_parameters=linear | dict(rope_theta=500.0))
        ),
    )
    yield (
        "both, rope_parameters null",
        with_keys(**none | {"rope_scaling": linear, "rope_parameters": None, base_key: 500.0}),
    )
    yield (
        "original context in the root",
        with_keys(
            **none
            | {
                "rope_scaling": dict(rope_type="yarn", factor=4.0),
                "original_max_position_embeddings": 16,
                base_key: 500.0,
            }
        ),
    )
    yield (
        "original context in both",
        with_keys(
            **none
            | {
                "rope_scaling": dict(
                    rope_type="yarn", factor=4.0, original_max_position_embeddings=8
                ),
                "original_max_position_embeddings": 16,
                base_key: 500.0,
            }
        ),
    )
    nested = dict(
        full_attention=linear | dict(rope_theta=500.0),
        sliding_attention=dict(rope_type="default", rope_theta=99.0),
    )
    yield "nested", with_keys(**none | dict(rope_parameters=nested))
    yield "nested rope_scaling", with_keys(**none | dict(rope_scaling=nested))
    half = dict(full_attention=nested["full_attention"])
    yield "nested one", with_keys(**none | dict(rope_parameters=half))
    bare = dict(full_attention=linear, sliding_attention=dict(rope_type="default"))
    yield "nested without bases", with_keys(**none | dict(rope_parameters=bare))
    yield (
        "nested, bases in the root",
        with_keys(**none | {"rope_parameters": bare, base_key: 77.0, "rope_local_base_freq": 55.0}),
    )
    yield (
        "nested, one null",
        with_keys(**none | dict(rope_parameters=half | dict(sliding_attention=None))),
    )


def window_variants(family):
    local, full = "sliding_attention", "full_attention"
    n = FAMILIES[family][1]["num_hidden_layers"]
    for value in (1, 2, 3, 1000, None, ABSENT, 0):
        shown = "absent" if value is ABSENT else value
        yield f"sliding_window {shown}", with_keys(sliding_window=value, layer_types=ABSENT)
        yield (
            f"use_sliding_window, {shown}",
            with_keys(
                sliding_window=value,
                use_sliding_window=True,
                max_window_layers=1,
                layer_types=ABSENT,
            ),
        )
    for name, types in {
        "all local": [local] * n,
        "all full": [full] * n,
        "first local": [local] + [full] * (n - 1),
        "last local": [full] * (n - 1) + [local],
        "too few": [local] * (n - 1),
        "chunked": ["chunked_attention"] * n,
        "old name": ["attention"] * n,
        "null": None,
    }.items():
        yield (
            f"layer_types {name}",
            with_keys(layer_types=types, use_sliding_window=True, sliding_window=5),
        )
        yield (
            f"layer_types {name}, use_sliding_window false",
            with_keys(layer_types=types, use_sliding_window=False, sliding_window=5),
        )
        yield (
            f"layer_types {name}, no window",
            with_keys(layer_types=types, use_sliding_window=ABSENT, sliding_window=None),
        )
    for first in (0, 1, n, ABSENT, None):
        shown = "absent" if first is ABSENT else first
        yield (
            f"max_window_layers {shown}",
            with_keys(
                max_window_layers=first,
                use_sliding_window=True,
                sliding_window=3,
                layer_types=ABSENT,
            ),
        )
    for pattern in (1, 2, 3, ABSENT, None):
        shown = "absent" if pattern is ABSENT else pattern
        for key in ("sliding_window_pattern", "_sliding_window_pattern"):
            yield (
                f"{key} {shown}",
                with_keys(
                    **{
                        "sliding_window_pattern": ABSENT,
                        "_sliding_window_pattern": ABSENT,
                        key: pattern,
                        "layer_types": ABSENT,
                    }
                ),
            )


def config_variants(family, config):
    """Names, edits of config.json, and the keys that a refusal may name."""
    eps = FAMILIES[family][2]
    yield "as it is", with_keys()
    own = [k for k in config if k not in ("model_type", "transformers_version", "architectures")]
    for key in own:
        yield f"without {key}", with_keys(**{key: ABSENT})
        if config[key] is not None:
            yield f"{key} null", with_keys(**{key: None})
    for key, value in KEYS.items():
        if config.get(key) != value:
            yield f"{key} {value}", with_keys(**{key: value})
        yield f"{key} null", with_keys(**{key: None})
    for name in ACTIVATIONS:
        yield f"activation {name}", with_keys(**{activation_key(family): name})
    for key in ("hidden_act", "hidden_activation", "activation_function"):
        yield f"{key} alone", with_keys(**{activation_key(family): ABSENT, key: "gelu"})
    if eps:
        yield f"{eps} 0", with_keys(**{eps: 0})
        yield f"{eps} a whole number", with_keys(**{eps: 1})
    for key in ("attention_bias", "mlp_bias", "tie_word_embeddings"):
        yield f"{key} false", with_keys(**{key: False})
    for cap in ("attn_logit_softcapping", "final_logit_softcapping"):
        yield f"{cap} 2", with_keys(**{cap: 2.0})
    yield "head_dim 12", with_keys(head_dim=12)
    yield "num_key_value_heads 2", with_keys(num_key_value_heads=2)
    if family in ROTARY:
        yield from rotary_variants(family)
    if family in WINDOWS:
        yield from window_variants(family)
    if family == "gpt_neo":
        for name, types in {
            "twice": [[["local"], 1], [["global"], 1]],
            "too many": [[["global", "local"], 2]],
            "other": [[["global", "strided"], 1]],
        }.items():
            yield f"attention_types {name}", with_keys(attention_types=types)
            yield (
                f"attention_types {name}, no attention_layers",
                with_keys(attention_types=types, attention_layers=ABSENT),
            )
        for value in (1, 2, 1000):
            yield f"window_size {value}", with_keys(window_size=value)
    if family == "opt":
        for before in (True, False):
            for affine in (True, False):
                yield (
                    f"opt before {before} affine {affine}",
                    with_keys(
                        do_layer_norm_before=before,
                        layer_norm_elementwise_affine=affine,
                        enable_bias=affine,
                        word_embed_proj_dim=12,
                    ),
                )


def tensor_variants(family, tensors, embedding, unembedding):
    """Names, edits of config.json, and tensors by files."""
    other = {k: v.clone() for k, v in tensors.items()}
    other[unembedding] = torch.randn(
        tensors[embedding].shape, generator=torch.Generator().manual_seed(5)
    )
    same = dict(tensors)
    same[unembedding] = tensors[embedding].clone()
    only = {k: v for k, v in same.items() if k != embedding}
    none = {k: v for k, v in tensors.items() if k not in (embedding, unembedding)}
    without = {k: v for k, v in same.items() if k != unembedding}
    half = {k: v for k, v in other.items()}
    half[unembedding] = other[unembedding].to(torch.bfloat16)
    near = {k: v for k, v in same.items()}
    near[unembedding] = tensors[embedding].to(torch.bfloat16).float()
    near[embedding] = tensors[embedding].to(torch.bfloat16)
    zero = {k: v.clone() for k, v in same.items()}
    zero[embedding][0, 0], zero[unembedding][0, 0] = 0.0, -0.0
    for flag in (True, False, ABSENT):
        shown = "absent" if flag is ABSENT else flag
        for name, kept in {
            "differ": other,
            "equal": same,
            "lm_head alone": only,
            "embedding alone": without,
            "neither": none,
            "differ in type too": half,
            "differ in type alone": near,
            "zero of another sign": zero,
        }.items():
            yield (
                f"tied {shown}, {name}",
                with_keys(tie_word_embeddings=flag),
                {"model.safetensors": kept},
            )
    prefix = embedding.split(".")[0] + "."
    bare = {k.removeprefix(prefix): v for k, v in other.items()}
    yield "without prefix", with_keys(tie_word_embeddings=False), {"model.safetensors": bare}
    bare = {k.removeprefix(prefix): v for k, v in only.items()}
    yield "tied, without prefix", with_keys(tie_word_embeddings=True), {"model.safetensors": bare}
    yield (
        "lm_head by its newer name",
        with_keys(tie_word_embeddings=False),
        {"model.safetensors": {k.replace("embed_out", "lm_head"): v for k, v in other.items()}},
    )


class Broken(Exception):
    """What transformers does not read, or reads with weights that no file has."""


def randomise(model):
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=generator)
            if p.ndim > 1:
                p.copy_(x * 0.3 * (16 / max(16, p.shape[-1])) ** 0.5)
            else:
                p.copy_(x * 0.2 + (1.0 if "norm" in name or "ln_" in name else 0.0))
    model.tie_weights()


def build(folder, config):
    """Weights of the model that transformers makes of a configuration."""
    parsed = transformers.AutoConfig.for_model(**copy.deepcopy(config))
    model = transformers.AutoModelForCausalLM.from_config(parsed, attn_implementation="eager")
    model = model.float().eval()
    randomise(model)
    model.save_pretrained(folder)


def reference(folder, ids, dtype=torch.float64):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    if info["missing_keys"]:
        raise Broken(f"missing: {sorted(info['missing_keys'])[:2]}")
    with torch.no_grad():
        return model.to(dtype).eval()(ids, use_cache=False).logits.double()


def run_cbe(cbe, folder, ids_file):
    out = folder / "out.st"
    out.unlink(missing_ok=True)
    run = subprocess.run(
        [cbe, "capture", folder, "--tokens", ids_file, "-o", out, "--logits", "--layers", "0"]
        + ["--quiet"],
        capture_output=True,
        text=True,
        env=os.environ | dict(OMP_NUM_THREADS="1"),
        timeout=120,
    )
    logits = load_file(out)["logits"].double() if run.returncode == 0 else None
    return logits, run.stderr.strip(), run.returncode


def changed_keys(before, after):
    """Keys of two configurations that differ, with those inside objects."""
    keys = {
        k for k in before.keys() | after.keys() if before.get(k, ABSENT) != after.get(k, ABSENT)
    }
    for key in list(keys):
        for side in (before.get(key), after.get(key)):
            if isinstance(side, dict):
                keys |= side.keys()
                keys |= {v for v in side.values() if isinstance(v, str)}
    return keys


def judge(cbe, folder, ids, ids_file, names):
    """Verdict and what to show of it."""
    try:
        want = reference(folder, ids)
        if not torch.isfinite(want).all():
            raise Broken("logits that are not finite")
    except Exception as e:  # noqa: BLE001 - whatever it is, transformers does not read the model
        want, why = None, f"{type(e).__name__}: {' '.join(str(e).split())[:90]}"
    got, said, status = run_cbe(cbe, folder, ids_file)
    if status not in (0, 2):
        return "CRASHED", f"{status} {said}"
    if want is None:
        return ("both refuse", "") if got is None else ("cbe alone reads", why)
    if got is None:
        named = any(name in said for name in names)
        return ("refused" if named else "REFUSED WITHOUT A NAME"), said
    off = (got - want).abs().max() / want.abs().max() if got.shape == want.shape else float("inf")
    if off <= TOLERANCE:
        return ("agrees, with a warning" if said else "agrees"), said
    if off < float("inf"):
        noise = (reference(folder, ids, torch.float32) - want).abs().max() / want.abs().max()
        if off <= ROUNDING * noise:
            return (
                "agrees as float32 does",
                f"off by {off:.2g}, transformers by {noise:.2g}; {said}",
            )
    return ("warned" if "warning" in said else "SILENT DIFFERENCE"), f"off by {off:.2g}; {said}"


def compare_family(cbe, family, word, tmp, counts):
    kind, arguments, _ = FAMILIES[family]
    ids = torch.randint(0, 32, (2, 20), generator=torch.Generator().manual_seed(1))
    ids_file = tmp / "ids.safetensors"
    save_file({"input_ids": ids}, ids_file)
    base, folder = tmp / "base", tmp / "variant"
    shutil.rmtree(base, ignore_errors=True)
    config = json.loads(getattr(transformers, kind)(**arguments).to_json_string(use_diff=False))
    config = {k: v for k, v in config.items() if k in own_keys(kind, config)}
    build(base, config)
    config["architectures"] = json.loads((base / "config.json").read_text())["architectures"]
    tensors = load_file(base / "model.safetensors")
    variants = [(n, e, None) for n, e in config_variants(family, config)]
    names = {"gpt2": "transformer.wte", "gpt_neo": "transformer.wte", "gptj": "transformer.wte"}
    names |= {"gpt_neox": "gpt_neox.embed_in", "opt": "model.decoder.embed_tokens"}
    names |= {"bloom": "transformer.word_embeddings"}
    embedding = names.get(family, "model.embed_tokens") + ".weight"
    unembedding = ("embed_out" if family == "gpt_neox" else "lm_head") + ".weight"
    variants += tensor_variants(family, tensors, embedding, unembedding)
    seen = set()
    for name, edit, files in variants:
        changed = copy.deepcopy(config)
        edit(changed)
        shown = json.dumps(changed, sort_keys=True)
        if word not in name or (files is None and shown in seen):
            continue
        seen.add(shown)
        shutil.rmtree(folder, ignore_errors=True)
        keys = changed_keys(config, changed)
        try:
            build(folder, changed)
        except Exception:  # noqa: BLE001 - then the weights are those of the unchanged model
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(base, folder)
        for file, kept in (files or {}).items():
            save_file(kept, folder / file, metadata={"format": "pt"})
            keys |= {embedding, unembedding, "tie_word_embeddings"}
        (folder / "config.json").write_text(json.dumps(changed))
        verdict, more = judge(cbe, folder, ids, ids_file, keys)
        counts[verdict] += 1
        if verdict not in ("agrees", "both refuse"):
            print(f"{verdict:24s} {family:12s} {name:40s} {more[:220]}", flush=True)


def own_keys(kind, config):
    """Keys that the class has of its own, and the model's type."""
    common = transformers.PreTrainedConfig().to_dict()
    extra = {"model_type", "tie_word_embeddings", "dtype"}
    return {k for k in config if k not in common or k in extra}


def main():
    arguments = sys.argv[1:]
    word = ""
    if "-k" in arguments:
        at = arguments.index("-k")
        word = arguments[at + 1]
        del arguments[at : at + 2]
    cbe, families = arguments[0], arguments[1:] or list(FAMILIES)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as tmp:
        for family in families:
            before = sum(counts.values())
            compare_family(cbe, family, word, pathlib.Path(tmp), counts)
            print(f"{family}: {sum(counts.values()) - before} variants", flush=True)
    for verdict, n in sorted(counts.items()):
        print(f"{n:5d} {verdict}")
    print(f"{sum(counts.values()):5d} variants, transformers {transformers.__version__}")
    return any(verdict.isupper() for verdict in counts)


sys.exit(main())
