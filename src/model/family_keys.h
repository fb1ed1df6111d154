/*
 * family_keys.h - which keys of config.json a family reads, and the values of keys that are not
 * there. They are those of the family's configuration class in transformers; a key of another
 * family means nothing, as there.
 */
#ifndef CBE_MODEL_FAMILY_KEYS_H
#define CBE_MODEL_FAMILY_KEYS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum {
    CBE_SIZE_HIDDEN = 0,
    CBE_SIZE_LAYERS,
    CBE_SIZE_HEADS,
    CBE_SIZE_KV_HEADS,
    CBE_SIZE_HEAD,
    CBE_SIZE_MLP,
    CBE_SIZE_VOCABULARY,
    CBE_SIZE_CONTEXT,
    CBE_N_SIZES
} cbe_size_kind;

/** A size: names of its key, of which the first that is there counts, and its value if none is. */
typedef struct {
    const char *names[2]; /* names[0] NULL: the size is not read */
    size_t absent;        /* 0: it follows from other sizes, or is not known */
} cbe_size_key;

/** Keys of one family. NULL: the family has no such key. */
typedef struct {
    cbe_size_key sizes[CBE_N_SIZES];
    const char *norm_eps, *activation;
    bool gelu_is_tanh; /* the activation "gelu" stands for the tanh form */
    /* Rotary embeddings; without rope_base neither rope_parameters nor rope_scaling is read. */
    const char *rope_base, *rope_share, *rotary_size;
    const char *rotary_head; /* size of a head in rotation alone, where attention has another key */
    const char *window;      /* size of the window of local blocks */
    const char *period;      /* every period-th block is global */
    bool layer_types;        /* layer_types says which blocks are local */
    const char *refused;     /* a flag that changes the computation if it is true */
} cbe_family_keys;

extern const cbe_family_keys cbe_llama_keys, cbe_mistral_keys, cbe_qwen2_keys, cbe_qwen3_keys,
    cbe_gemma_keys, cbe_gemma2_keys, cbe_gemma3_keys, cbe_phi_keys, cbe_phi3_keys, cbe_olmo2_keys,
    cbe_gpt2_keys, cbe_gpt_neo_keys, cbe_gptj_keys, cbe_gpt_neox_keys, cbe_opt_keys, cbe_bloom_keys;

#endif
