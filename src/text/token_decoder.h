/*
 * token_decoder.h - from tokens to the text that they stand for: a sequence of steps on a list of
 * texts.
 */
#ifndef CBE_TEXT_TOKEN_DECODER_H
#define CBE_TEXT_TOKEN_DECODER_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/gguf.h"
#include "cbe/status.h"

/** Begins as zeros, which put spaces between the tokens; ends by cbe_token_decoder_free. */
typedef struct {
    struct cbe_decoder_step *steps;
    size_t n_steps;
    bool joined;    /* some step is there: no spaces between */
    char *not_read; /* a kind of step that is not read; decoding is then an error that names it */
} cbe_token_decoder;

void cbe_token_decoder_free(cbe_token_decoder *decoder); /* zeroes it; a zeroed one is allowed */

/** Puts one text in the place of another; both are copied, from is not empty. */
cbe_status cbe_token_decoder_add_replace(cbe_token_decoder *decoder, cbe_span from, cbe_span to,
                                         cbe_error *err);
/** Tokens "<0x0A>" become their bytes, each that is not part of a character U+FFFD. */
cbe_status cbe_token_decoder_add_byte_fallback(cbe_token_decoder *decoder, cbe_error *err);
/** All texts become one. */
cbe_status cbe_token_decoder_add_fuse(cbe_token_decoder *decoder, cbe_error *err);
/** At most so many times the character, copied, at the ends of each text. */
cbe_status cbe_token_decoder_add_strip(cbe_token_decoder *decoder, cbe_span character, size_t start,
                                       size_t stop, cbe_error *err);
/** The replacement, copied, becomes a space; in the first token it is dropped where one was
 * prepended. */
cbe_status cbe_token_decoder_add_metaspace(cbe_token_decoder *decoder, cbe_span replacement,
                                           bool prepended, cbe_error *err);
/** Remembers a kind of step that is not read. */
cbe_status cbe_token_decoder_set_not_read(cbe_token_decoder *decoder, const char *kind,
                                          cbe_error *err);

/** Text of n tokens as files write them. *out is to cbe_free; ended by a 0 that *length does not
 * count.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED; CBE_ERR_NOMEM */
cbe_status cbe_token_decode(const cbe_token_decoder *decoder, size_t n, const cbe_span *tokens,
                            char **out, size_t *length, cbe_error *err);

#endif
