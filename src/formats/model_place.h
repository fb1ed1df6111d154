/*
 * model_place.h - what is at the path of a model, where it is not what is needed: a hub's name, a
 * folder of an adapter, a folder of GGUF files.
 */
#ifndef CBE_FORMATS_MODEL_PLACE_H
#define CBE_FORMATS_MODEL_PLACE_H

#include <stdbool.h>

#include "cbe/status.h"

/** Looks whether a model's path is a folder. A path where nothing is passes for a file, of which
 * whoever opens it says that it is missing.
 * @param needed  the file that a folder must have; a folder without it is looked at by
 *                cbe_model_place_explain
 * @return CBE_OK; CBE_ERR_IO, if nothing is there and the path is written as a hub's name; a status
 * of cbe_path_look, cbe_path_has or cbe_model_place_explain */
cbe_status cbe_model_place_look(const char *path, const char *needed, bool *is_folder,
                                cbe_error *err);

/** Fails with CBE_ERR_UNSUPPORTED for a folder of an adapter, and with CBE_ERR_ARG for a folder of
 * GGUF files; the message says what to do. Other folders are CBE_OK. */
cbe_status cbe_model_place_explain(const char *folder, cbe_error *err);

#endif
