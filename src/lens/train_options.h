/* train_options.h - what a training makes of its options. */
#ifndef CBE_LENS_TRAIN_OPTIONS_H
#define CBE_LENS_TRAIN_OPTIONS_H

#include "lens/train.h"

/** Puts numbers in the places of defaults that depend on the optimizer. */
void cbe_lens_train_options_complete(cbe_lens_train_options *options);
/** @return CBE_OK; CBE_ERR_ARG for a number out of its range (named) */
cbe_status cbe_lens_train_options_check(const cbe_lens_train_options *options, cbe_error *err);

#endif
