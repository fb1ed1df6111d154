/*
 * json_memory.h - JSON texts read and built, with lack of memory noticed.
 *
 * jansson 2.14 overlooks some allocations that fail: a key that is read loses a letter, an array
 * that is built an entry, and its parser may end the process (assert in lex_scan_string). So its
 * allocator is wrapped: the allocator that is set when the library first reads or builds JSON is
 * still called, and a failure is remembered for its thread. A call of our parser ends at once, by
 * longjmp.
 */
#ifndef CBE_FORMATS_JSON_MEMORY_H
#define CBE_FORMATS_JSON_MEMORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

/** Parses a text of length bytes; text NULL: an empty text. flags: those of json_loadb.
 * @param out      the caller drops it with json_decref
 * @param problem  [out] what is wrong with the text, if CBE_ERR_FORMAT is returned
 * @return CBE_OK; CBE_ERR_NOMEM, err names the path; CBE_ERR_FORMAT, the caller sets err */
cbe_status cbe_json_parse(json_t **out, const char *text, size_t length, size_t flags,
                          const char *path, json_error_t *problem, cbe_error *err);

/** Forgets earlier failures; call it before building values. */
void cbe_json_begin(void);
/** Text of a value built since cbe_json_begin, with the flags of json_dumps; takes over the value.
 * The caller frees the text with free(). NULL: the value is NULL, or memory was short for any part
 * of it. */
char *cbe_json_end(json_t *value, size_t flags);
/** Whether memory was short since cbe_json_begin. */
bool cbe_json_short(void);

#endif
