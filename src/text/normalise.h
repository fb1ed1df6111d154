/*
 * normalise.h - what some tokenizers do to a text before it is cut: a sequence of steps.
 */
#ifndef CBE_TEXT_NORMALISE_H
#define CBE_TEXT_NORMALISE_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"
#include "text/normal_form.h"
#include "text/regex.h"

/** Begins as zeros, which change nothing; ends by cbe_normaliser_free. Steps are done in the order
 * in which they were added. */
typedef struct {
    struct cbe_normaliser_step *steps;
    size_t n_steps, capacity;
} cbe_normaliser;

void cbe_normaliser_free(cbe_normaliser *normaliser); /* zeroes it; a zeroed one is allowed */

cbe_status cbe_normaliser_add_form(cbe_normaliser *normaliser, cbe_normal_form form,
                                   cbe_error *err);
/** Each character by itself. */
cbe_status cbe_normaliser_add_lowercase(cbe_normaliser *normaliser, cbe_error *err);
/** Takes out the marks that the forms NFD and NFKD leave behind letters. */
cbe_status cbe_normaliser_add_strip_accents(cbe_normaliser *normaliser, cbe_error *err);
/** White space at the ends. */
cbe_status cbe_normaliser_add_strip(cbe_normaliser *normaliser, bool left, bool right,
                                    cbe_error *err);
/** Puts bytes in front of a text that is not empty; copied. */
cbe_status cbe_normaliser_add_prepend(cbe_normaliser *normaliser, const char *bytes, size_t length,
                                      cbe_error *err);
/** Puts bytes, copied, in the place of each match of a regex, which it takes over (on failure
 * too). */
cbe_status cbe_normaliser_add_replace(cbe_normaliser *normaliser, cbe_regex *regex,
                                      const char *bytes, size_t length, cbe_error *err);

/** *out is to cbe_free; NULL when nothing is changed. Thread-safe.
 * @param text  length bytes of well-formed UTF-8 */
cbe_status cbe_normalise(const cbe_normaliser *normaliser, const char *text, size_t length,
                         char **out, size_t *out_length, cbe_error *err);

#endif
