/*
 * vocabulary.h - small byte-level vocabularies, and GGUF files made of them.
 */
#ifndef CBE_TESTS_VOCABULARY_H
#define CBE_TESTS_VOCABULARY_H

#include <stddef.h>
#include <stdint.h>

#include "formats/gguf.h"

enum { CBE_TEST_MAX_TOKENS = 600, CBE_TEST_TOKEN_SIZE = 256 };

/** Contents of a GGUF file; a test changes the members that it is about. */
typedef struct {
    const char *model, *pre; /* NULL: the key is left out */
    size_t n_tokens, n_merges, n_kinds;
    char tokens[CBE_TEST_MAX_TOKENS][CBE_TEST_TOKEN_SIZE]; /* as files write them, ended by a 0 */
    char merges[CBE_TEST_MAX_TOKENS][CBE_TEST_TOKEN_SIZE];
    int64_t kinds[CBE_TEST_MAX_TOKENS];
    int64_t bos, eos;     /* negative: left out */
    int add_bos, add_eos; /* negative: left out */
} cbe_test_vocabulary;

/** Fills in one token for each byte, its id the byte, model "gpt2" and pre "gpt-2", without
 * merges. */
void cbe_test_vocabulary_init(cbe_test_vocabulary *vocabulary);
/** Adds a token as files write it; returns its id. */
size_t cbe_test_add_token(cbe_test_vocabulary *vocabulary, const char *text, int64_t kind);
/** Adds a merge and the token that it makes; returns the token's id. */
size_t cbe_test_add_merge(cbe_test_vocabulary *vocabulary, const char *left, const char *right);
/** Makes spans of n strings, borrowed from the vocabulary. */
void cbe_test_spans(cbe_span *out, char (*strings)[CBE_TEST_TOKEN_SIZE], size_t n);

/** Path for a file that a test writes, in a new folder under $TMPDIR, which cbe_test_remove
 * removes. Static memory, valid until the next call. */
const char *cbe_test_temporary(const char *name);
void cbe_test_remove(const char *path); /* removes the file and its folder */
/** Writes length bytes to path. */
void cbe_test_write(const char *path, const void *bytes, size_t length);
/** Writes the vocabulary as a GGUF file without tensors. */
void cbe_test_write_vocabulary(const char *path, const cbe_test_vocabulary *vocabulary);

#endif
