/*
 * family.h - families of models: each is an entry of a table, not a forward pass of its own.
 *
 * Every block is the same sequence of operations (block.h). Traits say which operations a family
 * has and of which kind; tensor names say where a file keeps the weights. Adding a family:
 * docs/adding-a-model.md.
 */
#ifndef CBE_MODEL_FAMILY_H
#define CBE_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "model/decoder.h"
#include "model/activation.h"
#include "model/family_keys.h"

/** Format of a model's files, on which names of tensors and keys and the order of rows depend. */
typedef enum { CBE_FORMAT_GGUF = 0, CBE_FORMAT_HUGGING_FACE, CBE_N_FORMATS } cbe_model_format;

/** How a token's position enters the computation. */
typedef enum {
    CBE_POSITIONS_ROTARY = 0, /* queries and keys are rotated (rope.h) */
    CBE_POSITIONS_LEARNED,    /* a vector for each position is added to the embedding */
    CBE_POSITIONS_ALIBI       /* scores fall with the distance (attention.h) */
} cbe_positions;

/** Norms of queries and keys, before they are rotated. */
typedef enum {
    CBE_QK_NORM_NONE = 0,
    CBE_QK_NORM_HEAD, /* each head by itself, with one gain (head_size) for all heads */
    CBE_QK_NORM_WHOLE /* all heads together, with a gain of their whole width */
} cbe_qk_norm;

/** Flags of a block's norms: before a branch (attention or MLP) reads the stream, and of the
 * branch's output before it is added to the stream. */
enum {
    CBE_NORM_BEFORE_ATTENTION = 1,
    CBE_NORM_BEFORE_MLP = 2,
    CBE_NORM_AFTER_ATTENTION = 4,
    CBE_NORM_AFTER_MLP = 8,
    CBE_NORMS_BEFORE = CBE_NORM_BEFORE_ATTENTION | CBE_NORM_BEFORE_MLP,
    CBE_NORMS_AFTER = CBE_NORM_AFTER_ATTENTION | CBE_NORM_AFTER_MLP
};

typedef enum {
    CBE_BIAS_NONE = 0,  /* a bias in the file is an error: it would be left out */
    CBE_BIAS_ALWAYS,    /* a missing bias is an error */
    CBE_BIAS_IF_PRESENT /* for GGUF, whose metadata do not tell */
} cbe_bias;

/** What the forward pass does in a block and before block 0. */
typedef struct {
    cbe_norm norm;
    unsigned norms; /* CBE_NORM_BEFORE_ATTENTION | ... */
    /* The norms `before` are instead applied to the stream after the branch is added (OPT 350m). */
    bool norms_of_sums;
    bool norms_no_gain; /* norms have no weights */
    bool gain_offset;   /* files store gains minus 1 */
    /* Both branches read the stream that enters the block; an MLP without a norm of its own shares
     * the attention's norm. */
    bool parallel;
    bool embedding_norm;   /* the embedding has a norm before block 0 */
    bool scaled_embedding; /* the embedding is multiplied by sqrt(d) */
    cbe_positions positions;
    size_t position_offset; /* learned positions: rows of the table before position 0 */
    cbe_qk_norm qk_norm;
    bool unscaled_scores; /* scores lack the factor 1 / sqrt(head size) */
    bool gated;           /* MLP: activation(gate) * up, not activation(up) */
    cbe_activation activation;
    cbe_bias qkv_bias, attention_out_bias, mlp_bias, unembedding_bias;
} cbe_traits;

/** Rule for which blocks are local: they see only a window of keys. */
typedef enum {
    CBE_WINDOW_NONE = 0,
    CBE_WINDOW_ALL,    /* all blocks, if there is a window */
    CBE_WINDOW_PERIOD, /* all blocks but the last of each period */
    CBE_WINDOW_FROM,   /* blocks from max_window_layers on, if use_sliding_window is true */
    CBE_WINDOW_LISTED  /* attention_layers or attention_types, block by block */
} cbe_window_rule;

/** Keys of config.json that are read for some families only. */
enum {
    CBE_KEY_ATTENTION_BIAS = 1, /* attention_bias: bias of q, k, v and the output */
    CBE_KEY_MLP_BIAS = 2,       /* mlp_bias */
    CBE_KEY_PARALLEL = 4,       /* use_parallel_residual */
    CBE_KEY_QK_NORM = 8,        /* qk_layernorm */
    CBE_KEY_LOGIT_SOFTCAP = 16, /* final_logit_softcapping */
    CBE_KEY_SCORE_SCALE = 32,   /* scale_attn_weights, scale_attn_by_inverse_layer_idx */
    CBE_KEY_OPT = 64            /* enable_bias, do_layer_norm_before, word_embed_proj_dim.. */
};

