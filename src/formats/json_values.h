/*
 * json_values.h - values of JSON files that are written. Reading: formats/json_keys.h.
 *
 * Where memory is short they are NULL, and jansson makes NULL of what is built from NULL.
 */
#ifndef CBE_FORMATS_JSON_VALUES_H
#define CBE_FORMATS_JSON_VALUES_H

#include <jansson.h>

/** JSON has no infinity or NaN: null stands for them. */
json_t *cbe_json_of_number(double value);
/** JSON is UTF-8, names of files need not be: what is not well-formed becomes U+FFFD. NULL becomes
 * null. */
json_t *cbe_json_of_text(const char *text);
/** The array with one more; both are taken. Or NULL; a NULL array stays NULL. So what is built is
 * whole or NULL. */
json_t *cbe_json_append(json_t *array, json_t *value);
/** The object with one more key; both are taken. Or NULL, as above. */
json_t *cbe_json_put(json_t *object, const char *key, json_t *value);
/** The object with the keys of another; both are taken. Or NULL, as above. */
json_t *cbe_json_join(json_t *object, json_t *more);

#endif
