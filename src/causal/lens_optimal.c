/*
 * lens_optimal.c - optimal ablation: for each direction the constant a that makes the energy with c_n = h_n . v - a least.
 *
 * The energy is smooth in a, and its slope comes with an evaluation; all constants of a direction share its products with
 * vocabulary and tokens. Since there may be several minima, quantiles of the coefficients h_n . v, their mean and 0 are tried
 * first, on a thin sample of the tokens in force. (With mean and 0 among them, the result is not above mean or zero ablation.) The slopes' signs bracket the minima; the most promising ones are closed in on there. From the
 * best of them Newton steps on all tokens in force lead on: the first with the sample's curvature, later ones with what
 * the slopes say. Two evaluations are usually enough.
 *
 * By the envelope theorem the gradient in v is that at the best constant, held fixed.
 * Source: Li and Janson 2024, arXiv:2409.09951. Names: lens_objective.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "causal/lens_objective.h"
#include "core/fail.h"

static const double QUANTILES[] = {0.02, 0.2, 0.4, 0.6, 0.8, 0.98};
enum {
    N_QUANTILES = sizeof QUANTILES / sizeof *QUANTILES,
    N_CONSTANTS = N_QUANTILES + 2, /* and mean and zero */
    SAMPLE_SHARE = 16, /* of the tokens, for the first look */
    MIN_SAMPLE = 128,
    SAMPLE_STEPS = 4,  /* to close in on a minimum there */
    MAX_STEPS = 20     /* on all tokens */
};
/* An energy is settled when the step to come would lower it by less than this share of it, and would be smaller
 * than that share of the coefficients' range. */
static const double SETTLED = 2e-7, SETTLED_STEP = 2e-6;
/* Slopes that would change an energy over the whole range by less than this, relative, are rounding. */
static const double FLAT = 1e-7;

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Coefficients of a direction at the tokens in force, sorted, into x (n_active). */
static void sorted_coefficients(const cbe_lens_objective *o, size_t direction, double *x)
{
    for (size_t i = 0; i < o->n_active; i++) x[i] = o->h_dot[direction * o->n_tokens + o->row_token[o->active[i]]];
    qsort(x, o->n_active, sizeof *x, compare);
}

/* Where the cubic through both ends, with their slopes, is least. (Nocedal and Wright, equation 3.59) */
static double cubic_minimum(const cbe_lens_track *t)
{
    const double width = t->high - t->low;
    const double d1 = t->slope_low + t->slope_high - 3 * (t->energy_high - t->energy_low) / width;
    const double under = d1 * d1 - t->slope_low * t->slope_high;
    const double d2 = under > 0 ? sqrt(under) : 0;
    double share = 1 - (t->slope_high + d2 - d1) / (t->slope_high - t->slope_low + 2 * d2);
    if (!(share >= 0.02)) share = 0.02;
    if (share > 0.98) share = 0.98;
    return t->low + share * width;
}

static void choose_next(cbe_lens_track *t)
{
    const double width = t->high - t->low;
    if (t->open_low)
        t->next = t->low - 2 * width;
    else if (t->open_high)
        t->next = t->high + 2 * width;
    else
        t->next = cubic_minimum(t);
}

/* An end of the bracket moves to where the slope was told. */
static void tell_bracket(cbe_lens_track *t, double energy, double slope)
{
    const double old_slope = slope < 0 ? t->slope_low : t->slope_high, old = slope < 0 ? t->low : t->high;
    if (t->next != old) t->curvature = (slope - old_slope) / (t->next - old);
    if (energy < t->energy) {
        t->energy = energy;
        t->constant = t->next;
    }
    if (slope < 0) {
        if (t->open_low) { /* the minimum lies between here and the end that was the lowest */
            t->high = t->low, t->energy_high = t->energy_low, t->slope_high = t->slope_low;
            t->open_low = false;
        }
        t->low = t->next, t->energy_low = energy, t->slope_low = slope;
    } else {
        if (t->open_high) {
            t->low = t->high, t->energy_low = t->energy_high, t->slope_low = t->slope_high;
            t->open_high = false;
        }
        t->high = t->next, t->energy_high = energy, t->slope_high = slope;
    }
    choose_next(t);
}

