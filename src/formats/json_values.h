/*
 * json_values.h - building values of JSON files. Reading: formats/json_keys.h.
 *
 * A value is NULL if memory is short, and so is every value that jansson builds from NULL.
 */
#ifndef CBE_FORMATS_JSON_VALUES_H
#define CBE_FORMATS_JSON_VALUES_H

#include <jansson.h>

/** A number; null for infinity and NaN, which JSON does not have. */
json_t *cbe_json_of_number(double value);
/** A string. Ill-formed parts become U+FFFD, since JSON is UTF-8 and names of files need not be.
 * NULL becomes null. */
json_t *cbe_json_of_text(const char *text);
/** The array with one more value; takes over both. NULL if memory is short or either is NULL, so
 * that a built array is complete or NULL. */
json_t *cbe_json_append(json_t *array, json_t *value);
/** The object with one more key; takes over both. NULL as in cbe_json_append. */
json_t *cbe_json_put(json_t *object, const char *key, json_t *value);
/** The object with the keys of `more`; takes over both. NULL as in cbe_json_append. */
json_t *cbe_json_join(json_t *object, json_t *more);

#endif
