/* sample.c - see sample.h. */
#include "objective/lens/sample.h"

#include "core/groups.h"
#include "core/sizes.h"

size_t cbe_lens_n_tokens(const cbe_objective *self)
{
    return ((const cbe_lens_objective *)self)->sample.n_active;
}

/* Group of sequences (core/groups.h) that a token belongs to; sequences with `least` or more of
 * `all` rows, on average, are groups by themselves. */
static size_t group_of(const cbe_lens_setup *setup, size_t all, size_t least, size_t token)
{
    if (!setup->sequence_tokens) return 0;
    const size_t sequences = setup->all_tokens / setup->sequence_tokens;
    return cbe_group_of_sequence(sequences, (setup->first_token + token) / setup->sequence_tokens,
                                 all >= least * sequences);
}

size_t cbe_lens_divide(const cbe_lens_setup *setup, size_t n, const size_t *rows, size_t all,
                       size_t least, size_t most, size_t *begin)
{
    size_t pieces = 0, before = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t group = group_of(setup, all, least, setup->row_token[rows ? rows[i] : i]);
        if (i == 0 || group != before || i - begin[pieces - 1] == most) begin[pieces++] = i;
        before = group;
    }
    begin[pieces] = n;
    return pieces;
}

void cbe_lens_activate(const cbe_lens_setup *setup, cbe_lens_sample *sample, size_t first,
                       size_t span, size_t count)
{
    const size_t own[2] = {setup->n_rows - setup->n_held_out, setup->n_held_out},
                 searched = setup->all_rows - setup->all_held_out;
    sample->first = first;
    sample->span = span;
    sample->all_active = count;
    sample->n_active = sample->place = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t row = first + (size_t)((double)i * (double)span / (double)count),
                     out = row >= searched;
        const size_t among = row - (out ? searched : 0); /* rows of its part */
        if (among < setup->rows_before[out] || among - setup->rows_before[out] >= own[out])
            continue;
        if (sample->n_active == 0) sample->place = i;
        sample->active[sample->n_active++] = among - setup->rows_before[out] + (out ? own[0] : 0);
    }
    const size_t most =
        count > CBE_LENS_PARTS * CBE_LENS_SMALL_UNIT ? CBE_LENS_UNIT_ROWS : CBE_LENS_SMALL_UNIT;
    sample->n_units = cbe_lens_divide(setup, sample->n_active, sample->active, count,
                                      CBE_LENS_LEAST_UNIT, most, sample->unit_begin);
    sample->n_parts = cbe_min_size(sample->n_units, CBE_LENS_PARTS);
}

/* Number of rows of a sample of n. */
static size_t n_rows(const cbe_lens_setup *setup, size_t n)
{
    const size_t searched = setup->all_rows - setup->all_held_out;
    return n == 0 || n > searched ? searched : n;
}

size_t cbe_lens_n_parts(const cbe_objective *self, size_t n)
{
    const cbe_lens_setup *setup = &((const cbe_lens_objective *)self)->setup;
    return (setup->all_rows - setup->all_held_out) / n_rows(setup, n);
}

void cbe_lens_set_sample(cbe_objective *self, size_t n, size_t part)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    cbe_lens_activate(&o->setup, &o->sample, part % cbe_lens_n_parts(self, n),
                      o->setup.all_rows - o->setup.all_held_out, n_rows(&o->setup, n));
}

void cbe_lens_set_held_out(cbe_objective *self)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    cbe_lens_activate(&o->setup, &o->sample, o->setup.all_rows - o->setup.all_held_out,
                      o->setup.all_held_out, o->setup.all_held_out);
}

bool cbe_lens_set_rough(cbe_objective *self, bool rough)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    const size_t size = cbe_processes_size(o->setup.processes),
                 rank = cbe_processes_rank(o->setup.processes);
    o->sample.view =
        &o->layer.views[rough && cbe_lens_n_views(&o->setup, &o->layer) > CBE_LENS_ROUGH
                            ? CBE_LENS_ROUGH
                            : CBE_LENS_EXACT];
    const size_t v = o->sample.view->vocab,
                 blocks = (v + CBE_LENS_VOCAB_BLOCK - 1) / CBE_LENS_VOCAB_BLOCK;
    o->sample.vocab_begin = o->setup.shared ? blocks * rank / size * CBE_LENS_VOCAB_BLOCK : 0;
    o->sample.vocab_end =
        o->setup.shared ? cbe_min_size(blocks * (rank + 1) / size * CBE_LENS_VOCAB_BLOCK, v) : v;
    return v < o->setup.vocab_size;
}
