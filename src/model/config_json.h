/*
 * config_json.h - the parts of reading config.json.
 */
#ifndef CBE_MODEL_CONFIG_JSON_H
#define CBE_MODEL_CONFIG_JSON_H

#include <jansson.h>

#include "model/config.h"

/** Rotary embeddings of both reaches, their scaling, and how much of a head is rotated. */
cbe_status cbe_config_json_rope(const json_t *root, const char *path, cbe_config *config,
                                cbe_error *err);
/** Which blocks are local, and their window. Sizes must be known. */
cbe_status cbe_config_json_windows(const json_t *root, const char *path, cbe_config *config,
                                   cbe_error *err);

#endif
