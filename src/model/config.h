/*
 * config.h - a model's configuration, read from GGUF keys or from config.json and checked.
 */
#ifndef CBE_MODEL_CONFIG_H
#define CBE_MODEL_CONFIG_H

#include "core/remarks.h"
#include "formats/gguf.h"
#include "model/model.h"
#include "model/family.h"
#include "model/rope.h"

/** Reach of a block's attention: every earlier token, or a window of tokens. */
typedef enum { CBE_REACH_GLOBAL = 0, CBE_REACH_LOCAL, CBE_N_REACHES } cbe_reach;

enum { CBE_MAX_LOCAL_BLOCKS = 1024 }; /* most blocks of a model with local blocks */

typedef struct {
    cbe_model_config sizes;
    const cbe_family *family;
    cbe_traits traits;   /* the family's traits, as the metadata change them */
    size_t rotary_size;  /* number of leading dimensions of a head that are rotated; even */
    double rotary_share; /* the rotated share of a head; used while rotary_size is 0 */
    cbe_rope rope[CBE_N_REACHES];
    size_t window; /* tokens that a local block sees, the current one included */
    bool local[CBE_MAX_LOCAL_BLOCKS];
    double query_scale; /* scores are q . k times this */
    /* query_scale is also divided by the block's number, from 1 on */
    bool scale_by_block;
    double attention_softcap, logit_softcap; /* 0: none */
    size_t embedding_size;                   /* e; if it is not d, embeddings are projected to d */
    bool tied;                               /* the unembedding is the embedding */
    /* The first size that config.json leaves out, static, and its value; NULL: none. */
    const char *assumed_key;
    size_t assumed_size;
    bool final_norm;
} cbe_config;

/** Reads the configuration of a GGUF file.
 * @param remarks  what is to be told of the file is added; NULL: nobody listens
 * @return CBE_OK; CBE_ERR_FORMAT for a key that is missing, of the wrong type or out of range
 *          (named); CBE_ERR_UNSUPPORTED for an architecture or option that the forward pass does
 *          not have (named) */
cbe_status cbe_config_from_gguf(cbe_config *out, const cbe_gguf *file, cbe_remarks *remarks,
                                cbe_error *err);

/** Reads the configuration from the text of a config.json, with the keys of transformers 4 or 5.
 * @param path  named in messages
 * @return as cbe_config_from_gguf; CBE_ERR_NOMEM */
cbe_status cbe_config_from_json(cbe_config *out, const char *text, size_t length, const char *path,
                                cbe_error *err);

/** Reach of a block's attention. */
cbe_reach cbe_config_reach(const cbe_config *config, size_t block);

/* For the two functions above. */

enum { CBE_CONFIG_SIZE_MAX = 1 << 24 };

/** Fills in the family's traits and defaults; sizes are 0. */
void cbe_config_init(cbe_config *config, const cbe_family *family);
/** Sets which blocks are local, by a rule without a list: all but the last of each `period` (not
 * 0), or the blocks from `from` on. No block is local if there is no window.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED: too many blocks */
cbe_status cbe_config_set_windows(cbe_config *config, cbe_window_rule rule, size_t period,
                                  size_t from, const char *path, cbe_error *err);
/** Checks that every angle of rotary embeddings, up to the model's last position, is finite in
 * float32: PyTorch's sine of an infinite angle would be NaN. @return CBE_OK, CBE_ERR_FORMAT */
cbe_status cbe_config_check_angles(const cbe_config *config, const char *path, cbe_error *err);
/** Adds to an error that may follow from a size which config.json leaves out what was taken for it.
 * @return st */
cbe_status cbe_config_explain(const cbe_config *config, cbe_status st, cbe_error *err);
/** Fills in the sizes that have defaults and checks that all values agree.
 * @param path  named in messages, with the keys of that format
 * @return as cbe_config_from_gguf */
cbe_status cbe_config_finish(cbe_config *config, cbe_model_format format, const char *path,
                             cbe_error *err);

#endif
