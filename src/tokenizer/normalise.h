/*
 * normalise.h - normalising a text before it is cut: a sequence of steps.
 */
#ifndef CBE_TOKENIZER_NORMALISE_H
#define CBE_TOKENIZER_NORMALISE_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/normal_form.h"
#include "tokenizer/regex.h"

/** Begins as zeros, which change nothing; freed by cbe_normaliser_free. Steps run in the order in
 * which they were added. Functions that add a step return CBE_OK or CBE_ERR_NOMEM. */
typedef struct {
    struct cbe_normaliser_step *steps;
    size_t n_steps, capacity;
} cbe_normaliser;

/* zeroes *normaliser; a zeroed struct is allowed */
void cbe_normaliser_free(cbe_normaliser *normaliser);

/** Adds a step that brings the text to a normalisation form. */
cbe_status cbe_normaliser_add_form(cbe_normaliser *normaliser, cbe_normal_form form,
                                   cbe_error *err);
/** Adds a step that lowercases each character by itself. */
cbe_status cbe_normaliser_add_lowercase(cbe_normaliser *normaliser, cbe_error *err);
/** Adds a step that removes the combining marks which NFD and NFKD put behind letters. */
cbe_status cbe_normaliser_add_strip_accents(cbe_normaliser *normaliser, cbe_error *err);
/** What a filter does with each character by itself. */
typedef enum {
    CBE_FILTER_BERT_CLEAN = 0, /* drops controls, white space becomes a space */
    CBE_FILTER_BERT_CHINESE,   /* puts spaces around each Chinese character */
    CBE_FILTER_BERT_ACCENTS,   /* drops non-spacing marks */
    CBE_FILTER_NMT             /* drops controls of ASCII, white space and others become a space */
} cbe_character_filter;
cbe_status cbe_normaliser_add_filter(cbe_normaliser *normaliser, cbe_character_filter filter,
                                     cbe_error *err);
/** Adds a step that writes each byte as the character that stands for it (byte_characters.h). */
cbe_status cbe_normaliser_add_byte_characters(cbe_normaliser *normaliser, cbe_error *err);
/** Adds a step that replaces text as a table says, which it takes over, also on failure. */
cbe_status cbe_normaliser_add_charsmap(cbe_normaliser *normaliser, cbe_charsmap *map,
                                       cbe_error *err);
/** Adds a step that strips white space at the ends. */
cbe_status cbe_normaliser_add_strip(cbe_normaliser *normaliser, bool left, bool right,
                                    cbe_error *err);
/** Adds a step that puts bytes, which are copied, in front of a text that is not empty. */
cbe_status cbe_normaliser_add_prepend(cbe_normaliser *normaliser, const char *bytes, size_t length,
                                      cbe_error *err);
/** Adds a step that replaces each match of a regex by bytes, which are copied. Takes over the
 * regex, also on failure. */
cbe_status cbe_normaliser_add_replace(cbe_normaliser *normaliser, cbe_regex *regex,
                                      const char *bytes, size_t length, cbe_error *err);

/** Runs all steps. The caller frees *out with cbe_free; *out is NULL if nothing changes.
 * Thread-safe.
 * @param text   length bytes of well-formed UTF-8
 * @param first  [out] whether the result begins with what became of text's first character; NULL:
 *               not wanted
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_UNSUPPORTED (a regex takes too many steps) */
cbe_status cbe_normalise(const cbe_normaliser *normaliser, const char *text, size_t length,
                         char **out, size_t *out_length, bool *first, cbe_error *err);

#endif
