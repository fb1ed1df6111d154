/* family.c - see family.h. */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */

/* --- Names of tensors --- */

#define GGUF_ROLES_BUT_MLP_INPUT                          \
    [CBE_ROLE_EMBEDDING] = "token_embd",                  \
    [CBE_ROLE_POSITION] = "position_embd",                \
    [CBE_ROLE_FINAL_NORM] = "output_norm",                \
    [CBE_ROLE_UNEMBEDDING] = "output",                    \
    [CBE_ROLE_ATTENTION_NORM] = "attn_norm",              \
    [CBE_ROLE_QKV] = "attn_qkv",                          \
    [CBE_ROLE_QUERY] = "attn_q",                          \
    [CBE_ROLE_KEY] = "attn_k",                            \
    [CBE_ROLE_VALUE] = "attn_v",                          \
    [CBE_ROLE_QUERY_NORM] = "attn_q_norm",                \
    [CBE_ROLE_KEY_NORM] = "attn_k_norm",                  \
    [CBE_ROLE_ATTENTION_OUT] = "attn_output",             \
    [CBE_ROLE_AFTER_ATTENTION_NORM] = "post_attention_norm", \
    [CBE_ROLE_MLP_NORM] = "ffn_norm",                     \
    [CBE_ROLE_DOWN] = "ffn_down",                         \
    [CBE_ROLE_AFTER_MLP_NORM] = "post_ffw_norm"

static const cbe_tensor_names gguf = {
    .prefixes = {""},
    .block_prefix = "blk.",
    .roles = {
        GGUF_ROLES_BUT_MLP_INPUT,
        [CBE_ROLE_GATE] = "ffn_gate",
        [CBE_ROLE_UP] = "ffn_up",
    },
    .ignored = {"attn_rot_embd.weight"},
};

/* Converters to the llama architecture move rotary pairs from half a head apart to side by side. */
static const cbe_tensor_names gguf_llama = {
    .prefixes = {""},
    .block_prefix = "blk.",
    .roles = {
        GGUF_ROLES_BUT_MLP_INPUT,
        [CBE_ROLE_GATE] = "ffn_gate",
        [CBE_ROLE_UP] = "ffn_up",
    },
    .ignored = {"attn_rot_embd.weight"},
    .interleaved_rotary = true,
};

static const cbe_tensor_names gguf_phi3 = {
    .prefixes = {""},
    .block_prefix = "blk.",
    .roles = {
        GGUF_ROLES_BUT_MLP_INPUT,
        [CBE_ROLE_GATE_UP] = "ffn_up",
    },
};

/* llama, mistral, qwen2, qwen3, gemma. */
static const cbe_tensor_names hf_llama = {
    .prefixes = {"model.", ""},
    .block_prefix = "layers.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "embed_tokens",
        [CBE_ROLE_FINAL_NORM] = "norm",
        [CBE_ROLE_UNEMBEDDING] = "lm_head",
        [CBE_ROLE_ATTENTION_NORM] = "input_layernorm",
        [CBE_ROLE_QUERY] = "self_attn.q_proj",
        [CBE_ROLE_KEY] = "self_attn.k_proj",
        [CBE_ROLE_VALUE] = "self_attn.v_proj",
        [CBE_ROLE_QUERY_NORM] = "self_attn.q_norm",
        [CBE_ROLE_KEY_NORM] = "self_attn.k_norm",
        [CBE_ROLE_ATTENTION_OUT] = "self_attn.o_proj",
        [CBE_ROLE_MLP_NORM] = "post_attention_layernorm",
        [CBE_ROLE_GATE] = "mlp.gate_proj",
        [CBE_ROLE_UP] = "mlp.up_proj",
        [CBE_ROLE_DOWN] = "mlp.down_proj",
    },
    .ignored = {"self_attn.rotary_emb.inv_freq"},
};