/** Values of keys that a configuration leaves out. */
typedef struct {
    double norm_eps;
    size_t head_size;        /* 0: hidden size / heads */
    double rope_base;        /* 0: 10,000 */
    double local_rope_base;  /* rope_base of local blocks; 0: that of global blocks */
    double rotary_share;     /* rotated share of a head's dimensions; 0: all */
    size_t rotary_size;      /* number of rotated dimensions; 0: by rotary_share */
    double original_context; /* original context of rescaled rotary embeddings; 0: max_context */
    cbe_window_rule window_rule;
    size_t window, window_period;
    /* scores are divided by its square root; 0: the head size */
    double query_scalar;
    double attention_softcap, logit_softcap; /* 0: none; attn_logit_softcapping is then not read */
    bool logit_softcap_key;                  /* final_logit_softcapping is read */
    bool wide_mlp;                           /* the MLP size is 4 d unless it is given */
    bool tied;                               /* the unembedding is the embedding */
    unsigned keys;                           /* CBE_KEY_ATTENTION_BIAS | ... */
} cbe_family_defaults;

/** Roles of tensors. Roles from CBE_ROLE_ATTENTION_NORM on exist once for each block. */
typedef enum {
    CBE_ROLE_EMBEDDING = 0,
    CBE_ROLE_POSITION,
    CBE_ROLE_EMBEDDING_NORM,
    CBE_ROLE_PROJECT_IN,  /* (d, e) from the embedding size to the hidden size */
    CBE_ROLE_PROJECT_OUT, /* (e, d) back to the embedding size, before the unembedding */
    CBE_ROLE_FINAL_NORM,
    CBE_ROLE_UNEMBEDDING,
    CBE_ROLE_ATTENTION_NORM,
    CBE_ROLE_QKV, /* query, key and value in one */
    CBE_ROLE_QUERY,
    CBE_ROLE_KEY,
    CBE_ROLE_VALUE,
    CBE_ROLE_QUERY_NORM,
    CBE_ROLE_KEY_NORM,
    CBE_ROLE_ATTENTION_OUT,
    CBE_ROLE_AFTER_ATTENTION_NORM,
    CBE_ROLE_MLP_NORM,
    CBE_ROLE_GATE_UP, /* gate and up in one */
    CBE_ROLE_GATE,
    CBE_ROLE_UP,
    CBE_ROLE_DOWN,
    CBE_ROLE_AFTER_MLP_NORM,
    CBE_N_ROLES,
    CBE_FIRST_BLOCK_ROLE = CBE_ROLE_ATTENTION_NORM
} cbe_tensor_role;

enum { CBE_MAX_PREFIXES = 3, CBE_MAX_IGNORED = 4 };

/** Names without their ending, .weight or .bias. */
typedef struct {
    /* Prefixes of every name but the unembedding's; the first one found in the file is used, and
     * the last is "". */
    const char *prefixes[CBE_MAX_PREFIXES];
    const char *block_prefix; /* "layers.": stands before a block's number and a dot */
    /* name of each role, in a block behind the dot; NULL: files have no such tensor */
    const char *roles[CBE_N_ROLES];
    const char *unembedding_too; /* another name of the unembedding; NULL: there is none */
    /* whole names of buffers in blocks, which hold no weights */
    const char *ignored[CBE_MAX_IGNORED];
    /* Rows of QKV are q, k, v of the first head, then of the next head; else all queries, all keys,
     * all values. */
    bool qkv_by_head;
    bool transposed;         /* matrices of blocks are stored [in, out] */
    bool interleaved_rotary; /* rows of q and k: rotary pairs side by side, not half apart */
} cbe_tensor_names;

typedef struct {
    /* general.architecture of GGUF; model_type of config.json; NULL: the family has no files of the
     * format. */
    const char *name[CBE_N_FORMATS];
    cbe_traits traits;
    cbe_family_defaults defaults;
    const cbe_tensor_names *tensors[CBE_N_FORMATS];
    const cbe_family_keys *keys; /* of config.json */
} cbe_family;

/** The family of a name (length bytes, not ended by a 0), borrowed, static; NULL if it is
 * unknown. */
const cbe_family *cbe_family_find(cbe_model_format format, const char *name, size_t length);
/** Lists the names of all families for messages, separated by commas, cut to size bytes. */
void cbe_family_list(cbe_model_format format, char *out, size_t size);

#endif
