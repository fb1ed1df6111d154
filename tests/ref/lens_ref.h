/*
 * lens_ref.h - the energy through a lens and its gradient, in float64, by their definitions.
 *
 * The plain twin of src/objective/lens: each ablated hidden state goes through translator, norm,
 * unembedding and cap, and the gradient goes back through the same steps. Cost 4 N V d.
 */
#ifndef CBE_TESTS_LENS_REF_H
#define CBE_TESTS_LENS_REF_H

#include "objective/lens/objective.h"

/** Computes the energy of a direction and its gradient. Arrays are as in objective/objective.h;
 * energy_per_token (for ce of tokens with a label) and grad (d) may be NULL.
 * @param metric    of the direction; NULL: plain. Its roots are made again from its eigenvectors.
 * @param constant  a of c_n = D_n . r - a, with D_n = h_n, for CBE_ABLATE_OPTIMAL; else 0
 * @return the energy in nats */
double cbe_lens_energy_ref(const cbe_decoder *decoder, const cbe_lens_options *options,
                           const float *hidden, cbe_translator translator, const cbe_metric *metric,
                           const double *v, double constant, double *energy_per_token,
                           double *grad);

/** Logits (V) of one hidden state behind the translator. */
void cbe_lens_logits_ref(const cbe_decoder *decoder, cbe_translator translator,
                         const double *hidden, double *logits);

#endif