/* gemma2, gemma3, olmo2: norms of the branches' outputs. */
static const cbe_tensor_names hf_norms_after = {
    .prefixes = {"model.", ""},
    .block_prefix = "layers.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "embed_tokens",
        [CBE_ROLE_FINAL_NORM] = "norm",
        [CBE_ROLE_UNEMBEDDING] = "lm_head",
        [CBE_ROLE_ATTENTION_NORM] = "input_layernorm",
        [CBE_ROLE_QUERY] = "self_attn.q_proj",
        [CBE_ROLE_KEY] = "self_attn.k_proj",
        [CBE_ROLE_VALUE] = "self_attn.v_proj",
        [CBE_ROLE_QUERY_NORM] = "self_attn.q_norm",
        [CBE_ROLE_KEY_NORM] = "self_attn.k_norm",
        [CBE_ROLE_ATTENTION_OUT] = "self_attn.o_proj",
        [CBE_ROLE_AFTER_ATTENTION_NORM] = "post_attention_layernorm",
        [CBE_ROLE_MLP_NORM] = "pre_feedforward_layernorm",
        [CBE_ROLE_GATE] = "mlp.gate_proj",
        [CBE_ROLE_UP] = "mlp.up_proj",
        [CBE_ROLE_DOWN] = "mlp.down_proj",
        [CBE_ROLE_AFTER_MLP_NORM] = "post_feedforward_layernorm",
    },
    .ignored = {"self_attn.rotary_emb.inv_freq"},
};

static const cbe_tensor_names hf_phi = {
    .prefixes = {"model.", ""},
    .block_prefix = "layers.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "embed_tokens",
        [CBE_ROLE_FINAL_NORM] = "final_layernorm",
        [CBE_ROLE_UNEMBEDDING] = "lm_head",
        [CBE_ROLE_ATTENTION_NORM] = "input_layernorm",
        [CBE_ROLE_QUERY] = "self_attn.q_proj",
        [CBE_ROLE_KEY] = "self_attn.k_proj",
        [CBE_ROLE_VALUE] = "self_attn.v_proj",
        [CBE_ROLE_QUERY_NORM] = "self_attn.q_layernorm",
        [CBE_ROLE_KEY_NORM] = "self_attn.k_layernorm",
        [CBE_ROLE_ATTENTION_OUT] = "self_attn.dense",
        [CBE_ROLE_UP] = "mlp.fc1",
        [CBE_ROLE_DOWN] = "mlp.fc2",
    },
    .ignored = {"self_attn.rotary_emb.inv_freq"},
};

static const cbe_tensor_names hf_phi3 = {
    .prefixes = {"model.", ""},
    .block_prefix = "layers.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "embed_tokens",
        [CBE_ROLE_FINAL_NORM] = "norm",
        [CBE_ROLE_UNEMBEDDING] = "lm_head",
        [CBE_ROLE_ATTENTION_NORM] = "input_layernorm",
        [CBE_ROLE_QKV] = "self_attn.qkv_proj",
        [CBE_ROLE_ATTENTION_OUT] = "self_attn.o_proj",
        [CBE_ROLE_MLP_NORM] = "post_attention_layernorm",
        [CBE_ROLE_GATE_UP] = "mlp.gate_up_proj",
        [CBE_ROLE_DOWN] = "mlp.down_proj",
    },
    .ignored = {"self_attn.rotary_emb.inv_freq"},
};

static const cbe_tensor_names hf_gpt2 = {
    .prefixes = {"transformer.", ""},
    .block_prefix = "h.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "wte",
        [CBE_ROLE_POSITION] = "wpe",
        [CBE_ROLE_FINAL_NORM] = "ln_f",
        [CBE_ROLE_UNEMBEDDING] = "lm_head",
        [CBE_ROLE_ATTENTION_NORM] = "ln_1",
        [CBE_ROLE_QKV] = "attn.c_attn",
        [CBE_ROLE_ATTENTION_OUT] = "attn.c_proj",
        [CBE_ROLE_MLP_NORM] = "ln_2",
        [CBE_ROLE_UP] = "mlp.c_fc",
        [CBE_ROLE_DOWN] = "mlp.c_proj",
    },
    .ignored = {"attn.bias", "attn.masked_bias"},
    .transposed = true,
};

static const cbe_tensor_names hf_gpt_neo = {
    .prefixes = {"transformer.", ""},
    .block_prefix = "h.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "wte",
        [CBE_ROLE_POSITION] = "wpe",
        [CBE_ROLE_FINAL_NORM] = "ln_f",
        [CBE_ROLE_UNEMBEDDING] = "lm_head",
        [CBE_ROLE_ATTENTION_NORM] = "ln_1",
        [CBE_ROLE_QUERY] = "attn.attention.q_proj",
        [CBE_ROLE_KEY] = "attn.attention.k_proj",
        [CBE_ROLE_VALUE] = "attn.attention.v_proj",
        [CBE_ROLE_ATTENTION_OUT] = "attn.attention.out_proj",
        [CBE_ROLE_MLP_NORM] = "ln_2",
        [CBE_ROLE_UP] = "mlp.c_fc",
        [CBE_ROLE_DOWN] = "mlp.c_proj",
    },
    .ignored = {"attn.attention.bias", "attn.attention.masked_bias"},
};

