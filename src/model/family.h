/*
 * family.h - what tells one family of models from another: a table entry each, not a forward pass.
 */
#ifndef CBE_MODEL_FAMILY_H
#define CBE_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

/** Where a model comes from; names of tensors and keys, and the order of rotary rows, depend on
 * it. */
typedef enum { CBE_FORMAT_GGUF = 0, CBE_FORMAT_HUGGING_FACE, CBE_N_FORMATS } cbe_model_format;

/** What a tensor is for. Those from CBE_ROLE_ATTENTION_NORM on exist once for each block. */
typedef enum {
    CBE_ROLE_EMBEDDING = 0,
    CBE_ROLE_FINAL_NORM,
    CBE_ROLE_UNEMBEDDING,
    CBE_ROLE_ATTENTION_NORM,
    CBE_ROLE_QUERY,
    CBE_ROLE_KEY,
    CBE_ROLE_VALUE,
    CBE_ROLE_ATTENTION_OUT,
    CBE_ROLE_MLP_NORM,
    CBE_ROLE_GATE,
    CBE_ROLE_UP,
    CBE_ROLE_DOWN,
    CBE_N_ROLES,
    CBE_FIRST_BLOCK_ROLE = CBE_ROLE_ATTENTION_NORM
} cbe_tensor_role;

enum { CBE_MAX_IGNORED = 4 };

typedef struct {
    const char *optional_prefix;    /* "model.": some files leave it out of every name; "" */
    const char *block_prefix;       /* "layers.": stands before a block's number and a dot */
    const char *roles[CBE_N_ROLES]; /* of blocks: what follows that dot */
    const char
        *ignored[CBE_MAX_IGNORED]; /* of blocks: buffers that hold no weights; ends with NULL */
    bool interleaved_rotary;       /* rows of q and k: pairs side by side, not half a head apart */
} cbe_tensor_names;

typedef struct {
    const char *name[CBE_N_FORMATS]; /* general.architecture of GGUF; model_type of config.json */
    cbe_tensor_names tensors[CBE_N_FORMATS];
} cbe_family;

/** The family of that name (length bytes, not ended by 0); borrowed, static; NULL when unknown. */
const cbe_family *cbe_family_find(cbe_model_format format, const char *name, size_t length);
/** Names of all families, separated by commas, cut to size bytes: for messages. */
void cbe_family_list(cbe_model_format format, char *out, size_t size);

#endif
