/* lens_storage.c - see lens_storage.h. A choice is a number: storages from the most precise on,
 * and for each storage batches from the largest on. */
#include "extract/lens_storage.h"

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

/* Batches: directions of a large one share the pass over the logits, a small one takes less
 * memory. */
static const size_t BATCHES[] = {CBE_LENS_BATCH, 2};
enum { N_BATCHES = sizeof BATCHES / sizeof *BATCHES };

/* Finds the first choice from *choice on that fits, and its bytes. */
static cbe_status fit(cbe_lens_options *lens, const cbe_decoder *decoder, size_t memory,
                      size_t *choice, size_t *bytes, cbe_error *err)
{
    size_t least = SIZE_MAX, states;
    if (!cbe_mul_size(lens->n_tokens, decoder->hidden_size * sizeof(float), &states))
        states = SIZE_MAX;
    for (; *choice < CBE_N_LOGIT_STORAGES * N_BATCHES; ++*choice) {
        lens->storage = (cbe_logit_storage)(*choice / N_BATCHES);
        lens->max_batch = BATCHES[*choice % N_BATCHES];
        *bytes = cbe_lens_objective_bytes(decoder, lens);
        if (!cbe_add_size(*bytes, states, bytes)) *bytes = SIZE_MAX;
        if (*bytes < least) least = *bytes;
        if (*bytes != SIZE_MAX && (!memory || *bytes <= memory)) return CBE_OK;
    }
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "%zu tokens need %.4g MB at least for the objective, and %.4g MB are left for "
                    "it; give more " CBE_OPTION("memory") " or "
                                                          "less " CBE_OPTION("max-tokens"),
                    lens->n_tokens, 1e-6 * (double)least, 1e-6 * (double)memory);
}

cbe_status cbe_choose_lens_storage(cbe_lens_options *lens, const cbe_decoder *decoder,
                                   size_t memory, size_t *bytes, cbe_error *err)
{
    const size_t size = cbe_processes_size(lens->processes);
    size_t choice = 0, *each = cbe_alloc(size, sizeof *each, "processes", err);
    cbe_status st = each ? fit(lens, decoder, memory, &choice, bytes, err) : CBE_ERR_NOMEM;
    st = cbe_processes_agree(lens->processes, st, err);
    if (st == CBE_OK && lens->processes) {
        cbe_processes_list(lens->processes, choice, each);
        for (size_t r = 0; r < size; r++) choice = cbe_max_size(choice, each[r]);
        st = fit(lens, decoder, 0, &choice, bytes, err);
    }
    cbe_free(each);
    return st;
}
