/* fuzz_tokenizer.h - what a tokenizer that could be loaded is tried on. */
#ifndef CBE_TESTS_FUZZ_TOKENIZER_H
#define CBE_TESTS_FUZZ_TOKENIZER_H

#include "tokenizer/tokenizer.h"

/** Encodes a text of length bytes, and decodes the ids again. */
void fuzz_encode(const cbe_tokenizer *tokenizer, const char *text, size_t length);
/** The same with a short text of several scripts, and decodes the first ids of the vocabulary; then
 * frees the tokenizer. */
void fuzz_use_tokenizer(cbe_tokenizer *tokenizer);

#endif
