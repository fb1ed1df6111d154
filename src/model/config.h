/*
 * config.h - what a model's metadata says, read from GGUF keys or from config.json and checked.
 */
#ifndef CBE_MODEL_CONFIG_H
#define CBE_MODEL_CONFIG_H

#include "cbe/gguf.h"
#include "cbe/model.h"
#include "model/family.h"
#include "model/rope.h"

typedef struct {
    cbe_model_config sizes;
    const cbe_family *family;
    cbe_rope rope;
    bool tied; /* the unembedding is the embedding */
} cbe_config;

/** @return CBE_OK; CBE_ERR_FORMAT for a key that is missing, of the wrong type or out of range
 *          (named); CBE_ERR_UNSUPPORTED for an architecture or option that we do not compute
 *          (named) */
cbe_status cbe_config_from_gguf(cbe_config *out, const cbe_gguf *file, cbe_error *err);

/** The same from the text of a config.json, with the keys of transformers 4 or 5.
 * @param path  named in messages */
cbe_status cbe_config_from_json(cbe_config *out, const char *text, size_t length, const char *path,
                                cbe_error *err);

/* For the two readers above: the sizes that both have, under their two names. */

typedef struct {
    const char *key[CBE_N_FORMATS]; /* GGUF: after the architecture's name and a dot */
    size_t offset;                  /* of a size_t in cbe_model_config */
    bool required; /* otherwise 0 when absent, and cbe_config_finish may fill it in */
} cbe_config_size;

enum { CBE_N_CONFIG_SIZES = 8, CBE_CONFIG_SIZE_MAX = 1 << 24 };
extern const cbe_config_size cbe_config_sizes[CBE_N_CONFIG_SIZES];

/** Fills in the sizes that have defaults and checks that all fit together.
 * @param path  named in messages, with the keys of that format */
cbe_status cbe_config_finish(cbe_config *config, cbe_model_format format, const char *path,
                             cbe_error *err);

#endif
