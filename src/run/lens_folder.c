/* lens_folder.c - see lens_folder.h. */
#include "run/lens_folder.h"

cbe_status cbe_open_lens_folder(cbe_tuned_lens **lens, cbe_tuned_lens_config **config,
                                const char *path, size_t n_blocks, const cbe_decoder *decoder,
                                const char *model, cbe_inputs *inputs, cbe_watch *watch,
                                cbe_error *err)
{
    cbe_tuned_lens *loaded = NULL;
    cbe_tuned_lens_config *said = NULL;
    cbe_status st = cbe_tuned_lens_load(&loaded, &said, path, inputs, err);
    if (st == CBE_OK)
        st = cbe_tuned_lens_check(loaded, path, n_blocks, decoder->hidden_size, model, err);
    if (st != CBE_OK) {
        cbe_tuned_lens_config_free(said);
        cbe_tuned_lens_free(loaded);
        return st;
    }
    if (cbe_tuned_lens_config_differs(said, decoder))
        cbe_warn(watch,
                 "%s: its unembed_hash is not that of this model's unembedding: the lens was made "
                 "for another model, or for "
                 "other weights of it",
                 path);
    *lens = loaded;
    if (config)
        *config = said;
    else
        cbe_tuned_lens_config_free(said);
    return CBE_OK;
}
