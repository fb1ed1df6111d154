/*
 * byte_characters.h - the printable characters that stand for bytes in vocabularies of byte-level
 * BPE.
 *
 * GPT-2's table: bytes 0x21-0x7e, 0xa1-0xac and 0xae-0xff are the character of that number, the
 * other bytes in order U+0100, U+0101, ...: a space is "Ġ" (U+0120).
 */
#ifndef CBE_TOKENIZER_BYTE_CHARACTERS_H
#define CBE_TOKENIZER_BYTE_CHARACTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/byte_buffer.h"
#include "formats/gguf.h"

/** The character of a byte below 256. */
int32_t cbe_byte_character(unsigned byte);
/** Appends the characters of length bytes, as UTF-8. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_put_byte_characters(cbe_byte_buffer *out, const char *bytes, size_t length,
                                   cbe_error *err);
/** Writes the bytes that the characters of text stand for to out, at most text.length bytes.
 * @return false if the text is empty, not UTF-8 or has a character that stands for no byte */
bool cbe_bytes_of_characters(cbe_span text, char *out, size_t *length);

#endif
