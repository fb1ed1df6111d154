/*
 * token_decoder.h - decoding tokens to text: a sequence of steps on a list of texts.
 */
#ifndef CBE_TOKENIZER_TOKEN_DECODER_H
#define CBE_TOKENIZER_TOKEN_DECODER_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/gguf.h"
#include "cbe/status.h"

/** Begins as zeros, which put spaces between tokens; freed by cbe_token_decoder_free. Functions
 * that add a step return CBE_OK or CBE_ERR_NOMEM. */
typedef struct {
    struct cbe_decoder_step *steps;
    size_t n_steps;
    bool joined;    /* there is a step, so tokens are joined without spaces */
    char *not_read; /* name of a step that is not supported: decoding then fails and names it */
} cbe_token_decoder;

/* zeroes *decoder; a zeroed struct is allowed */
void cbe_token_decoder_free(cbe_token_decoder *decoder);

/** Adds a step that replaces `from`, which is not empty, by `to`; both are copied. */
cbe_status cbe_token_decoder_add_replace(cbe_token_decoder *decoder, cbe_span from, cbe_span to,
                                         cbe_error *err);
/** Adds a step that replaces tokens "<0x0A>" by their bytes, and each byte that is not part of a
 * character by U+FFFD. */
cbe_status cbe_token_decoder_add_byte_fallback(cbe_token_decoder *decoder, cbe_error *err);
/** Adds a step that joins all texts into one. */
cbe_status cbe_token_decoder_add_fuse(cbe_token_decoder *decoder, cbe_error *err);
/** Adds a step that strips the character, which is copied, at most `start` times from the beginning
 * and `stop` times from the end of each text. */
cbe_status cbe_token_decoder_add_strip(cbe_token_decoder *decoder, cbe_span character, size_t start,
                                       size_t stop, cbe_error *err);
/** Adds a step that turns the replacement, which is copied, into a space; if prepended, it is
 * dropped at the start of the first token. */
cbe_status cbe_token_decoder_add_metaspace(cbe_token_decoder *decoder, cbe_span replacement,
                                           bool prepended, cbe_error *err);
/** Adds a step that turns tokens whose characters all stand for bytes (byte_characters.h) into
 * these bytes, and joins all tokens. */
cbe_status cbe_token_decoder_add_byte_level(cbe_token_decoder *decoder, cbe_error *err);
/** Adds a step that takes the prefix, which is copied, from tokens that begin with it and puts a
 * space in front of the others, but the first; cleanup: and drops spaces in front of punctuation
 * and contractions. */
cbe_status cbe_token_decoder_add_wordpiece(cbe_token_decoder *decoder, cbe_span prefix,
                                           bool cleanup, cbe_error *err);
/** Remembers the name of a step that is not supported. */
cbe_status cbe_token_decoder_set_not_read(cbe_token_decoder *decoder, const char *kind,
                                          cbe_error *err);

/** Decodes n tokens, given as files write them. The caller frees *out with cbe_free; a 0, which
 * *length does not count, ends it.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED; CBE_ERR_NOMEM */
cbe_status cbe_token_decode(const cbe_token_decoder *decoder, size_t n, const cbe_span *tokens,
                            char **out, size_t *length, cbe_error *err);

#endif
