/*
 * json_writer.h - JSON texts written. Reading: formats/json.h.
 *
 * Values are built within a writer, which owns them. Where memory is short a value is NULL, and
 * every function takes NULL, so that only the end must be looked at: it gives a whole text or none.
 */
#ifndef CBE_FORMATS_JSON_WRITER_H
#define CBE_FORMATS_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "cbe/status.h"

typedef struct {
    yyjson_mut_doc *doc; /* NULL: memory was short */
    bool whole;          /* everything so far was built */
} cbe_json_writer;

/** Begins a text. cbe_json_finish or cbe_json_drop ends it. */
cbe_json_writer cbe_json_start(void);
/** An empty object; an empty list. */
yyjson_mut_val *cbe_json_new_object(cbe_json_writer *w);
yyjson_mut_val *cbe_json_new_list(cbe_json_writer *w);
/** A number; null for infinity and NaN, which JSON does not have. */
yyjson_mut_val *cbe_json_new_number(cbe_json_writer *w, double value);
/** An integer. */
yyjson_mut_val *cbe_json_new_count(cbe_json_writer *w, uint64_t value);
/** A copied string; NULL becomes null. Parts that are not UTF-8 become U+FFFD, since JSON is UTF-8
 * and names of files need not be. */
yyjson_mut_val *cbe_json_new_string(cbe_json_writer *w, const char *text);

/** A list of n strings, as cbe_json_new_string makes them. */
yyjson_mut_val *cbe_json_new_strings(cbe_json_writer *w, const char *const *texts, size_t n);
/** Appends a value to a list. */
void cbe_json_append(cbe_json_writer *w, yyjson_mut_val *list, yyjson_mut_val *value);
/** Sets a key of an object to a value. The key is copied, and must be UTF-8. A key that is there
 * keeps its place and gets the value. */
void cbe_json_put(cbe_json_writer *w, yyjson_mut_val *object, const char *key,
                  yyjson_mut_val *value);
/** The same with a value made of a number, an integer, a string or a bool. */
void cbe_json_put_number(cbe_json_writer *w, yyjson_mut_val *object, const char *key, double value);
void cbe_json_put_count(cbe_json_writer *w, yyjson_mut_val *object, const char *key,
                        uint64_t value);
void cbe_json_put_string(cbe_json_writer *w, yyjson_mut_val *object, const char *key,
                         const char *text);
void cbe_json_put_flag(cbe_json_writer *w, yyjson_mut_val *object, const char *key, bool value);

/** The text of root, of several lines if `lines`; the caller frees it with cbe_free. NULL: memory
 * was short for a part of it. Ends the writer. */
char *cbe_json_finish(cbe_json_writer *w, yyjson_mut_val *root, bool lines);
/** Ends the writer without a text. */
void cbe_json_drop(cbe_json_writer *w);

#endif
