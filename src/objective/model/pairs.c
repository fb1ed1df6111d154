/* pairs.c - see pairs.h. */
#include "objective/model/pairs.h"

#include <string.h>

/* The ablated sequences, into the suffix; returns the number of items. */
static size_t ablate_pairs(cbe_model_objective *o, size_t first, size_t n, cbe_model_ablate *ablate)
{
    const size_t d = o->setup.hidden_size, length = o->setup.context_length,
                 each = o->setup.tokens_each;
    float *to = cbe_suffix_hidden(o->setup.suffix);
#pragma omp parallel for schedule(dynamic)
    for (size_t p = 0; p < n; p++) {
        const size_t b = o->sample.active[(first + p) % o->sample.n_active];
        float *rows = to + p * length * d;
        memcpy(rows, o->layer.hidden + b * length * d, length * d * sizeof *rows);
        ablate(o, (first + p) / o->sample.n_active, b, p, rows);
    }
    size_t n_items = 0;
    for (size_t p = 0; p < n; p++) {
        const size_t b = o->sample.active[(first + p) % o->sample.n_active];
        for (size_t row = o->setup.first_row[b]; row < o->setup.first_row[b + 1]; row++)
            o->work.items[n_items++] = (cbe_divergence_item){
                row, p * length + o->setup.skip + o->setup.row_token[row] % each};
    }
    return n_items;
}

cbe_status cbe_model_run_pairs(cbe_model_objective *o, size_t first, size_t n,
                               cbe_model_ablate *ablate, bool grad, cbe_error *err)
{
    cbe_status st = cbe_suffix_set_clean(o->setup.suffix, o->layer.block, o->layer.hidden,
                                         o->sample.n_active, o->sample.active, first, n, err);
    if (st != CBE_OK) return st;
    const size_t n_items = ablate_pairs(o, first, n, ablate), rows = n * o->setup.context_length;
    st = cbe_suffix_forward(o->setup.suffix, o->layer.block, n, grad, err);
    if (st != CBE_OK) return st;
    float *grads = grad ? cbe_suffix_grad(o->setup.suffix) : NULL;
    if (grad) memset(grads, 0, rows * o->setup.hidden_size * sizeof *grads);
    cbe_divergence_eval(o->setup.divergence, n_items, o->work.items,
                        cbe_suffix_hidden(o->setup.suffix), o->work.row_energy, grads);
    return o->setup.bf16 ? cbe_bf16_check(o->setup.bf16, err) : CBE_OK;
}
