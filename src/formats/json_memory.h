/*
 * json_memory.h - JSON texts read and built, with lack of memory noticed.
 *
 * jansson 2.14 overlooks some allocations that fail: a key that is read loses a letter, an array
 * that is built an entry, and its parser may end the process (assert in lex_scan_string). So its
 * allocator is watched: the one that jansson has is called as before, and a failure remembered for
 * its thread. A parser of ours is left at once, by longjmp.
 *
 * jansson's allocator is one for the whole process. It is watched from the first cbe_json_begin to
 * the last cbe_json_end of all threads, and as it was outside. Values may be freed later, as both
 * allocators give the same blocks.
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

/** Before values are built; each call needs one of cbe_json_end. */
void cbe_json_begin(void);
/** The text of a value that was built since cbe_json_begin, with the flags of json_dumps; the value
 * is taken. To free(), of the C library. NULL: the value is NULL, as it is when no text is wanted,
 * or memory was short for any part of it. */
char *cbe_json_end(json_t *value, size_t flags);
/** Whether memory was short since the thread's last cbe_json_begin. */
bool cbe_json_short(void);

#endif
