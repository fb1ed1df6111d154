/*
 * family.h - what tells one family of models from another: a table entry each, not a forward pass.
 *
 * A block is always the same sequence of operations (forward.c); traits say which of them there
 * are and of which kind, tensor names say where a file keeps their weights. Adding a family:
 * docs/adding-a-model.md.
 */
#ifndef CBE_MODEL_FAMILY_H
#define CBE_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "model/decoder.h"
#include "model/activation.h"

/** Where a model comes from; names of tensors and keys, and the order of rows, depend on it. */
typedef enum { CBE_FORMAT_GGUF = 0, CBE_FORMAT_HUGGING_FACE, CBE_N_FORMATS } cbe_model_format;

/** How a token's place enters. */
typedef enum {
    CBE_POSITIONS_ROTARY = 0, /* queries and keys are rotated (rope.h) */
    CBE_POSITIONS_LEARNED,    /* a vector for each position is added to the embedding */
    CBE_POSITIONS_ALIBI       /* scores fall with the distance (attention.h) */
} cbe_positions;

/** Norms of queries and keys, before they are rotated. */
typedef enum {
    CBE_QK_NORM_NONE = 0,
    CBE_QK_NORM_HEAD, /* each head by itself, one gain (head_size) for all of them */
    CBE_QK_NORM_WHOLE /* all heads together, a gain of their whole width */
} cbe_qk_norm;

/** Which of a block's norms there are: before a branch (attention or MLP) reads the stream, and
 * of what the branch adds to it. */
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
    CBE_BIAS_ALWAYS,    /* a missing one is an error */
    CBE_BIAS_IF_PRESENT /* GGUF, whose metadata do not say */
} cbe_bias;

/** What the forward pass does in a block and before the first one. */
typedef struct {
    cbe_norm norm;
    unsigned norms; /* CBE_NORM_BEFORE_ATTENTION | ... */
    /* the norms `before` are instead taken of the stream, once the branch was added (OPT 350m) */
    bool norms_of_sums;
    bool norms_no_gain; /* norms have no weights */
    bool gain_offset;   /* files store gains less 1 */
    /* both branches read the stream that enters the block; without a norm of its own the MLP shares
     * that of the attention */
    bool parallel;
    bool embedding_norm;   /* of the embedding, before block 0 */
    bool scaled_embedding; /* times sqrt(d) */
    cbe_positions positions;
    size_t position_offset; /* learned positions: rows of the table before position 0 */
    cbe_qk_norm qk_norm;
    bool unscaled_scores; /* no 1 / sqrt(head size) */
    bool gated;           /* MLP: activation(gate) * up, not activation(up) */
    cbe_activation activation;
    cbe_bias qkv_bias, attention_out_bias, mlp_bias, unembedding_bias;
} cbe_traits;

/** Which blocks are local, that is, see a window of keys only. */
typedef enum {
    CBE_WINDOW_NONE = 0,
    CBE_WINDOW_ALL,    /* all, when there is a window */
    CBE_WINDOW_PERIOD, /* all but the last of each period */
    CBE_WINDOW_FROM,   /* from block max_window_layers on, when use_sliding_window says so */
    CBE_WINDOW_LISTED  /* attention_layers or attention_types, block by block */
} cbe_window_rule;

/** Keys of config.json that some families have; in other families' files they mean nothing. */
enum {
    CBE_KEY_ATTENTION_BIAS = 1, /* attention_bias: of q, k, v and the output */
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
    double local_rope_base;  /* of local blocks; 0: the same as of the others */
    double rotary_share;     /* of a head's dimensions; 0: all */
    size_t rotary_size;      /* the same as a number of them; 0: by rotary_share */
    double original_context; /* of rescaled rotary embeddings; 0: max_context */
    cbe_window_rule window_rule;
    size_t window, window_period;
    double query_scalar;                     /* scores are divided by its root; 0: the head size */
    double attention_softcap, logit_softcap; /* 0: none, and the attention's key is not read */
    bool logit_softcap_key;                  /* final_logit_softcapping is read */
    bool wide_mlp;                           /* MLP size 4 d unless it is given */
    bool tied;                               /* the unembedding is the embedding */
    unsigned keys;                           /* CBE_KEY_ATTENTION_BIAS | ... */
} cbe_family_defaults;

/** What a tensor is for. Those from CBE_ROLE_ATTENTION_NORM on exist once for each block. */
typedef enum {
    CBE_ROLE_EMBEDDING = 0,
    CBE_ROLE_POSITION,
    CBE_ROLE_EMBEDDING_NORM,
    CBE_ROLE_PROJECT_IN,  /* (d, e) from the embedding's own size to the hidden size */
    CBE_ROLE_PROJECT_OUT, /* (e, d) back, before the unembedding */
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
    /* What may stand before every name but the unembedding's; the first that is there counts,
     * "" in the end. */
    const char *prefixes[CBE_MAX_PREFIXES];
    const char *block_prefix;       /* "layers.": stands before a block's number and a dot */
    const char *roles[CBE_N_ROLES]; /* of blocks: what follows that dot; NULL: not in such files */
    const char *ignored[CBE_MAX_IGNORED]; /* of blocks: buffers that hold no weights, whole names */
    /* rows of QKV: q, k, v of the first head, then of the next; else all queries, all keys, all
     * values */
    bool qkv_by_head;
    bool transposed;         /* matrices of blocks are stored [in, out] */
    bool interleaved_rotary; /* rows of q and k: rotary pairs side by side, not half apart */
} cbe_tensor_names;

typedef struct {
    /* general.architecture of GGUF; model_type of config.json; NULL: not in that format. */
    const char *name[CBE_N_FORMATS];
    cbe_traits traits;
    cbe_family_defaults defaults;
    const cbe_tensor_names *tensors[CBE_N_FORMATS];
} cbe_family;

/** The family of that name (length bytes, not ended by 0); borrowed, static; NULL when unknown. */
const cbe_family *cbe_family_find(cbe_model_format format, const char *name, size_t length);
/** Names of all families, separated by commas, cut to size bytes: for messages. */
void cbe_family_list(cbe_model_format format, char *out, size_t size);

#endif
