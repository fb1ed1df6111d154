/*
 * byte_characters.h - the printable character that vocabularies of byte-level BPE write for each
 * byte.
 *
 * GPT-2's table: 0x21-0x7e, 0xa1-0xac and 0xae-0xff are the character of that number, the others in
 * order U+0100, U+0101, ...: a space is "Ġ" (U+0120).
 */
#ifndef CBE_TEXT_BYTE_CHARACTERS_H
#define CBE_TEXT_BYTE_CHARACTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/gguf.h"

/** The character of a byte below 256. */
int32_t cbe_byte_character(unsigned byte);
/** Bytes that the characters of text stand for, at most text.length of them. false when the text is
 * empty, not UTF-8 or holds a character that stands for no byte. */
bool cbe_bytes_of_characters(cbe_span text, char *out, size_t *length);

#endif
