/*
 * tuned_lens.h - tuned lenses: a translator x = h + A h + b for each layer, then the model's decoder.
 *
 * Translator i reads hidden_states.i, i = 0 .. n_layers - 1; hidden_states.L needs none.
 * Source: Belrose et al. 2023, arXiv:2303.08112.
 */
#ifndef CBE_TUNED_LENS_H
#define CBE_TUNED_LENS_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/objective.h"
#include "cbe/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Plain, readable and writable by all; owns its arrays. */
typedef struct {
    size_t n_layers, hidden_size; /* L, d */
    float **weight;               /* (n_layers) of A (d, d), row-major: outputs by inputs */
    float **bias;                 /* (n_layers) of b (d); NULL: a lens without */
} cbe_tuned_lens;

/** All zero: the logit lens. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_create(cbe_tuned_lens **out, size_t n_layers, size_t hidden_size, bool bias, cbe_error *err);
void cbe_tuned_lens_free(cbe_tuned_lens *lens); /* NULL is allowed */

/** Translator of hidden_states.<layer>, borrowed; the logit lens's (NULL, NULL) where lens is NULL or layer is n_layers. */
cbe_translator cbe_tuned_lens_translator(const cbe_tuned_lens *lens, size_t layer);

#ifdef __cplusplus
}
#endif
#endif