/* Evaluates the constants `next` of n tracks, as many columns at once as there is room for, and moves their brackets. */
static void evaluate_tracks(cbe_lens_objective *o, const double *v, size_t n, cbe_lens_track *const *tracks)
{
    for (size_t first = 0; first < n; first += o->head.max_batch) {
        const size_t m = min_size(o->head.max_batch, n - first);
        for (size_t j = 0; j < m; j++) {
            o->direction[j] = tracks[first + j]->direction;
            o->constant[j] = tracks[first + j]->next;
        }
        cbe_lens_eval_columns(o, m, v, CBE_LENS_SLOPES, o->column_energy, o->column_slope, NULL, NULL);
        for (size_t j = 0; j < m; j++) tell_bracket(tracks[first + j], o->column_energy[j], o->column_slope[j]);
    }
}

/* Energies and slopes at n rising constants a: the brackets with the lowest ends become tracks; returns their number. */
static size_t bracket(size_t direction, size_t n, const double *a, const double *energy, const double *slope,
                      cbe_lens_track *tracks)
{
    size_t count = 0;
    for (size_t i = 0; i <= n; i++) { /* the gap in front of constant i */
        const bool first = i == 0, last = i == n;
        if ((!first && !(slope[i - 1] < 0)) || (!last && !(slope[i] >= 0))) continue;
        if (n == 1 || (!first && !last && !(a[i] > a[i - 1]))) continue;
        const size_t low = first ? 0 : last ? n - 2 : i - 1, high = low + 1;
        const bool lower_end = energy[low] <= energy[high];
        cbe_lens_track t = {direction,
                            a[low], a[high], energy[low], energy[high], slope[low], slope[high],
                            0,
                            lower_end ? energy[low] : energy[high],
                            lower_end ? a[low] : a[high],
                            (slope[high] - slope[low]) / (a[high] - a[low]),
                            first, last};
        choose_next(&t);
        size_t at = count < CBE_LENS_TRACKS ? count++ : CBE_LENS_TRACKS;
        for (; at > 0 && tracks[at - 1].energy > t.energy; at--)
            if (at < CBE_LENS_TRACKS) tracks[at] = tracks[at - 1];
        if (at < CBE_LENS_TRACKS) tracks[at] = t;
    }
    return count;
}

/* First look at one direction, on the rows in force: its tracks, and the range of its coefficients. */
static size_t first_look(cbe_lens_objective *o, const double *v, size_t direction, cbe_lens_track *tracks, double *range)
{
    double a[N_CONSTANTS], energy[N_CONSTANTS], slope[N_CONSTANTS];
    double *x = o->coeff; /* free until a gradient is taken */
    sorted_coefficients(o, direction, x);
    *range = x[o->n_active - 1] - x[0];
    for (size_t q = 0; q < N_QUANTILES; q++) a[q] = x[(size_t)(QUANTILES[q] * (double)(o->n_active - 1) + 0.5)];
    a[N_QUANTILES] = o->mean_dot[direction];
    a[N_QUANTILES + 1] = 0;
    qsort(a, N_CONSTANTS, sizeof *a, compare);
    size_t n = 0;
    for (size_t i = 0; i < N_CONSTANTS; i++)
        if (n == 0 || a[i] > a[n - 1]) a[n++] = a[i];
    for (size_t first = 0; first < n; first += o->head.max_batch) {
        const size_t m = min_size(o->head.max_batch, n - first);
        for (size_t j = 0; j < m; j++) {
            o->direction[j] = direction;
            o->constant[j] = a[first + j];
        }
        cbe_lens_eval_columns(o, m, v, CBE_LENS_SLOPES, energy + first, slope + first, NULL, NULL);
    }
    const size_t count = bracket(direction, n, a, energy, slope, tracks);
    if (count) return count;
    /* All coefficients are the same, or numbers are not finite: stay at the lowest. */
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (energy[i] < energy[best]) best = i;
    tracks[0] = (cbe_lens_track){.direction = direction, .next = a[best], .energy = energy[best], .constant = a[best]};
    return 1;
}

/* Closes in on the minima of all directions on the rows in force; the best of each is left in tracks[direction]. */
static void sample_minima(cbe_lens_objective *o, size_t m, const double *v, double *ranges)
{
    cbe_lens_track found[CBE_LENS_TRACKS];
    for (size_t direction = 0; direction < m; direction++) {
        size_t n = first_look(o, v, direction, found, &ranges[direction]);
        cbe_lens_track *open[CBE_LENS_TRACKS];
        for (int step = 0; step < SAMPLE_STEPS; step++) {
            size_t n_open = 0;
            for (size_t i = 0; i < n; i++)
                if (found[i].high > found[i].low && isfinite(found[i].energy)) open[n_open++] = &found[i];
            evaluate_tracks(o, v, n_open, open);
        }
        for (size_t i = 1; i < n; i++)
            if (found[i].energy < found[0].energy) found[0] = found[i];
        found[0].next = found[0].constant;
        o->tracks[direction] = found[0];
    }
}

