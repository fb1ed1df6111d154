/* sample.c - see sample.h. */
#include "objective/model/sample.h"

#include "core/sizes.h"

size_t cbe_model_n_tokens(const cbe_objective *self)
{
    return ((const cbe_model_objective *)self)->n_rows;
}

void cbe_model_activate(cbe_model_objective *o, size_t first, size_t span, size_t count)
{
    o->active_first = first;
    o->active_span = span;
    o->all_active = count;
    o->all_rows = 0;
    o->n_active = o->n_rows = o->active_place = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t sequence = o->order[first + i * span / count],
                     b = sequence - o->first_sequence;
        o->all_rows += o->sequence_rows[sequence];
        if (sequence < o->first_sequence || b >= o->n_sequences) continue; /* another process's */
        if (o->n_active == 0) o->active_place = i;
        o->active[o->n_active++] = b;
        o->n_rows += o->first_row[b + 1] - o->first_row[b];
    }
}

void cbe_model_set_sample(cbe_objective *self, size_t n)
{
    cbe_model_objective *o = (cbe_model_objective *)self;
    if (o->bf16) cbe_bf16_set_parts(o->bf16, n && o->precision == CBE_PRECISION_BF16 ? 1 : 3);
    const size_t searched = o->all_sequences - o->n_held_out,
                 whole = cbe_max_size((n + o->tokens_each / 2) / o->tokens_each, 1);
    cbe_model_activate(o, 0, searched, n == 0 ? searched : cbe_min_size(whole, searched));
}

void cbe_model_set_held_out(cbe_objective *self)
{
    cbe_model_objective *o = (cbe_model_objective *)self;
    if (o->bf16) cbe_bf16_set_parts(o->bf16, 3);
    cbe_model_activate(o, o->all_sequences - o->n_held_out, o->n_held_out, o->n_held_out);
}
