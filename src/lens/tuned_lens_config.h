/* tuned_lens_config.h - config.json of a lens folder, parsed. */
#ifndef CBE_LENS_TUNED_LENS_CONFIG_H
#define CBE_LENS_TUNED_LENS_CONFIG_H

#include "lens/tuned_lens.h"

/** Key by which cbe knows the lens folders that it has written. The package tuned-lens ignores the
 * key, with a message. */
#define CBE_LENS_WRITTEN_BY "written_by"

/** Reads and checks config.json.
 * @param n_layers, hidden_size, bias  [out] the lens's sizes, and whether it has biases
 * @param inputs  the file is added to this list; NULL skips it
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM, CBE_ERR_FORMAT, CBE_ERR_UNSUPPORTED,
 * CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_config_read(cbe_tuned_lens_config **out, const char *path,
                                      size_t *n_layers, size_t *hidden_size, bool *bias,
                                      cbe_inputs *inputs, cbe_error *err);
/** Writes config.json with the sizes of a lens. config NULL: a config that names no model.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM, CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_config_write(const cbe_tuned_lens_config *config,
                                       const cbe_tuned_lens *lens, const char *path,
                                       cbe_error *err);

#endif
