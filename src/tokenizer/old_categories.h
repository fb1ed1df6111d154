/*
 * old_categories.h - general categories of characters as the library tokenizers has them in some of
 * its steps: those of older versions of Unicode, so that newer characters are none of them.
 */
#ifndef CBE_TOKENIZER_OLD_CATEGORIES_H
#define CBE_TOKENIZER_OLD_CATEGORIES_H

#include <stdbool.h>
#include <stdint.h>

/** Controls, format characters and private use, but no tab, line feed and carriage return. */
bool cbe_old_category_is_other(int32_t character);
/** Marks that take no space. */
bool cbe_old_category_is_nonspacing_mark(int32_t character);
/** Marks of all kinds. */
bool cbe_old_category_is_mark(int32_t character);

/** A class of a regular expression: punctuation, and ASCII's symbols. */
extern const char cbe_old_punctuation[];

#endif
