/*
 * optimal.c - optimal ablation: for each direction the constant a that makes the energy with
 * c_n = h_n . r - a least.
 *
 * The energy is smooth in a, and its slope comes with an evaluation; all constants of a direction
 * share its products with vocabulary and tokens. Since there may be several minima, quantiles of
 * the coefficients h_n . r, their mean and 0 are tried first, on a thin sample of the tokens in
 * force. (With mean and 0 among them, the result is not above mean or zero ablation.) The slopes'
 * signs bracket the minima; the most promising ones are closed in on there. From the best of them
 * Newton steps on all tokens in force lead on: the first with the sample's curvature, later ones
 * with what the slopes say. Two evaluations are usually enough.
 *
 * The energy of ce is no such function of a: it can have many minima, some far out, and go on
 * falling for ever. A search looks for its lowest as above; where a constant is asked for, the
 * energy is told to somebody, and a wide grid is tried, whose best minima are compared on all
 * tokens (cbe_constants_grid).
 *
 * By the envelope theorem the gradient in v is that at the best constant, held fixed. Source: Li
 * and Janson 2024, arXiv:2409.09951. Names: state.h.
 */
#include <string.h>

#include "objective/lens/optimal.h"
#include "core/fail.h"
#include "core/sizes.h"
#include "objective/constants.h"
#include "objective/lens/columns.h"
#include "objective/lens/sample.h"
#include "objective/lens/state.h"

static const double QUANTILES[] = {0.02, 0.2, 0.4, 0.6, 0.8, 0.98};
enum {
    N_QUANTILES = sizeof QUANTILES / sizeof *QUANTILES,
    N_CONSTANTS = N_QUANTILES + 2, /* and mean and zero */
    SAMPLE_SHARE = 16,             /* of the tokens, for the first look */
    MIN_SAMPLE = 128,
    SAMPLE_STEPS = 4, /* to close in on a minimum there */
    MAX_STEPS = 20    /* on all tokens */
};
static const cbe_constant_rules RULES = {2e-7, 2e-6, 1e-7};

/* Coefficients of a direction at the tokens in force, sorted, into o->work.constants.sorted;
 * returns how far they reach. */
static double sorted_coefficients(const cbe_lens_setup *setup, const cbe_lens_sample *sample,
                                  cbe_lens_work *work, size_t direction)
{
    const size_t n = sample->all_active;
    double *x = work->constants.sorted;
    memset(x, 0, n * sizeof *x); /* other processes' */
    for (size_t i = 0; i < sample->n_active; i++)
        x[sample->place + i] =
            work->h_dot[direction * setup->n_tokens + setup->row_token[sample->active[i]]];
    cbe_processes_sum(setup->processes, n, x);
    cbe_constants_order(n, x);
    return x[n - 1] - x[0];
}

/* Evaluates the constants `next` of n tracks, as many columns at once as there is room for, and
 * moves their brackets. */
static void evaluate_tracks(cbe_lens_objective *o, size_t n, cbe_constant_track *const *tracks)
{
    for (size_t first = 0; first < n; first += o->head.max_batch) {
        const size_t m = cbe_min_size(o->head.max_batch, n - first);
        for (size_t j = 0; j < m; j++) {
            o->work.direction[j] = tracks[first + j]->direction;
            o->work.constant[j] = tracks[first + j]->next;
        }
        cbe_lens_eval_columns(o, m, CBE_LENS_SLOPES, o->work.constants.energy,
                              o->work.constants.slope, NULL, NULL);
        for (size_t j = 0; j < m; j++)
            cbe_constant_tell(tracks[first + j], o->work.constants.energy[j],
                              o->work.constants.slope[j]);
    }
}

/* First look at one direction, on the rows in force: its tracks, and the range of its coefficients.
 * @param tracks  CBE_CONSTANT_MOST_TRACKS of a wide look, else CBE_CONSTANT_TRACKS */
static size_t first_look(cbe_lens_objective *o, size_t direction, bool wide,
                         cbe_constant_track *tracks, double *range)
{
    double a[CBE_CONSTANT_GRID], energy[CBE_CONSTANT_GRID], slope[CBE_CONSTANT_GRID];
    _Static_assert((int)N_CONSTANTS <= (int)CBE_CONSTANT_GRID, "room for both looks");
    *range = sorted_coefficients(&o->setup, &o->sample, &o->work, direction);
    const size_t n =
        wide ? cbe_constants_grid(o->sample.all_active, o->work.constants.sorted,
                                  o->work.mean_dot[direction], a)
             : cbe_constants_few(N_QUANTILES, QUANTILES, o->sample.all_active,
                                 o->work.constants.sorted, o->work.mean_dot[direction], a);
    for (size_t first = 0; first < n; first += o->head.max_batch) {
        const size_t m = cbe_min_size(o->head.max_batch, n - first);
        for (size_t j = 0; j < m; j++) {
            o->work.direction[j] = direction;
            o->work.constant[j] = a[first + j];
        }
        cbe_lens_eval_columns(o, m, CBE_LENS_SLOPES, energy + first, slope + first, NULL, NULL);
    }
    const size_t room = wide ? CBE_CONSTANT_MOST_TRACKS : CBE_CONSTANT_TRACKS;
    const size_t found = cbe_constants_bracket(direction, n, a, energy, slope, room, tracks);
    if (wide) cbe_constants_bound(found, tracks, a[0], a[n - 1]);
    return found;
}

