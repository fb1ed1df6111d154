/*
 * lens_folder.h - a lens folder that a command was given, for the model that it has.
 */
#ifndef CBE_RUN_LENS_FOLDER_H
#define CBE_RUN_LENS_FOLDER_H

#include "model/decoder.h"
#include "lens/tuned_lens.h"
#include "run/watch.h"

/** Loads a lens, which must be of the model's shape; warns where it was made for another
 * unembedding.
 * @param n_blocks of the model; 0: not known
 * @param model    its path, or what else it is called in errors
 * @param inputs   its files are added to
 * @param config   [out] of the lens; NULL: not wanted
 * @return CBE_OK; CBE_ERR_SHAPE; what cbe_tuned_lens_load returns. Nothing is given out then. */
cbe_status cbe_open_lens_folder(cbe_tuned_lens **lens, cbe_tuned_lens_config **config,
                                const char *path, size_t n_blocks, const cbe_decoder *decoder,
                                const char *model, cbe_inputs *inputs, cbe_watch *watch,
                                cbe_error *err);

#endif
