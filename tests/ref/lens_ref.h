/*
 * lens_ref.h - the energy through a lens and its gradient, in float64, as their definitions read.
 *
 * The plain twin of src/objective/lens: each ablated hidden state is written out, goes through
 * translator, norm, unembedding and cap, and the gradient is propagated back through the same
 * steps. Cost 4 N V d.
 */
#ifndef CBE_TESTS_LENS_REF_H
#define CBE_TESTS_LENS_REF_H

#include "objective/lens/objective.h"

/** Arrays as in objective/objective.h; energy_per_token (tokens with a label for ce) and grad (d)
 * may be NULL. constant: a of c_n = D_n . v - a, with D_n = h_n for CBE_ABLATE_OPTIMAL; 0 otherwise
 * @return the energy in nats */
double cbe_lens_energy_ref(const cbe_decoder *decoder, const cbe_lens_options *options,
                           const float *hidden, cbe_translator translator, const double *v,
                           double constant, double *energy_per_token, double *grad);

/** Logits (V) of one hidden state behind the translator. */
void cbe_lens_logits_ref(const cbe_decoder *decoder, cbe_translator translator,
                         const double *hidden, double *logits);

#endif
