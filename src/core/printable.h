/*
 * printable.h - foreign text for a terminal: names, tokens and metadata are shown, never acted on.
 *
 * A question mark takes the place of each control character (C0, DEL, C1), of each character that
 * orders text from right to left, joins or hides characters or ends lines (U+061C, U+200B to
 * U+200F, U+2028 to U+202E, U+2060 to U+206F, U+FEFF, U+FFF9 to U+FFFB, the tags U+E0000 to
 * U+E007F, and a few more without a width), and of each part that is not UTF-8. Everything else
 * stays as it is.
 */
#ifndef CBE_CORE_PRINTABLE_H
#define CBE_CORE_PRINTABLE_H

#include <stddef.h>

/** Writes text (length bytes) to out (size bytes, at least 1) and a 0 behind it. Text from the
 * first character that does not fit is left out. out may be text itself.
 * @return the number of bytes written before the 0 */
size_t cbe_printable(char *out, size_t size, const char *text, size_t length);

/** Number of bytes, at most length, after which text can be cut without cutting through a
 * character. */
size_t cbe_whole_characters(const char *text, size_t length);

#endif
