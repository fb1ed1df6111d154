/*
 * config_json.h - the parts of reading config.json.
 */
#ifndef CBE_MODEL_CONFIG_JSON_H
#define CBE_MODEL_CONFIG_JSON_H

#include "formats/json.h"
#include "model/config.h"

/** Reads rotary embeddings of both reaches, their scaling, and the rotated share of a head.
 * @return CBE_OK, CBE_ERR_FORMAT, CBE_ERR_UNSUPPORTED */
cbe_status cbe_config_json_rope(yyjson_val *root, const char *path, cbe_config *config,
                                cbe_error *err);
/** Reads which blocks are local, and their window. Sizes must be set.
 * @return CBE_OK, CBE_ERR_FORMAT, CBE_ERR_UNSUPPORTED */
cbe_status cbe_config_json_windows(yyjson_val *root, const char *path, cbe_config *config,
                                   cbe_error *err);

#endif
