/* affine_fit.c - fitting the affine lens of a model in one pass over a text; see lens/fit.h. */
#include "lens/affine_fit.h"

#include "core/fail.h"
#include "core/held_out.h"
#include "lens/hidden_chunks.h"

typedef struct {
    cbe_affine_sums *fitted, *held_out;
    size_t n_held_out, n_sequences, context_length;
} split;

cbe_status cbe_hold_out_count(double share, size_t n_sequences, size_t *count, cbe_error *err)
{
    if (!(share > 0 && share < 1))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%g of the sequences cannot be held out: a share between 0 and 1 can",
                        share);
    if (n_sequences < 2)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu sequence%s of text: a lens needs 2 or more, some to be held out; give "
                        "more text or a shorter " CBE_OPTION("context-length"),
                        n_sequences, n_sequences == 1 ? "" : "s");
    const size_t n = (size_t)(share * (double)n_sequences + 0.5);
    *count = n < 1 ? 1 : n >= n_sequences ? n_sequences - 1 : n;
    return CBE_OK;
}

/* Adds neighbouring sequences together if all are fitted or all are held out. */
static cbe_status add_chunk(void *context, size_t first, size_t n, const float *const *hidden,
                            cbe_error *err)
{
    const split *s = context;
    for (size_t begin = 0, end; begin < n; begin = end) {
        const bool held = cbe_is_held_out(first + begin, s->n_held_out, s->n_sequences);
        for (end = begin + 1; end < n; end++)
            if (cbe_is_held_out(first + end, s->n_held_out, s->n_sequences) != held) break;
        const cbe_status st =
            cbe_affine_sums_add(held ? s->held_out : s->fitted, begin * s->context_length,
                                (end - begin) * s->context_length, hidden, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

cbe_status cbe_affine_sum_text(cbe_affine_sums **fitted, cbe_affine_sums **held_out,
                               const cbe_model *model, size_t n_sequences, size_t context_length,
                               const int64_t *ids, const size_t *order, size_t n_held_out,
                               bool (*progress)(void *context, size_t done, size_t total),
                               void *context, cbe_error *err)
{
    cbe_status st;
    const cbe_model_config *config = cbe_model_get_config(model);
    if ((st = cbe_affine_sums_create(fitted, config->n_layers, config->hidden_size, err)) != CBE_OK)
        return st;
    if ((st = cbe_affine_sums_create(held_out, config->n_layers, config->hidden_size, err)) !=
        CBE_OK)
        return st;
    split s = {*fitted, *held_out, n_held_out, n_sequences, context_length};
    const cbe_hidden_chunks chunks = {.model = model,
                                      .n_sequences = n_sequences,
                                      .context_length = context_length,
                                      .ids = ids,
                                      .order = order,
                                      .chunk = add_chunk,
                                      .chunk_context = &s,
                                      .progress = progress,
                                      .progress_context = context};
    return cbe_hidden_chunks_run(&chunks, err);
}

cbe_status cbe_affine_fit(cbe_tuned_lens **out, const cbe_model *model, size_t n_sequences,
                          size_t context_length, const int64_t *ids, double held_out,
                          cbe_affine_layer *layers,
                          bool (*progress)(void *context, size_t done, size_t total), void *context,
                          cbe_error *err)
{
    cbe_affine_sums *sums = NULL, *held = NULL;
    size_t n_held_out = 0;
    cbe_status st = cbe_hold_out_count(held_out, n_sequences, &n_held_out, err);
    if (st == CBE_OK)
        st = cbe_affine_sum_text(&sums, &held, model, n_sequences, context_length, ids, NULL,
                                 n_held_out, progress, context, err);
    if (st == CBE_OK) st = cbe_affine_solve(out, sums, held, layers, err);
    cbe_affine_sums_free(held);
    cbe_affine_sums_free(sums);
    return st;
}
