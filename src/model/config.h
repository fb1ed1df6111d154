/*
 * config.h - what a model's metadata says, read from GGUF keys or from config.json and checked.
 */
#ifndef CBE_MODEL_CONFIG_H
#define CBE_MODEL_CONFIG_H

#include "formats/gguf.h"
#include "model/model.h"
#include "model/family.h"
#include "model/rope.h"

/** What a block's attention reaches: every earlier token, or a window of them. */
typedef enum { CBE_REACH_GLOBAL = 0, CBE_REACH_LOCAL, CBE_N_REACHES } cbe_reach;

enum { CBE_MAX_LOCAL_BLOCKS = 1024 }; /* blocks of a model that has local ones */

typedef struct {
    cbe_model_config sizes;
    const cbe_family *family;
    cbe_traits traits;   /* the family's, with what the metadata change in them */
    size_t rotary_size;  /* leading dimensions of a head that are rotated; even */
    double rotary_share; /* the same as a share of the head; used while rotary_size is 0 */
    cbe_rope rope[CBE_N_REACHES];
    size_t window; /* tokens that a local block sees, the current one included */
    bool local[CBE_MAX_LOCAL_BLOCKS];
    double query_scale;                      /* scores are q . k times this, */
    bool scale_by_block;                     /* divided by the block's number from 1 on */
    double attention_softcap, logit_softcap; /* 0: none */
    size_t embedding_size;                   /* e: d, or what is projected to it */
    bool tied;                               /* the unembedding is the embedding */
    bool final_norm;
} cbe_config;

/** @return CBE_OK; CBE_ERR_FORMAT for a key that is missing, of the wrong type or out of range
 *          (named); CBE_ERR_UNSUPPORTED for an architecture or option that we do not compute
 *          (named) */
cbe_status cbe_config_from_gguf(cbe_config *out, const cbe_gguf *file, cbe_error *err);

/** The same from the text of a config.json, with the keys of transformers 4 or 5.
 * @param path  named in messages */
cbe_status cbe_config_from_json(cbe_config *out, const char *text, size_t length, const char *path,
                                cbe_error *err);

cbe_reach cbe_config_reach(const cbe_config *config, size_t block);

/* For the two readers above. */

enum { CBE_CONFIG_SIZE_MAX = 1 << 24 };

/** A configuration with all that the family says, and no sizes. */
void cbe_config_init(cbe_config *config, const cbe_family *family);
/** Which blocks are local, by a rule that needs no list: all but the last of each `period` (not 0),
 * or those not before `from`. None when there is no window. CBE_ERR_UNSUPPORTED: too many
 * blocks. */
cbe_status cbe_config_set_windows(cbe_config *config, cbe_window_rule rule, size_t period,
                                  size_t from, const char *path, cbe_error *err);
/** Whether every angle of rotary embeddings, up to the last position that the model has, is finite
 * in float32; CBE_ERR_FORMAT where one is not, as its sine is NaN in PyTorch then. */
cbe_status cbe_config_check_angles(const cbe_config *config, const char *path, cbe_error *err);
/** Fills in the sizes that have defaults and checks that all fit together.
 * @param path  named in messages, with the keys of that format */
cbe_status cbe_config_finish(cbe_config *config, cbe_model_format format, const char *path,
                             cbe_error *err);

#endif
