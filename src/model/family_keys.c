/* family_keys.c - see family_keys.h. */
#include "model/family_keys.h"

/* clang-format off */

/* Sizes under the names of llama and most families. kv 0: as many as heads; head 0: hidden / heads. */
#define USUAL_SIZES(hidden, layers, heads, kv, head, mlp, vocabulary, context)  \
    .sizes = {                                                                  \
        [CBE_SIZE_HIDDEN] = {{"hidden_size"}, hidden},                          \
        [CBE_SIZE_LAYERS] = {{"num_hidden_layers"}, layers},                    \
        [CBE_SIZE_HEADS] = {{"num_attention_heads"}, heads},                    \
        [CBE_SIZE_KV_HEADS] = {{"num_key_value_heads"}, kv},                    \
        [CBE_SIZE_HEAD] = {{"head_dim"}, head},                                 \
        [CBE_SIZE_MLP] = {{"intermediate_size"}, mlp},                          \
        [CBE_SIZE_VOCABULARY] = {{"vocab_size"}, vocabulary},                   \
        [CBE_SIZE_CONTEXT] = {{"max_position_embeddings"}, context},            \
    }
/* Sizes of GPT-2 and GPT-J: the usual names are their other names, and count first. */
#define GPT2_SIZES(hidden, layers, heads, vocabulary, context)                  \
    .sizes = {                                                                  \
        [CBE_SIZE_HIDDEN] = {{"hidden_size", "n_embd"}, hidden},                \
        [CBE_SIZE_LAYERS] = {{"num_hidden_layers", "n_layer"}, layers},         \
        [CBE_SIZE_HEADS] = {{"num_attention_heads", "n_head"}, heads},          \
        [CBE_SIZE_MLP] = {{"n_inner"}, 0},                                      \
        [CBE_SIZE_VOCABULARY] = {{"vocab_size"}, vocabulary},                   \
        [CBE_SIZE_CONTEXT] = {{"max_position_embeddings", "n_positions"}, context}, \
    }
#define LLAMA_KEYS .norm_eps = "rms_norm_eps", .activation = "hidden_act", .rope_base = "rope_theta"
#define GEMMA_KEYS .norm_eps = "rms_norm_eps", .rope_base = "rope_theta", \
                   .refused = "use_bidirectional_attention"
#define PHI_SHARE  .rope_share = "partial_rotary_factor"
#define WINDOW     .window = "sliding_window"

const cbe_family_keys cbe_llama_keys = {
    USUAL_SIZES(4096, 32, 32, 0, 0, 11008, 32000, 2048),
    LLAMA_KEYS,
};

/* transformers takes a mistral with layer_types for a ministral. */
const cbe_family_keys cbe_mistral_keys = {
    USUAL_SIZES(4096, 32, 32, 8, 0, 14336, 32000, 131072),
    LLAMA_KEYS, WINDOW, .layer_types = true,
};

const cbe_family_keys cbe_qwen2_keys = {
    USUAL_SIZES(4096, 32, 32, 32, 0, 22016, 151936, 32768),
    LLAMA_KEYS, WINDOW, .layer_types = true,
};

const cbe_family_keys cbe_qwen3_keys = {
    USUAL_SIZES(4096, 32, 32, 32, 128, 22016, 151936, 32768),
    LLAMA_KEYS, WINDOW, .layer_types = true,
};

/* The first files of Gemma say gelu, and mean the tanh form. */
const cbe_family_keys cbe_gemma_keys = {
    USUAL_SIZES(3072, 28, 16, 16, 256, 24576, 256000, 8192),
    GEMMA_KEYS, .activation = "hidden_act", .gelu_is_tanh = true,
};

const cbe_family_keys cbe_gemma2_keys = {
    USUAL_SIZES(2304, 26, 8, 4, 256, 9216, 256000, 8192),
    GEMMA_KEYS, .activation = "hidden_activation", WINDOW, .layer_types = true,
};

const cbe_family_keys cbe_gemma3_keys = {
    USUAL_SIZES(2304, 26, 8, 4, 256, 9216, 262208, 131072),
    GEMMA_KEYS, .activation = "hidden_activation", WINDOW, .layer_types = true,
    .period = "sliding_window_pattern",
};

