/* presets.c - the searches of older programs, start by start: the presets seed and tuned-lens
 * (strategy.h). */
#include <math.h>
#include <string.h>

#include "search/ascent.h"
#include "search/rules.h"
#include "search/strategy.h"
#include "core/clock.h"
#include "core/memory.h"

static const cbe_ascent to_the_end = {0};

static cbe_status create(void **out, const cbe_search *s, const cbe_climb_rules *rules,
                         cbe_error *err)
{
    const cbe_lbfgs_options options = cbe_climb_options(rules, s->options->max_iterations);
    return (*out = cbe_runners_create(1, s->d, &options, err)) ? CBE_OK : CBE_ERR_NOMEM;
}

static cbe_status create_seed(void **out, const cbe_search *s, cbe_error *err)
{
    return create(out, s, &cbe_preset_rules.seed, err);
}

static cbe_status create_tuned_lens(void **out, const cbe_search *s, cbe_error *err)
{
    return create(out, s, &cbe_preset_rules.tuned_lens, err);
}

static void free_runner(void *self)
{
    cbe_runners_free(1, self);
}

static void set_start(cbe_search *s, cbe_runner *r, cbe_start_kind kind)
{
    cbe_sphere_point(&s->sphere, r->start, r->start);
    s->record.start = kind;
}

/* Starts at the identity's column. */
static void start_at_column(cbe_search *s, cbe_runner *r)
{
    memset(r->start, 0, s->d * sizeof(double));
    r->start[s->vector] = 1;
    set_start(s, r, CBE_FROM_IDENTITY);
}

/* Climbs once; the last energy evaluated is kept. */
static cbe_status climb(cbe_search *s, cbe_runner *r, cbe_error *err)
{
    cbe_lbfgs_start(r->opt, r->start);
    const cbe_status st = cbe_ascend(s, 1, r, &to_the_end, &s->record.evaluations, err);
    if (st != CBE_OK) return st;
    cbe_sphere_point(&s->sphere, cbe_lbfgs_x(r->opt, NULL), r->v);
    s->record.energy = -cbe_lbfgs_last(r->opt);
    return CBE_OK;
}

static void keep_vector(cbe_search *s, const cbe_runner *r)
{
    cbe_search_count_start(s, s->record.start, s->record.energy);
    s->record.stop = cbe_lbfgs_stopped(r->opt);
    memcpy(s->found + s->vector * s->d, r->v, s->d * sizeof(double));
}

static cbe_status find_by_seed(void *self, cbe_search *s, cbe_error *err)
{
    cbe_runner *r = self;
    start_at_column(s, r);
    const cbe_status st = climb(s, r, err);
    if (st == CBE_OK) keep_vector(s, r);
    return st;
}

/* Climbs again from where it ended until the energy has settled. */
static cbe_status find_by_tuned_lens(void *self, cbe_search *s, cbe_error *err)
{
    cbe_runner *r = self;
    const size_t d = s->d, j = s->vector;
    double before = HUGE_VAL;
    if (j < s->given.n) {
        memcpy(r->start, s->given.v + j * d, d * sizeof(double));
        set_start(s, r, s->given.kinds[j]);
    } else {
        start_at_column(s, r);
    }
    for (;;) {
        const cbe_status st = climb(s, r, err);
        if (st != CBE_OK) return st;
        if (s->record.evaluations >= s->options->max_iterations ||
            fabs(s->record.energy - before) <=
                cbe_preset_rules.restart_stop * fabs(s->record.energy))
            break;
        before = s->record.energy;
        memcpy(r->start, r->v, d * sizeof(double));
    }
    keep_vector(s, r);
    return CBE_OK;
}

/* PyTorch's rules stop some vectors short of a maximum, a few of them far from it
 * (docs/search.md). The preset `seed` follows them for all vectors, so that each path is the
 * original's; then this climbs from each vector that is no maximum, orthogonal to all other
 * vectors, which therefore stay as they are. There are several rounds, since a vector that moved
 * opens or closes a direction to the other vectors. */
static cbe_status finish_seed(cbe_search *s, cbe_vector_record *records, size_t n, cbe_error *err)
{
    const size_t d = s->d;
    const cbe_lbfgs_options options =
        cbe_climb_options(&cbe_preset_rules.finish, s->options->max_iterations);
    double *others = cbe_alloc((n ? n - 1 : 0) * d, sizeof *others, "basis", err);
    cbe_runner *r = cbe_runners_create(1, d, &options, err);
    cbe_status st = others && r ? CBE_OK : CBE_ERR_NOMEM;
    bool moved = st == CBE_OK;
    for (size_t round = 0; round < cbe_preset_rules.finish_rounds && moved; round++) {
        moved = false;
        for (size_t j = 0; j < n; j++) {
            const double began = cbe_now();
            memcpy(others, s->found, j * d * sizeof *others);
            memcpy(others + j * d, s->found + (j + 1) * d, (n - 1 - j) * d * sizeof *others);
            s->vector = j;
            s->sphere = cbe_search_sphere(s, n - 1, others, 0);
            s->record = records[j];
            s->best_energy = records[j].energy;
            cbe_lbfgs_start(r->opt, s->found + j * d);
            if ((st = cbe_ascend(s, 1, r, &to_the_end, &s->record.evaluations, err)) != CBE_OK)
                goto done;
            if (cbe_lbfgs_iterations(r->opt) == 0) continue; /* a maximum already */
            cbe_runner_finish(s, r);
            moved = true;
            s->record.energy = r->energy;
            s->record.stop = cbe_lbfgs_stopped(r->opt);
            s->record.seconds += cbe_now() - began;
            records[j] = s->record;
            memcpy(s->found + j * d, r->v, d * sizeof *r->v);
        }
    }
done:
    cbe_runners_free(r ? 1 : 0, r);
    cbe_free(others);
    return st;
}

const cbe_search_strategy cbe_seed_strategy = {.tau = CBE_PRESET_TAU,
                                               .create = create_seed,
                                               .free = free_runner,
                                               .vector = find_by_seed,
                                               .finish = finish_seed};

const cbe_search_strategy cbe_tuned_lens_strategy = {.tau = CBE_PRESET_TAU,
                                                     .create = create_tuned_lens,
                                                     .free = free_runner,
                                                     .vector = find_by_tuned_lens};