/* Energies of n tracks at their constants, on the rows in force. */
static void compare_tracks(cbe_lens_objective *o, size_t n, cbe_constant_track *tracks)
{
    for (size_t first = 0; first < n; first += o->head.max_batch) {
        const size_t m = cbe_min_size(o->head.max_batch, n - first);
        for (size_t j = 0; j < m; j++) {
            o->work.direction[j] = tracks[first + j].direction;
            o->work.constant[j] = tracks[first + j].constant;
        }
        cbe_lens_eval_columns(o, m, CBE_LENS_ENERGIES, o->work.constants.energy, NULL, NULL, NULL);
        for (size_t j = 0; j < m; j++) tracks[first + j].energy = o->work.constants.energy[j];
    }
}

/* Closes in on the minima of all directions on `thin` of the rows in force; the best of each is
 * left in tracks[direction]: of a wide look, the best on all rows in force before. */
static void find_minima(cbe_lens_objective *o, size_t m, size_t thin, bool wide, double *ranges)
{
    const size_t first = o->sample.first, span = o->sample.span, count = o->sample.all_active;
    cbe_constant_track found[CBE_CONSTANT_MOST_TRACKS];
    cbe_lens_activate(&o->setup, &o->sample, first, span, thin);
    for (size_t direction = 0; direction < m; direction++) {
        const size_t n = first_look(o, direction, wide, found, &ranges[direction]);
        cbe_constant_track *open[CBE_CONSTANT_MOST_TRACKS];
        for (int step = 0; step < SAMPLE_STEPS; step++) {
            size_t n_open = 0;
            for (size_t i = 0; i < n; i++)
                if (cbe_constant_open(&found[i])) open[n_open++] = &found[i];
            evaluate_tracks(o, n_open, open);
        }
        if (wide) {
            cbe_lens_activate(&o->setup, &o->sample, first, span, count);
            compare_tracks(o, n, found);
            cbe_lens_activate(&o->setup, &o->sample, first, span, thin);
        }
        o->work.constants.tracks[direction] = cbe_constants_best(n, found);
    }
    cbe_lens_activate(&o->setup, &o->sample, first, span, count);
}

/* Results of a settled column. The step that was too small to be made is still taken to first
 * order, which costs nothing. */
static void copy_column(const cbe_lens_setup *setup, const cbe_lens_sample *sample,
                        const cbe_lens_work *work, size_t j, const cbe_constant_track *t,
                        double *energy, double *constant, double *grad, double *per_token)
{
    const size_t d = setup->hidden_size, active = sample->n_active, direction = t->direction;
    const double step = cbe_constant_last_step(t);
    energy[direction] = t->energy + step * t->slope_low / 2;
    if (constant) constant[direction] = t->constant + step;
    if (grad) memcpy(grad + direction * d, work->constants.grad + j * d, d * sizeof *grad);
    for (size_t i = 0; i < active && per_token; i++)
        per_token[direction * active + i] =
            work->rows[j * active + i].energy - step * work->rows[j * active + i].c_coeff;
}

cbe_status cbe_lens_eval_optimal(cbe_objective *self, size_t m, const double *v, double *energy,
                                 double *constant, double *grad, double *per_token, cbe_error *err)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    if (!o->layer.set) return cbe_fail(err, CBE_ERR_ARG, -1, "the lens objective has no layer set");
    o->work.replacement = CBE_ABLATE_OPTIMAL;
    cbe_lens_set_directions(o, m, v);
    const size_t count = o->sample.all_active;
    size_t thin = count / SAMPLE_SHARE > MIN_SAMPLE ? count / SAMPLE_SHARE : MIN_SAMPLE;
    thin = cbe_min_size(thin, count);
    find_minima(o, m, thin, constant && o->setup.kind == CBE_LOSS_CE, o->work.constants.range);

    size_t n_pending = m;
    for (size_t j = 0; j < m; j++) o->work.constants.pending[j] = j;
    for (int step = 0; n_pending > 0; step++) {
        /* The first step is rarely the last one where a sample led there; a gradient costs half an
         * evaluation. */
        const cbe_lens_want want =
            grad && (step > 0 || thin == count) ? CBE_LENS_GRADIENTS : CBE_LENS_SLOPES;
        const bool complete = !grad || want == CBE_LENS_GRADIENTS;
        for (size_t j = 0; j < n_pending; j++) {
            o->work.direction[j] = o->work.constants.pending[j];
            o->work.constant[j] = o->work.constants.tracks[o->work.constants.pending[j]].next;
        }
        cbe_lens_eval_columns(o, n_pending, want, o->work.constants.energy, o->work.constants.slope,
                              o->work.constants.grad, NULL);
        size_t left = 0;
        for (size_t j = 0; j < n_pending; j++) {
            const size_t direction = o->work.constants.pending[j];
            cbe_constant_track *t = &o->work.constants.tracks[direction];
            const bool settled = cbe_constant_newton(t, &RULES, o->work.constants.energy[j],
                                                     o->work.constants.slope[j],
                                                     o->work.constants.range[direction], step);
            /* no minimum in reach: the last point as it is */
            if (!settled && step >= MAX_STEPS) t->curvature = 0;
            if ((settled || step >= MAX_STEPS) && complete)
                copy_column(&o->setup, &o->sample, &o->work, j, t, energy, constant, grad,
                            per_token);
            else
                o->work.constants.pending[left++] = direction;
        }
        n_pending = left;
    }
    return CBE_OK;
}
