/*
 * optimal.c - optimal ablation in the whole model: the constants a that make energies with c_n =
 * h_n . r - a least.
 *
 * As objective/lens/optimal.c does it, with its wide grid for ce where a constant is asked for,
 * with fewer evaluations, for each of them runs the model: a few quantiles of h_n . r, their mean
 * and 0 on one or two sequences, two steps to close in there, then Newton steps on all sequences in
 * force. Slopes come with gradients, so the last step has both.
 *
 * Source: Li and Janson 2024, arXiv:2409.09951. Names: state.h.
 */
#include <math.h>
#include <string.h>

#include "objective/model/optimal.h"
#include "core/fail.h"
#include "core/sizes.h"
#include "objective/constants.h"
#include "objective/model/columns.h"
#include "objective/model/sample.h"
#include "objective/model/tokens.h"

static const double QUANTILES[] = {0.1, 0.5, 0.9};
enum {
    N_QUANTILES = sizeof QUANTILES / sizeof *QUANTILES,
    N_CONSTANTS = N_QUANTILES + 2, /* and mean and zero */
    SAMPLE_SHARE = 8,              /* of the sequences, for the first look */
    MIN_SAMPLE = 2,
    SAMPLE_STEPS = 2,
    MAX_STEPS = 8
};
static const cbe_constant_rules RULES = {1e-6, 1e-5, 1e-6};

/* Coefficients of a direction at the tokens in force, sorted; returns their number. */
static size_t sorted_coefficients(cbe_model_objective *o, const double *read)
{
    const size_t each = o->setup.tokens_each, n = o->sample.all_active * each;
    memset(o->work.constants.sorted, 0,
           n * sizeof *o->work.constants.sorted); /* other processes' */
    for (size_t i = 0; i < o->sample.n_active; i++)
        for (size_t t = 0; t < each; t++)
            o->work.constants.sorted[(o->sample.place + i) * each + t] = cbe_model_dot(
                o->setup.hidden_size,
                cbe_model_token(&o->setup, &o->layer, o->sample.active[i] * each + t), read);
    cbe_processes_sum(o->setup.processes, n, o->work.constants.sorted);
    cbe_constants_order(n, o->work.constants.sorted);
    return n;
}

/* Energies and slopes of one direction at n constants, as many columns at once as there is room
 * for. */
static cbe_status evaluate(cbe_model_objective *o, size_t direction, size_t n, const double *a,
                           double *energy, double *slope, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t first = 0; first < n && st == CBE_OK; first += o->head.max_batch) {
        const size_t m = cbe_min_size(o->head.max_batch, n - first);
        for (size_t j = 0; j < m; j++) {
            o->work.direction[j] = direction;
            o->work.constant[j] = a[first + j];
        }
        st = cbe_model_eval_columns(o, m, CBE_MODEL_GRADIENTS, energy + first, slope + first, NULL,
                                    NULL, err);
    }
    return st;
}

/* Energies of n tracks at their constants, on all `count` sequences of the sample in force; `thin`
 * of them are in force again. */
static cbe_status compare_tracks(cbe_model_objective *o, size_t thin, size_t count, size_t n,
                                 cbe_constant_track *tracks, cbe_error *err)
{
    double a[CBE_CONSTANT_MOST_TRACKS], energy[CBE_CONSTANT_MOST_TRACKS],
        slope[CBE_CONSTANT_MOST_TRACKS];
    for (size_t i = 0; i < n; i++) a[i] = tracks[i].constant;
    cbe_model_activate(&o->setup, &o->sample, o->sample.first, o->sample.span, count);
    const cbe_status st = evaluate(o, tracks->direction, n, a, energy, slope, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++) tracks[i].energy = energy[i];
    cbe_model_activate(&o->setup, &o->sample, o->sample.first, o->sample.span, thin);
    return st;
}

/* The best minimum of a direction on the sequences in force; of a wide look, on `all` sequences of
 * the sample. */
