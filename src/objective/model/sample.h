/*
 * sample.h - the sequences of a whole-model objective that are in force.
 *
 * Sequences of all processes are counted as one list, so that a sample is the same however they are
 * divided.
 */
#ifndef CBE_OBJECTIVE_MODEL_SAMPLE_H
#define CBE_OBJECTIVE_MODEL_SAMPLE_H

#include "objective/model/state.h"

/** Takes count sequences, evenly spread over span entries of `order` from entry `first` on. */
void cbe_model_activate(const cbe_model_setup *setup, cbe_model_sample *sample, size_t first,
                        size_t span, size_t count);

/** Calls of a cbe_objective: see cbe_objective_n_tokens, _set_part, _n_parts, _set_held_out. */
size_t cbe_model_n_tokens(const cbe_objective *self);
void cbe_model_set_sample(cbe_objective *self, size_t n, size_t part);
size_t cbe_model_n_parts(const cbe_objective *self, size_t n);
void cbe_model_set_held_out(cbe_objective *self);

#endif
