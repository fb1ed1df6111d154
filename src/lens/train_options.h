/* train_options.h - defaults and checks of a training's options. */
#ifndef CBE_LENS_TRAIN_OPTIONS_H
#define CBE_LENS_TRAIN_OPTIONS_H

#include "lens/train.h"

/** Replaces defaults that depend on the optimizer by their numbers. */
void cbe_lens_train_options_complete(cbe_lens_train_options *options);
/** Checks all options. @return CBE_OK; CBE_ERR_ARG for a number out of its range (named) */
cbe_status cbe_lens_train_options_check(const cbe_lens_train_options *options, cbe_error *err);

#endif
