/* sample.c - see sample.h. */
#include "objective/lens/sample.h"

#include "core/groups.h"
#include "core/sizes.h"

size_t cbe_lens_n_tokens(const cbe_objective *self)
{
    return ((const cbe_lens_objective *)self)->n_active;
}

/* Group of sequences (core/groups.h) that a token belongs to, where those with `least` or more of
 * `all` rows, on average, are groups by themselves. */
static size_t group_of(const cbe_lens_objective *o, size_t all, size_t least, size_t token)
{
    if (!o->sequence_tokens) return 0;
    const size_t sequences = o->all_tokens / o->sequence_tokens;
    return cbe_group_of_sequence(sequences, (o->first_token + token) / o->sequence_tokens,
                                 all >= least * sequences);
}

size_t cbe_lens_divide(const cbe_lens_objective *o, size_t n, const size_t *rows, size_t all,
                       size_t least, size_t most, size_t *begin)
{
    size_t pieces = 0, before = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t group = group_of(o, all, least, o->row_token[rows ? rows[i] : i]);
        if (i == 0 || group != before || i - begin[pieces - 1] == most) begin[pieces++] = i;
        before = group;
    }
    begin[pieces] = n;
    return pieces;
}

void cbe_lens_activate(cbe_lens_objective *o, size_t first, size_t span, size_t count)
{
    const size_t own[2] = {o->n_rows - o->n_held_out, o->n_held_out},
                 searched = o->all_rows - o->all_held_out;
    o->active_first = first;
    o->active_span = span;
    o->all_active = count;
    o->n_active = o->active_place = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t row = first + (size_t)((double)i * (double)span / (double)count),
                     out = row >= searched;
        const size_t among = row - (out ? searched : 0); /* rows of its part */
        if (among < o->rows_before[out] || among - o->rows_before[out] >= own[out]) continue;
        if (o->n_active == 0) o->active_place = i;
        o->active[o->n_active++] = among - o->rows_before[out] + (out ? own[0] : 0);
    }
    const size_t most =
        count > CBE_LENS_PARTS * CBE_LENS_SMALL_UNIT ? CBE_LENS_UNIT_ROWS : CBE_LENS_SMALL_UNIT;
    o->n_units =
        cbe_lens_divide(o, o->n_active, o->active, count, CBE_LENS_LEAST_UNIT, most, o->unit_begin);
    o->n_parts = cbe_min_size(o->n_units, CBE_LENS_PARTS);
}

void cbe_lens_set_sample(cbe_objective *self, size_t n)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    const size_t searched = o->all_rows - o->all_held_out;
    cbe_lens_activate(o, 0, searched, n == 0 || n > searched ? searched : n);
}

void cbe_lens_set_held_out(cbe_objective *self)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    cbe_lens_activate(o, o->all_rows - o->all_held_out, o->all_held_out, o->all_held_out);
}

bool cbe_lens_set_rough(cbe_objective *self, bool rough)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    const size_t size = cbe_processes_size(o->processes), rank = cbe_processes_rank(o->processes);
    o->view =
        &o->views[rough && cbe_lens_n_views(o) > CBE_LENS_ROUGH ? CBE_LENS_ROUGH : CBE_LENS_EXACT];
    const size_t v = o->view->vocab, blocks = (v + CBE_LENS_VOCAB_BLOCK - 1) / CBE_LENS_VOCAB_BLOCK;
    o->vocab_begin = o->shared ? blocks * rank / size * CBE_LENS_VOCAB_BLOCK : 0;
    o->vocab_end =
        o->shared ? cbe_min_size(blocks * (rank + 1) / size * CBE_LENS_VOCAB_BLOCK, v) : v;
    return v < o->vocab_size;
}
