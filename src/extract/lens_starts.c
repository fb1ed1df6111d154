/* lens_starts.c - see lens_starts.h. */
#include "objective/lens/objective.h"
#include "extract/lens_starts.h"

#include <string.h>

#include "search/rules.h"
#include "search/search.h"

cbe_status cbe_lens_starts(const cbe_lens_starts_input *in, size_t *n, double *out, cbe_error *err)
{
    const size_t d = in->decoder->hidden_size, n_tokens = in->n_tokens;
    const cbe_lens_options lens = {.n_tokens = n_tokens,
                                   .ablation = in->ablation == CBE_ABLATE_ZERO ? CBE_ABLATE_ZERO
                                                                               : CBE_ABLATE_MEAN,
                                   .max_batch = cbe_candidate_rules.lens_batch,
                                   .storage = CBE_LOGITS_FLOAT16};
    const size_t wanted = *n, bytes = cbe_lens_objective_bytes(in->decoder, &lens);
    *n = 0;
    if (n_tokens < 2 || bytes == SIZE_MAX || (in->memory && bytes > in->memory)) return CBE_OK;
    cbe_objective *objective = NULL;
    cbe_basis basis = {0};
    cbe_search_options search;
    cbe_search_options_init(&search);
    search.n_vectors = wanted;
    search.n_starts = cbe_candidate_rules.lens_starts;
    search.n_polished = 1;
    search.sample = 0;
    search.max_iterations = cbe_candidate_rules.lens_iterations;
    search.seed = in->seed;
    search.n_within = in->n_within;
    search.within = in->within;
    cbe_status st = cbe_lens_objective_create(&objective, in->decoder, &lens, err);
    if (st == CBE_OK)
        st = cbe_lens_objective_set_layer(objective, in->hidden, (cbe_translator){0}, in->metric,
                                          err);
    if (st == CBE_OK)
        st = cbe_search_layer(&basis, objective, &search, in->starts, NULL, NULL, err);
    if (st == CBE_OK) {
        *n = basis.n_vectors;
        memcpy(out, basis.vectors, basis.n_vectors * d * sizeof *out);
    }
    cbe_basis_free(&basis);
    cbe_objective_free(objective);
    return st;
}