static const cbe_tensor_names hf_gptj = {
    .prefixes = {"transformer.", ""},
    .block_prefix = "h.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "wte",
        [CBE_ROLE_FINAL_NORM] = "ln_f",
        [CBE_ROLE_UNEMBEDDING] = "lm_head",
        [CBE_ROLE_ATTENTION_NORM] = "ln_1",
        [CBE_ROLE_QUERY] = "attn.q_proj",
        [CBE_ROLE_KEY] = "attn.k_proj",
        [CBE_ROLE_VALUE] = "attn.v_proj",
        [CBE_ROLE_ATTENTION_OUT] = "attn.out_proj",
        [CBE_ROLE_UP] = "mlp.fc_in",
        [CBE_ROLE_DOWN] = "mlp.fc_out",
    },
    .ignored = {"attn.bias", "attn.masked_bias", "attn.embed_positions"},
    .interleaved_rotary = true,
};

static const cbe_tensor_names hf_gpt_neox = {
    .prefixes = {"gpt_neox.", ""},
    .block_prefix = "layers.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "embed_in",
        [CBE_ROLE_FINAL_NORM] = "final_layer_norm",
        [CBE_ROLE_UNEMBEDDING] = "embed_out",
        [CBE_ROLE_ATTENTION_NORM] = "input_layernorm",
        [CBE_ROLE_QKV] = "attention.query_key_value",
        [CBE_ROLE_ATTENTION_OUT] = "attention.dense",
        [CBE_ROLE_MLP_NORM] = "post_attention_layernorm",
        [CBE_ROLE_UP] = "mlp.dense_h_to_4h",
        [CBE_ROLE_DOWN] = "mlp.dense_4h_to_h",
    },
    .unembedding_too = "lm_head",
    .ignored = {"attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"},
    .qkv_by_head = true,
};

static const cbe_tensor_names hf_opt = {
    .prefixes = {"model.decoder.", "decoder.", ""},
    .block_prefix = "layers.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "embed_tokens",
        [CBE_ROLE_POSITION] = "embed_positions",
        [CBE_ROLE_PROJECT_IN] = "project_in",
        [CBE_ROLE_PROJECT_OUT] = "project_out",
        [CBE_ROLE_FINAL_NORM] = "final_layer_norm",
        [CBE_ROLE_UNEMBEDDING] = "lm_head",
        [CBE_ROLE_ATTENTION_NORM] = "self_attn_layer_norm",
        [CBE_ROLE_QUERY] = "self_attn.q_proj",
        [CBE_ROLE_KEY] = "self_attn.k_proj",
        [CBE_ROLE_VALUE] = "self_attn.v_proj",
        [CBE_ROLE_ATTENTION_OUT] = "self_attn.out_proj",
        [CBE_ROLE_MLP_NORM] = "final_layer_norm",
        [CBE_ROLE_UP] = "fc1",
        [CBE_ROLE_DOWN] = "fc2",
    },
};

static const cbe_tensor_names hf_bloom = {
    .prefixes = {"transformer.", ""},
    .block_prefix = "h.",
    .roles = {
        [CBE_ROLE_EMBEDDING] = "word_embeddings",
        [CBE_ROLE_EMBEDDING_NORM] = "word_embeddings_layernorm",
        [CBE_ROLE_FINAL_NORM] = "ln_f",
        [CBE_ROLE_UNEMBEDDING] = "lm_head",
        [CBE_ROLE_ATTENTION_NORM] = "input_layernorm",
        [CBE_ROLE_QKV] = "self_attention.query_key_value",
        [CBE_ROLE_ATTENTION_OUT] = "self_attention.dense",
        [CBE_ROLE_MLP_NORM] = "post_attention_layernorm",
        [CBE_ROLE_UP] = "mlp.dense_h_to_4h",
        [CBE_ROLE_DOWN] = "mlp.dense_4h_to_h",
    },
    .qkv_by_head = true,
};

/* --- Families --- */

#define LLAMA_TRAITS .norm = CBE_NORM_RMS, .norms = CBE_NORMS_BEFORE, .gated = true
#define GEMMA_TRAITS .norm = CBE_NORM_RMS, .gain_offset = true, .scaled_embedding = true, \
                     .gated = true, .activation = CBE_GELU_TANH
