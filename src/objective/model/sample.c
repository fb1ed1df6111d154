/* sample.c - see sample.h. */
#include "objective/model/sample.h"

#include "core/sizes.h"

size_t cbe_model_n_tokens(const cbe_objective *self)
{
    return ((const cbe_model_objective *)self)->sample.n_rows;
}

void cbe_model_activate(const cbe_model_setup *setup, cbe_model_sample *sample, size_t first,
                        size_t span, size_t count)
{
    sample->first = first;
    sample->span = span;
    sample->all_active = count;
    sample->all_rows = 0;
    sample->n_active = sample->n_rows = sample->place = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t sequence = setup->order[first + i * span / count],
                     b = sequence - setup->first_sequence;
        sample->all_rows += setup->sequence_rows[sequence];
        if (sequence < setup->first_sequence || b >= setup->n_sequences)
            continue; /* another process's */
        if (sample->n_active == 0) sample->place = i;
        sample->active[sample->n_active++] = b;
        sample->n_rows += setup->first_row[b + 1] - setup->first_row[b];
    }
}

static void set_parts(cbe_model_objective *o, int parts)
{
    if (!o->setup.bf16) return;
    cbe_bf16_set_parts(o->setup.bf16, parts);
    cbe_suffix_forget_clean(o->setup.suffix); /* its keys and values have other bits */
}

/* Number of sequences of a sample of n tokens. */
static size_t n_sequences(const cbe_model_setup *setup, size_t n)
{
    const size_t searched = setup->all_sequences - setup->n_held_out,
                 whole = cbe_max_size((n + setup->tokens_each / 2) / setup->tokens_each, 1);
    return n == 0 ? searched : cbe_min_size(whole, searched);
}

size_t cbe_model_n_parts(const cbe_objective *self, size_t n)
{
    const cbe_model_setup *setup = &((const cbe_model_objective *)self)->setup;
    return (setup->all_sequences - setup->n_held_out) / n_sequences(setup, n);
}

void cbe_model_set_sample(cbe_objective *self, size_t n, size_t part)
{
    cbe_model_objective *o = (cbe_model_objective *)self;
    set_parts(o, n && o->setup.precision == CBE_PRECISION_BF16 ? 1 : 3);
    cbe_model_activate(&o->setup, &o->sample, part % cbe_model_n_parts(self, n),
                       o->setup.all_sequences - o->setup.n_held_out, n_sequences(&o->setup, n));
}

void cbe_model_set_held_out(cbe_objective *self)
{
    cbe_model_objective *o = (cbe_model_objective *)self;
    set_parts(o, 3);
    cbe_model_activate(&o->setup, &o->sample, o->setup.all_sequences - o->setup.n_held_out,
                       o->setup.n_held_out, o->setup.n_held_out);
}
