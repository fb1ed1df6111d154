/* vocabulary.h - the order of the vocabulary in a layer. */
#ifndef CBE_OBJECTIVE_LENS_VOCABULARY_H
#define CBE_OBJECTIVE_LENS_VOCABULARY_H

#include "objective/lens/state.h"

/** Whether a layer can have an order of its own: for kl, with a vocabulary large enough for that to
 * be worth while. */
bool cbe_lens_may_be_rough(const cbe_lens_setup *setup);
/** Makes w and offset, in the decoder's order. */
void cbe_lens_order_as_decoder(const cbe_lens_setup *setup, cbe_lens_layer *layer);
/** Finds the order for the states that are set, and how many entries are likely, and makes w and
 * offset anew. */
void cbe_lens_order_vocabulary(cbe_lens_objective *o);

#endif
