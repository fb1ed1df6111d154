/* presets.c - the searches of older programs, start by start: the presets seed and
 * tuned-lens (state.h). */
#include <math.h>
#include <string.h>

#include "search/state.h"
#include "core/clock.h"
#include "core/memory.h"

/* A point is a maximum when its tangent gradient is below this share of the energy. */
static const double MAXIMUM = 8e-5;
/* Rounding of an energy, relative: float32 logits leave about 1e-7. */
static const double NOISE = 1e-7;
enum { FINISH_ROUNDS = 5 };
static const cbe_ascent to_the_end = {0};

cbe_lbfgs_options cbe_preset_lbfgs_options(const cbe_search_options *o)
{
    cbe_lbfgs_options options;
    cbe_lbfgs_options_init(&options);
    options.max_iterations = o->max_iterations;
    options.max_evaluations = o->max_iterations + o->max_iterations / 4;
    if (o->preset == CBE_PRESET_TUNED_LENS) options.change_stop = 1e-9;
    return options;
}

/* One start; the last energy evaluated is kept. */
cbe_status cbe_preset_search_vector(cbe_search *s, cbe_runner *r, cbe_error *err)
{
    const size_t d = s->d, j = s->vector;
    const bool restarts = s->options->preset == CBE_PRESET_TUNED_LENS;
    s->record.start = restarts && j < s->given.n ? s->given.kinds[j] : CBE_FROM_IDENTITY;
    if (restarts && j < s->given.n) {
        memcpy(r->start, s->given.v + j * d, d * sizeof(double));
    } else {
        memset(r->start, 0, d * sizeof(double));
        r->start[j] = 1;
    }
    cbe_sphere_point(&s->sphere, r->start, r->start);
    double before = HUGE_VAL;
    for (;;) {
        cbe_lbfgs_start(r->opt, r->start);
        const cbe_status st = cbe_ascend(s, 1, r, &to_the_end, &s->record.evaluations, err);
        if (st != CBE_OK) return st;
        cbe_sphere_point(&s->sphere, cbe_lbfgs_x(r->opt, NULL), r->v);
        s->record.energy = -cbe_lbfgs_last(r->opt);
        if (!restarts || s->record.evaluations >= s->options->max_iterations ||
            fabs(s->record.energy - before) <= 1e-4 * fabs(s->record.energy))
            break;
        before = s->record.energy;
        memcpy(r->start, r->v, d * sizeof(double));
    }
    cbe_search_count_start(s, s->record.start, s->record.energy);
    s->record.stop = cbe_lbfgs_stopped(r->opt);
    memcpy(s->found + j * d, r->v, d * sizeof(double));
    return CBE_OK;
}

/* PyTorch's rules stop some vectors short of a maximum, a few of them far from it (docs/search.md).
 * The preset `seed` follows them for all vectors, so that each path is the original's; then this
 * climbs from each vector that is no maximum, orthogonal to all the others, which therefore stay as
 * they are. In rounds, since where one vector went opens or closes a direction to the others. */
cbe_status cbe_preset_finish(cbe_search *s, cbe_vector_record *records, size_t n, cbe_error *err)
{
    const size_t d = s->d;
    cbe_lbfgs_options options;
    cbe_lbfgs_options_init(&options);
    options.change_stop = 1e-12;
    options.gradient_stop = 1e-10;
    options.relative_gradient_stop = MAXIMUM;
    options.noise = NOISE;
    options.max_iterations = s->options->max_iterations;
    options.max_evaluations = s->options->max_iterations + s->options->max_iterations / 4;
    double *others = cbe_alloc((n ? n - 1 : 0) * d, sizeof *others, "basis", err);
    cbe_runner *r = cbe_runners_create(1, d, &options, err);
    cbe_status st = others && r ? CBE_OK : CBE_ERR_NOMEM;
    bool moved = st == CBE_OK;
    for (int round = 0; round < FINISH_ROUNDS && moved; round++) {
        moved = false;
        for (size_t j = 0; j < n; j++) {
            const double began = cbe_now();
            memcpy(others, s->found, j * d * sizeof *others);
            memcpy(others + j * d, s->found + (j + 1) * d, (n - 1 - j) * d * sizeof *others);
            s->vector = j;
            s->sphere = (cbe_sphere){d, n - 1, others, 0};
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
