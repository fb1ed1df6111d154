/*
 * json.h - JSON texts read: config.json, tokenizers, indexes, records, headers and JSON lines.
 *
 * What Python's json and Rust's serde_json take is taken, with the same meaning:
 * - NaN, Infinity and -Infinity are numbers, and an integer beyond 64 bits is a real number;
 * - of equal keys of an object, the last counts;
 * - NUL may be part of a string and of a key;
 * - an escape of half a surrogate pair becomes U+FFFD;
 * - a byte order mark before the text is skipped, and the root may be of any type.
 * Values belong to their document. yyjson's accessors read them: yyjson_is_str, yyjson_get_len,
 * yyjson_arr_foreach and so on, all of which take NULL for a value that is missing. The keys of an
 * object are walked by CBE_JSON_EACH.
 */
#ifndef CBE_FORMATS_JSON_H
#define CBE_FORMATS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <yyjson.h>

#include "cbe/status.h"

/** Walks the keys of an object in their order; one that is NULL or no object has none, where
 * yyjson_obj_foreach would do arithmetic on NULL.
 * @param walk  a name for the walk
 * @param key, value  [out] yyjson_val * */
#define CBE_JSON_EACH(object, walk, key, value)                                                    \
    for (yyjson_obj_iter walk = yyjson_obj_iter_with(object);                                      \
         ((key) = yyjson_obj_iter_next(&walk)) && ((value) = yyjson_obj_iter_get_val(key));)

/** What is wrong with a text, and where: its byte, from 0, and its line, from 1. */
typedef struct {
    size_t byte, line;
    const char *text;
} cbe_json_problem;

/** Parses a text of length bytes; the caller frees *out with yyjson_doc_free.
 * @param n_replaced  [out] number of parts that were not UTF-8, each now U+FFFD; NULL: such a part
 *                    is an error
 * @param path        names the text in err
 * @param problem     [out] what is wrong with the text, where CBE_ERR_FORMAT is returned
 * @return CBE_OK; CBE_ERR_NOMEM, err is set; CBE_ERR_FORMAT, the caller sets err */
cbe_status cbe_json_parse(yyjson_doc **out, const char *text, size_t length, size_t *n_replaced,
                          const char *path, cbe_json_problem *problem, cbe_error *err);

/** Parses a file's text, which must be UTF-8; the caller frees *out with yyjson_doc_free.
 * @return CBE_OK, CBE_ERR_NOMEM, CBE_ERR_FORMAT: err names path, line and byte */
cbe_status cbe_json_read(yyjson_doc **out, const char *text, size_t length, const char *path,
                         cbe_error *err);

/** The value of a key; NULL: the key is absent, or object is no object. */
yyjson_val *cbe_json_at(yyjson_val *object, const char *key);
/** As cbe_json_at; NULL for null too. */
yyjson_val *cbe_json_get(yyjson_val *object, const char *key);
/** The string of a key, borrowed; NULL: the key is absent, or its value is no string. */
const char *cbe_json_text(yyjson_val *object, const char *key);

/** Whether Python takes a value for true: all but null, false, 0 and what is empty. */
bool cbe_json_is_true(yyjson_val *value);

#endif
