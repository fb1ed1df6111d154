/*
 * charsmap.h - SentencePiece's tables of normalisation ("precompiled_charsmap"), applied as the
 * library tokenizers applies them.
 *
 * Grammar, numbers little-endian: u32 size of the trie in bytes; the trie, a double array of u32
 * (Darts-clone); texts, each ended by a 0. The trie leads from the bytes of a piece of text to the
 * place of the text that replaces it.
 */
#ifndef CBE_TOKENIZER_CHARSMAP_H
#define CBE_TOKENIZER_CHARSMAP_H

#include <stddef.h>

#include "core/byte_buffer.h"

typedef struct cbe_charsmap cbe_charsmap;

/** Reads a table of size bytes, which are copied. No bytes are a table that replaces nothing.
 * @param path  the table's file, for messages
 * @return CBE_OK; CBE_ERR_FORMAT (the table contradicts itself); CBE_ERR_NOMEM */
cbe_status cbe_charsmap_create(cbe_charsmap **out, const void *bytes, size_t size, const char *path,
                               cbe_error *err);
/** The same of a table in base64, as tokenizer.json has it. */
cbe_status cbe_charsmap_create_base64(cbe_charsmap **out, const char *text, size_t length,
                                      const char *path, cbe_error *err);
void cbe_charsmap_free(cbe_charsmap *map); /* NULL is allowed */

/** Appends text, with what the table replaces replaced, to *out. A grapheme of less than six bytes
 * is looked up as a whole, a character of a longer one alone, and what a table has for the shortest
 * beginning of it replaces all of it. Thread-safe.
 * @param text  length bytes of well-formed UTF-8
 * @return CBE_OK; CBE_ERR_FORMAT (the table leads out of itself); CBE_ERR_NOMEM */
cbe_status cbe_charsmap_apply(const cbe_charsmap *map, const char *text, size_t length,
                              cbe_byte_buffer *out, cbe_error *err);

#endif