#define ALL_BIASES   .qkv_bias = CBE_BIAS_ALWAYS, .attention_out_bias = CBE_BIAS_ALWAYS, \
                     .mlp_bias = CBE_BIAS_ALWAYS

static const cbe_family families[] = {
    {
        .name = {"llama", "llama"},
        .traits = {LLAMA_TRAITS},
        .defaults = {.norm_eps = 1e-6, .keys = CBE_KEY_ATTENTION_BIAS | CBE_KEY_MLP_BIAS},
        .tensors = {&gguf_llama, &hf_llama},
        .keys = &cbe_llama_keys,
    }, {
        .name = {NULL, "mistral"},
        .traits = {LLAMA_TRAITS},
        .defaults = {.norm_eps = 1e-6, .window_rule = CBE_WINDOW_ALL, .window = 4096},
        .tensors = {NULL, &hf_llama},
        .keys = &cbe_mistral_keys,
    }, {
        .name = {"qwen2", "qwen2"},
        .traits = {LLAMA_TRAITS, .qkv_bias = CBE_BIAS_ALWAYS},
        .defaults = {.norm_eps = 1e-6, .window_rule = CBE_WINDOW_FROM, .window = 4096},
        .tensors = {&gguf, &hf_llama},
        .keys = &cbe_qwen2_keys,
    }, {
        .name = {"qwen3", "qwen3"},
        .traits = {LLAMA_TRAITS, .qk_norm = CBE_QK_NORM_HEAD},
        .defaults = {.norm_eps = 1e-6, .head_size = 128, .window_rule = CBE_WINDOW_FROM,
                     .window = 4096, .keys = CBE_KEY_ATTENTION_BIAS},
        .tensors = {&gguf, &hf_llama},
        .keys = &cbe_qwen3_keys,
    }, {
        .name = {"gemma", "gemma"},
        .traits = {GEMMA_TRAITS, .norms = CBE_NORMS_BEFORE},
        .defaults = {.norm_eps = 1e-6, .head_size = 256, .tied = true,
                     .keys = CBE_KEY_ATTENTION_BIAS},
        .tensors = {&gguf, &hf_llama},
        .keys = &cbe_gemma_keys,
    }, {
        .name = {"gemma2", "gemma2"},
        .traits = {GEMMA_TRAITS, .norms = CBE_NORMS_BEFORE | CBE_NORMS_AFTER},
        .defaults = {.norm_eps = 1e-6, .head_size = 256, .window_rule = CBE_WINDOW_PERIOD,
                     .window = 4096, .window_period = 2, .query_scalar = 256, .tied = true,
                     .attention_softcap = 50, .logit_softcap = 30,
                     .keys = CBE_KEY_ATTENTION_BIAS | CBE_KEY_LOGIT_SOFTCAP},
        .tensors = {&gguf, &hf_norms_after},
        .keys = &cbe_gemma2_keys,
    }, {
        .name = {"gemma3", "gemma3_text"},
        .traits = {GEMMA_TRAITS, .norms = CBE_NORMS_BEFORE | CBE_NORMS_AFTER,
                   .qk_norm = CBE_QK_NORM_HEAD},
        .defaults = {.norm_eps = 1e-6, .head_size = 256, .rope_base = 1e6, .local_rope_base = 1e4,
                     .window_rule = CBE_WINDOW_PERIOD, .window = 4096, .window_period = 6,
                     .query_scalar = 256, .tied = true,
                     .keys = CBE_KEY_ATTENTION_BIAS | CBE_KEY_LOGIT_SOFTCAP},
        .tensors = {&gguf, &hf_norms_after},
        .keys = &cbe_gemma3_keys,
    }, {
        .name = {"phi2", "phi"},
        .traits = {.norm = CBE_NORM_LAYER, .norms = CBE_NORM_BEFORE_ATTENTION, .parallel = true,
                   .activation = CBE_GELU_TANH, ALL_BIASES, .unembedding_bias = CBE_BIAS_ALWAYS},
        .defaults = {.norm_eps = 1e-5, .rotary_share = 0.5, .keys = CBE_KEY_QK_NORM},
        .tensors = {&gguf, &hf_phi},
        .keys = &cbe_phi_keys,
    }, {
        .name = {"phi3", "phi3"},
        .traits = {LLAMA_TRAITS},
        .defaults = {.norm_eps = 1e-5, .original_context = 4096, .window_rule = CBE_WINDOW_ALL},
        .tensors = {&gguf_phi3, &hf_phi3},
        .keys = &cbe_phi3_keys,
    }, {
        .name = {NULL, "olmo2"},
        .traits = {.norm = CBE_NORM_RMS, .norms = CBE_NORMS_AFTER, .qk_norm = CBE_QK_NORM_WHOLE,
                   .gated = true},
        .defaults = {.norm_eps = 1e-5, .keys = CBE_KEY_ATTENTION_BIAS},
        .tensors = {NULL, &hf_norms_after},
        .keys = &cbe_olmo2_keys,
    }, {
        .name = {"gpt2", "gpt2"},
        .traits = {.norm = CBE_NORM_LAYER, .norms = CBE_NORMS_BEFORE,
                   .positions = CBE_POSITIONS_LEARNED, .activation = CBE_GELU_TANH, ALL_BIASES},
        .defaults = {.norm_eps = 1e-5, .wide_mlp = true, .tied = true,
                     .keys = CBE_KEY_SCORE_SCALE},
        .tensors = {&gguf, &hf_gpt2},
        .keys = &cbe_gpt2_keys,
    }, {
        .name = {NULL, "gpt_neo"},
        .traits = {.norm = CBE_NORM_LAYER, .norms = CBE_NORMS_BEFORE,
                   .positions = CBE_POSITIONS_LEARNED, .activation = CBE_GELU_TANH,
                   .unscaled_scores = true, .attention_out_bias = CBE_BIAS_ALWAYS,
                   .mlp_bias = CBE_BIAS_ALWAYS},
        .defaults = {.norm_eps = 1e-5, .wide_mlp = true, .window_rule = CBE_WINDOW_LISTED,
                     .window = 256, .tied = true},
        .tensors = {NULL, &hf_gpt_neo},
        .keys = &cbe_gpt_neo_keys,
    }, {
        .name = {NULL, "gptj"},
        .traits = {.norm = CBE_NORM_LAYER, .norms = CBE_NORM_BEFORE_ATTENTION, .parallel = true,
                   .activation = CBE_GELU_TANH, .mlp_bias = CBE_BIAS_ALWAYS,
                   .unembedding_bias = CBE_BIAS_ALWAYS},
        .defaults = {.norm_eps = 1e-5, .wide_mlp = true, .rotary_size = 64},
        .tensors = {NULL, &hf_gptj},
        .keys = &cbe_gptj_keys,
    }, {
        .name = {NULL, "gpt_neox"},
        .traits = {.norm = CBE_NORM_LAYER, .norms = CBE_NORMS_BEFORE, .parallel = true,
                   .activation = CBE_GELU, ALL_BIASES},
        .defaults = {.norm_eps = 1e-5, .rotary_share = 0.25,
                     .keys = CBE_KEY_ATTENTION_BIAS | CBE_KEY_PARALLEL},
        .tensors = {NULL, &hf_gpt_neox},
        .keys = &cbe_gpt_neox_keys,
    }, {
        .name = {NULL, "opt"},
        .traits = {.norm = CBE_NORM_LAYER, .norms = CBE_NORMS_BEFORE,
                   .positions = CBE_POSITIONS_LEARNED, .position_offset = 2,
                   .activation = CBE_RELU, ALL_BIASES},
        .defaults = {.norm_eps = 1e-5, .tied = true, .keys = CBE_KEY_OPT},
        .tensors = {NULL, &hf_opt},
        .keys = &cbe_opt_keys,
    }, {
        .name = {NULL, "bloom"},
        .traits = {.norm = CBE_NORM_LAYER, .norms = CBE_NORMS_BEFORE, .embedding_norm = true,
                   .positions = CBE_POSITIONS_ALIBI, .activation = CBE_GELU_TANH, ALL_BIASES},
        .defaults = {.norm_eps = 1e-5, .wide_mlp = true, .tied = true},
        .tensors = {NULL, &hf_bloom},
        .keys = &cbe_bloom_keys,
    },
};
/* clang-format on */

enum { N_FAMILIES = sizeof families / sizeof *families };

const cbe_family *cbe_family_find(cbe_model_format format, const char *name, size_t length)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const char *known = families[i].name[format];
        if (known && strlen(known) == length && memcmp(known, name, length) == 0)
            return &families[i];
    }
    return NULL;
}

void cbe_family_list(cbe_model_format format, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < N_FAMILIES && used < size; i++)
        if (families[i].name[format])
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
                                     families[i].name[format]);
}
