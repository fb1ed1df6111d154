/* config_gguf_keys.h - keys of a GGUF file's architecture that the forward pass does not obey. */
#ifndef CBE_MODEL_CONFIG_GGUF_KEYS_H
#define CBE_MODEL_CONFIG_GGUF_KEYS_H

#include "model/config.h"

/** Checks every key of the architecture that has no part in the configuration, which is complete,
 * and every tensor outside of blocks that the reference computes with.
 * @param remarks  a key that nobody knows is remarked on; NULL: nobody listens
 * @return CBE_OK; CBE_ERR_UNSUPPORTED: a key or a tensor would change the computation (it is
 * named, a key with its value); CBE_ERR_NOMEM */
cbe_status cbe_config_check_gguf_keys(const cbe_config *config, const cbe_gguf *file,
                                      cbe_remarks *remarks, cbe_error *err);

#endif