/* A Newton step from an evaluation on all rows; true when it need not be made. range: of the coefficients. */
static bool newton(cbe_lens_track *t, double energy, double slope, double range, int step)
{
    if (step > 0 && t->next != t->constant) {
        const double curvature = (slope - t->slope_low) / (t->next - t->constant);
        if (curvature > 0) t->curvature = curvature;
    }
    t->constant = t->next;
    t->slope_low = slope;
    t->energy = energy;
    if (!isfinite(energy) || !isfinite(slope) || fabs(slope) * range <= FLAT * fabs(energy)) {
        t->curvature = 0;
        return true;
    }
    double size = t->curvature > 0 ? fabs(slope) / t->curvature : range / 4;
    if (size > range / 4) size = range / 4;
    if (size <= SETTLED_STEP * range && fabs(slope) * size / 2 <= SETTLED * fabs(energy)) return true;
    t->next = t->constant - copysign(size, slope);
    return false;
}

/* Results of a settled column. The step that was too small to be made is still taken to first order, which costs nothing. */
static void copy_column(const cbe_lens_objective *o, size_t j, const cbe_lens_track *t, double *energy, double *constant,
                        double *grad, double *per_token)
{
    const size_t d = o->hidden_size, active = o->n_active, direction = t->direction;
    const double step = t->curvature > 0 ? -t->slope_low / t->curvature : 0;
    energy[direction] = t->energy + step * t->slope_low / 2;
    if (constant) constant[direction] = t->constant + step;
    if (grad) memcpy(grad + direction * d, o->column_grad + j * d, d * sizeof *grad);
    for (size_t i = 0; i < active && per_token; i++)
        per_token[direction * active + i] = o->rows[j * active + i].energy - step * o->rows[j * active + i].c_coeff;
}

cbe_status cbe_lens_eval_optimal(cbe_objective *self, size_t m, const double *v, double *energy, double *constant,
                                 double *grad, double *per_token, cbe_error *err)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    if (!o->layer_set) return cbe_fail(err, CBE_ERR_ARG, -1, "the lens objective has no layer set");
    o->replacement = CBE_ABLATE_OPTIMAL;
    cbe_lens_set_directions(o, m, v);
    const size_t first = o->active_first, span = o->active_span, count = o->n_active;
    size_t thin = count / SAMPLE_SHARE > MIN_SAMPLE ? count / SAMPLE_SHARE : MIN_SAMPLE;
    thin = min_size(thin, count);
    cbe_lens_activate(o, first, span, thin);
    sample_minima(o, m, v, o->column_range);
    cbe_lens_activate(o, first, span, count);

    size_t n_pending = m;
    for (size_t j = 0; j < m; j++) o->pending[j] = j;
    for (int step = 0; n_pending > 0; step++) {
        /* The first step is rarely the last one where a sample led there; a gradient costs half an evaluation. */
        const cbe_lens_want want = grad && (step > 0 || thin == count) ? CBE_LENS_GRADIENTS : CBE_LENS_SLOPES;
        const bool complete = !grad || want == CBE_LENS_GRADIENTS;
        for (size_t j = 0; j < n_pending; j++) {
            o->direction[j] = o->pending[j];
            o->constant[j] = o->tracks[o->pending[j]].next;
        }
        cbe_lens_eval_columns(o, n_pending, v, want, o->column_energy, o->column_slope, o->column_grad, NULL);
        size_t left = 0;
        for (size_t j = 0; j < n_pending; j++) {
            const size_t direction = o->pending[j];
            cbe_lens_track *t = &o->tracks[direction];
            const bool settled = newton(t, o->column_energy[j], o->column_slope[j], o->column_range[direction], step);
            if (!settled && step >= MAX_STEPS) t->curvature = 0; /* no minimum in reach: the last point as it is */
            if ((settled || step >= MAX_STEPS) && complete)
                copy_column(o, j, t, energy, constant, grad, per_token);
            else
                o->pending[left++] = direction;
        }
        n_pending = left;
    }
    return CBE_OK;
}