const cbe_family_keys cbe_phi_keys = {
    USUAL_SIZES(2048, 24, 32, 0, 0, 8192, 51200, 2048),
    .norm_eps = "layer_norm_eps", .activation = "hidden_act", .rope_base = "rope_theta", PHI_SHARE,
};

const cbe_family_keys cbe_phi3_keys = {
    USUAL_SIZES(3072, 32, 32, 0, 0, 8192, 32064, 4096),
    LLAMA_KEYS, PHI_SHARE, WINDOW,
};

const cbe_family_keys cbe_olmo2_keys = {
    USUAL_SIZES(4096, 32, 32, 0, 0, 11008, 50304, 2048),
    LLAMA_KEYS,
};

const cbe_family_keys cbe_gpt2_keys = {
    GPT2_SIZES(768, 12, 12, 50257, 1024),
    .norm_eps = "layer_norm_epsilon", .activation = "activation_function",
    .refused = "add_cross_attention",
};

const cbe_family_keys cbe_gpt_neo_keys = {
    .sizes = {
        [CBE_SIZE_HIDDEN] = {{"hidden_size"}, 2048},
        [CBE_SIZE_LAYERS] = {{"num_hidden_layers", "num_layers"}, 24},
        [CBE_SIZE_HEADS] = {{"num_attention_heads", "num_heads"}, 16},
        [CBE_SIZE_MLP] = {{"intermediate_size"}, 0},
        [CBE_SIZE_VOCABULARY] = {{"vocab_size"}, 50257},
        [CBE_SIZE_CONTEXT] = {{"max_position_embeddings"}, 2048},
    },
    .norm_eps = "layer_norm_epsilon", .activation = "activation_function", .window = "window_size",
};

const cbe_family_keys cbe_gptj_keys = {
    GPT2_SIZES(4096, 28, 16, 50400, 2048),
    .norm_eps = "layer_norm_epsilon", .activation = "activation_function",
    .rotary_size = "rotary_dim",
};

const cbe_family_keys cbe_gpt_neox_keys = {
    .sizes = {
        [CBE_SIZE_HIDDEN] = {{"hidden_size"}, 6144},
        [CBE_SIZE_LAYERS] = {{"num_hidden_layers"}, 44},
        [CBE_SIZE_HEADS] = {{"num_attention_heads"}, 64},
        [CBE_SIZE_MLP] = {{"intermediate_size"}, 24576},
        [CBE_SIZE_VOCABULARY] = {{"vocab_size"}, 50432},
        [CBE_SIZE_CONTEXT] = {{"max_position_embeddings"}, 2048},
    },
    .norm_eps = "layer_norm_eps", .activation = "hidden_act", .rope_base = "rotary_emb_base",
    .rope_share = "rotary_pct", .rotary_head = "head_dim",
};

const cbe_family_keys cbe_opt_keys = {
    .sizes = {
        [CBE_SIZE_HIDDEN] = {{"hidden_size"}, 768},
        [CBE_SIZE_LAYERS] = {{"num_hidden_layers"}, 12},
        [CBE_SIZE_HEADS] = {{"num_attention_heads"}, 12},
        [CBE_SIZE_MLP] = {{"ffn_dim"}, 3072},
        [CBE_SIZE_VOCABULARY] = {{"vocab_size"}, 50272},
        [CBE_SIZE_CONTEXT] = {{"max_position_embeddings"}, 2048},
    },
    .activation = "activation_function",
};

const cbe_family_keys cbe_bloom_keys = {
    .sizes = {
        [CBE_SIZE_HIDDEN] = {{"n_embed", "hidden_size"}, 64},
        [CBE_SIZE_LAYERS] = {{"num_hidden_layers", "n_layer"}, 2},
        [CBE_SIZE_HEADS] = {{"num_attention_heads", "n_head"}, 8},
        [CBE_SIZE_VOCABULARY] = {{"vocab_size"}, 250880},
    },
    .norm_eps = "layer_norm_epsilon", .refused = "apply_residual_connection_post_layernorm",
};
/* clang-format on */