static cbe_status sample_minimum(cbe_model_objective *o, size_t direction, bool wide, size_t all,
                                 cbe_error *err)
{
    double a[CBE_CONSTANT_GRID], energy[CBE_CONSTANT_GRID], slope[CBE_CONSTANT_GRID];
    _Static_assert((int)N_CONSTANTS <= (int)CBE_CONSTANT_GRID, "room for both looks");
    cbe_constant_track found[CBE_CONSTANT_MOST_TRACKS];
    const size_t count = sorted_coefficients(o, o->work.read + direction * o->setup.hidden_size);
    o->work.constants.range[direction] =
        o->work.constants.sorted[count - 1] - o->work.constants.sorted[0];
    const size_t n =
        wide ? cbe_constants_grid(count, o->work.constants.sorted, o->work.mean_dot[direction], a)
             : cbe_constants_few(N_QUANTILES, QUANTILES, count, o->work.constants.sorted,
                                 o->work.mean_dot[direction], a);
    cbe_status st = evaluate(o, direction, n, a, energy, slope, err);
    if (st != CBE_OK) return st;
    const size_t room = wide ? CBE_CONSTANT_MOST_TRACKS : CBE_CONSTANT_TRACKS;
    const size_t n_found = cbe_constants_bracket(direction, n, a, energy, slope, room, found);
    if (wide) cbe_constants_bound(n_found, found, a[0], a[n - 1]);
    for (int step = 0; step < SAMPLE_STEPS && st == CBE_OK; step++) {
        size_t open[CBE_CONSTANT_MOST_TRACKS], n_open = 0;
        for (size_t i = 0; i < n_found; i++)
            if (cbe_constant_open(&found[i])) {
                a[n_open] = found[i].next;
                open[n_open++] = i;
            }
        if (n_open == 0) break;
        st = evaluate(o, direction, n_open, a, energy, slope, err);
        for (size_t i = 0; i < n_open && st == CBE_OK; i++)
            cbe_constant_tell(&found[open[i]], energy[i], slope[i]);
    }
    if (wide && st == CBE_OK)
        st = compare_tracks(o, o->sample.all_active, all, n_found, found, err);
    o->work.constants.tracks[direction] = cbe_constants_best(n_found, found);
    return st;
}

/* Newton steps of all directions on all sequences in force, until each is settled. */
static cbe_status settle(cbe_model_objective *o, size_t m, double *grad, cbe_error *err)
{
    const size_t d = o->setup.hidden_size;
    size_t n_pending = m;
    for (size_t j = 0; j < m; j++) o->work.constants.pending[j] = j;
    for (int step = 0; n_pending > 0; step++) {
        for (size_t j = 0; j < n_pending; j++) {
            o->work.direction[j] = o->work.constants.pending[j];
            o->work.constant[j] = o->work.constants.tracks[o->work.constants.pending[j]].next;
        }
        const cbe_status st = cbe_model_eval_columns(
            o, n_pending, CBE_MODEL_GRADIENTS, o->work.constants.energy, o->work.constants.slope,
            grad ? o->work.constants.grad : NULL, NULL, err);
        if (st != CBE_OK) return st;
        size_t left = 0;
        for (size_t j = 0; j < n_pending; j++) {
            const size_t direction = o->work.constants.pending[j];
            const bool settled = cbe_constant_newton(
                &o->work.constants.tracks[direction], &RULES, o->work.constants.energy[j],
                o->work.constants.slope[j], o->work.constants.range[direction], step);
            if (!settled && step < MAX_STEPS)
                o->work.constants.pending[left++] = direction;
            else if (grad)
                memcpy(grad + direction * d, o->work.constants.grad + j * d, d * sizeof *grad);
        }
        n_pending = left;
    }
    return CBE_OK;
}

cbe_status cbe_model_eval_optimal(cbe_objective *self, size_t m, const double *v, double *energy,
                                  double *constant, double *grad, double *per_token, cbe_error *err)
{
    cbe_model_objective *o = (cbe_model_objective *)self;
    if (!o->layer.hidden)
        return cbe_fail(err, CBE_ERR_ARG, -1, "the model objective has no layer set");
    cbe_status st = CBE_OK;
    o->work.replacement = CBE_ABLATE_OPTIMAL;
    cbe_model_set_directions(&o->setup, &o->layer, &o->work, m, v);
    const size_t first = o->sample.first, span = o->sample.span, count = o->sample.all_active;
    const size_t thin =
        cbe_min_size(count / SAMPLE_SHARE > MIN_SAMPLE ? count / SAMPLE_SHARE : MIN_SAMPLE, count);
    cbe_model_activate(&o->setup, &o->sample, first, span, thin);
    const bool wide = constant && o->setup.kind == CBE_LOSS_CE;
    for (size_t j = 0; j < m && st == CBE_OK; j++) st = sample_minimum(o, j, wide, count, err);
    cbe_model_activate(&o->setup, &o->sample, first, span, count);
    if (st == CBE_OK) st = settle(o, m, grad, err);
    if (st != CBE_OK) return st;
    for (size_t j = 0; j < m; j++) {
        energy[j] = o->work.constants.tracks[j].energy;
        o->work.direction[j] = j;
        o->work.constant[j] = o->work.constants.tracks[j].constant;
        if (constant) constant[j] = o->work.constant[j];
    }
    return per_token ? cbe_model_eval_columns(o, m, CBE_MODEL_ENERGIES, o->work.constants.energy,
                                              NULL, NULL, per_token, err)
                     : CBE_OK;
}
