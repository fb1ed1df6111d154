/*
 * precision.h - how products with a model's weights are made where --precision auto leaves it open.
 */
#ifndef CBE_RUN_PRECISION_H
#define CBE_RUN_PRECISION_H

#include "run/inputs.h"

/** What --precision says; float32 for auto, which cbe_choose_precision may change. */
cbe_precision cbe_given_precision(const cbe_run_settings *run);

/** Settles auto, of a run whose inputs are open: bf16x3 for a search in the model where all
 * processes have a CPU that is faster at it (math/bf16.h), a build that uses it, and room for a
 * second copy of the weights in half of the memory that is left; else float32. Collective.
 * @param searches  whether the run searches with the preset default
 * @param run  [in, out] precision is what was settled from then on */
void cbe_choose_precision(cbe_run_inputs *in, cbe_run_settings *run, bool searches,
                          cbe_watch *watch);

#endif
