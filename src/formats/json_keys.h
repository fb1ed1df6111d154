/*
 * json_keys.h - keys of a JSON object with their types checked, for config.json.
 *
 * Each function leaves *out untouched if the key is absent or null. A value of another type, or out
 * of range, is CBE_ERR_FORMAT, and the message names file and key.
 */
#ifndef CBE_FORMATS_JSON_KEYS_H
#define CBE_FORMATS_JSON_KEYS_H

#include "formats/json.h"

/** An integer from 1 to max. */
cbe_status cbe_json_size(yyjson_val *object, const char *key, size_t max, const char *path,
                         size_t *out, cbe_error *err);
/** A number; a boolean. */
cbe_status cbe_json_double(yyjson_val *object, const char *key, const char *path, double *out,
                           cbe_error *err);
cbe_status cbe_json_bool(yyjson_val *object, const char *key, const char *path, bool *out,
                         cbe_error *err);
/** A string, borrowed from the object. */
cbe_status cbe_json_string(yyjson_val *object, const char *key, const char *path, const char **out,
                           cbe_error *err);
/** An array of at most max numbers; *count too is untouched if the key is absent. */
cbe_status cbe_json_doubles(yyjson_val *object, const char *key, size_t max, const char *path,
                            double *out, size_t *count, cbe_error *err);
/** Fails with CBE_ERR_FORMAT and "path: key 'key' must be `expected`". */
cbe_status cbe_json_wrong_type(const char *path, const char *key, const char *expected,
                               cbe_error *err);

#endif
