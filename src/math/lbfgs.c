/* lbfgs.c - see math/lbfgs.h. Between ask and tell the object holds the state of the line
 * search. */
#include "math/lbfgs.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

/* What the next value told is for. */
typedef enum { AT_START, BRACKETING, ZOOMING, STOPPED } stage;

/* A trial of the line search: step, value, slope along the direction, and which buffer holds its
 * gradient. */
typedef struct {
    double t, f, slope;
    double *g;
} trial;

struct cbe_lbfgs {
    size_t n;
    cbe_lbfgs_options options;
    stage stage;
    cbe_stop stop;

    double *x, *g; /* iterate and its gradient */
    double *previous_g, *direction;
    double f, previous_f;
    double step;   /* the last step taken along direction */
    double *asked; /* the point to evaluate */
    double *best;
    double best_f, last_f;

    /* History: a ring of pairs s, y with 1 / s'y. */
    double *s, *y, *rho, *alpha;
    size_t n_pairs, oldest;
    double h0;

    size_t iterations, evaluations, line_search_evaluations;

    /* Line search: the trial to evaluate, and either the trial before it or the bracket. */
    double slope0, f0, direction_max;
    trial current, previous, bracket[2];
    int low; /* which end of the bracket has the lower value */
    int insufficient;
    double *gradients[4]; /* of current, previous and bracket[2]; each trial points to one */
};

void cbe_lbfgs_options_init(cbe_lbfgs_options *options)
{
    *options = (cbe_lbfgs_options){100, 100, 125, 25, 1e-4,  0.9, 1e-7, (double)FLT_EPSILON,
                                   0,   0,   0,   0,  1e-10, 0};
}

const char *cbe_stop_name(cbe_stop stop)
{
    static const char *const names[] = {"none",       "gradient",    "change",
                                        "iterations", "evaluations", "slope"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_STOPS, "one name for each stop");
    return (unsigned)stop < CBE_N_STOPS ? names[stop] : "?";
}

cbe_status cbe_lbfgs_create(cbe_lbfgs **out, size_t n, const cbe_lbfgs_options *options,
                            cbe_error *err)
{
    cbe_lbfgs *opt = cbe_alloc_zero(1, sizeof *opt, "L-BFGS state", err);
    if (!opt) return CBE_ERR_NOMEM;
    opt->n = n;
    opt->options = *options;
    opt->stage = STOPPED;
    size_t history_size;
    const size_t history = options->history ? options->history : 1;
    double **points[] = {&opt->x,
                         &opt->g,
                         &opt->previous_g,
                         &opt->direction,
                         &opt->asked,
                         &opt->best,
                         &opt->gradients[0],
                         &opt->gradients[1],
                         &opt->gradients[2],
                         &opt->gradients[3]};
    opt->options.history = history;
    if (!cbe_mul_size(history, n, &history_size)) {
        cbe_fail(err, CBE_ERR_NOMEM, -1, "L-BFGS history of %zu x %zu does not fit memory", history,
                 n);
        goto fail;
    }
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        if (!(*points[i] = cbe_alloc_zero(n, sizeof(double), "L-BFGS state", err))) goto fail;
    if (!(opt->s = cbe_alloc(history_size, sizeof(double), "L-BFGS history", err)) ||
        !(opt->y = cbe_alloc(history_size, sizeof(double), "L-BFGS history", err)) ||
        !(opt->rho = cbe_alloc(history, sizeof(double), "L-BFGS history", err)) ||
        !(opt->alpha = cbe_alloc(history, sizeof(double), "L-BFGS history", err)))
        goto fail;
    *out = opt;
    return CBE_OK;
fail:
    cbe_lbfgs_free(opt);
    return CBE_ERR_NOMEM;
}

void cbe_lbfgs_free(cbe_lbfgs *opt)
{
    if (!opt) return;
    void *owned[] = {opt->x,
                     opt->g,
                     opt->previous_g,
                     opt->direction,
                     opt->asked,
                     opt->best,
                     opt->s,
                     opt->y,
                     opt->rho,
                     opt->alpha,
                     opt->gradients[0],
                     opt->gradients[1],
                     opt->gradients[2],
                     opt->gradients[3]};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    cbe_free(opt);
}

static double dot(size_t n, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double max_abs(size_t n, const double *a)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(a[i]));
    return largest;
}

static int gradient_is_small(const cbe_lbfgs *opt)
{
    const double largest = max_abs(opt->n, opt->g);
    return largest <= opt->options.gradient_stop ||
           largest <= opt->options.relative_gradient_stop * fabs(opt->f);
}

void cbe_lbfgs_start(cbe_lbfgs *opt, const double *x)
{
    opt->n_pairs = opt->oldest = 0;
    opt->h0 = 1;
    cbe_lbfgs_restart(opt, x);
}

void cbe_lbfgs_restart(cbe_lbfgs *opt, const double *x)
{
    memmove(opt->asked, x, opt->n * sizeof *x);
    memcpy(opt->x, opt->asked, opt->n * sizeof *x);
    memcpy(opt->best, opt->asked, opt->n * sizeof *x);
    opt->best_f = opt->last_f = opt->f = HUGE_VAL;
    opt->iterations = opt->evaluations = 0;
    opt->stage = AT_START;
    opt->stop = CBE_STOP_NONE;
}

const double *cbe_lbfgs_ask(const cbe_lbfgs *opt)
{
    return opt->stage == STOPPED ? NULL : opt->asked;
}

static void stop(cbe_lbfgs *opt, cbe_stop why)
{
    opt->stage = STOPPED;
    opt->stop = why;
}

static void ask_step(cbe_lbfgs *opt, double t, stage next)
{
    opt->current.t = t;
    opt->stage = next;
    for (size_t i = 0; i < opt->n; i++) opt->asked[i] = opt->x[i] + t * opt->direction[i];
}

/* Newest pair: s = step direction, y = g - previous g (equation 7.18). */
static void remember_pair(cbe_lbfgs *opt)
{
    const size_t n = opt->n;
    const size_t slot = opt->n_pairs < opt->options.history
                            ? (opt->oldest + opt->n_pairs) % opt->options.history
                            : opt->oldest;
    double *s = opt->s + slot * n, *y = opt->y + slot * n;
    double sy = 0;
    /* The slot may hold the oldest pair: test s'y before overwriting it. */
    for (size_t i = 0; i < n; i++)
        sy += (opt->g[i] - opt->previous_g[i]) * (opt->direction[i] * opt->step);
    if (!(sy > opt->options.curvature_min)) return;
    for (size_t i = 0; i < n; i++) {
        s[i] = opt->direction[i] * opt->step;
        y[i] = opt->g[i] - opt->previous_g[i];
    }
    opt->rho[slot] = 1 / sy;
    opt->h0 = sy / dot(n, y, y);
    if (opt->n_pairs < opt->options.history)
        opt->n_pairs++;
    else
        opt->oldest = (opt->oldest + 1) % opt->options.history;
}

/* direction = -H g by the two-loop recursion (algorithm 7.4). */
static void set_direction(cbe_lbfgs *opt)
{
    const size_t n = opt->n, history = opt->options.history;
    double *d = opt->direction;
    for (size_t i = 0; i < n; i++) d[i] = -opt->g[i];
    for (size_t k = opt->n_pairs; k-- > 0;) {
        const size_t slot = (opt->oldest + k) % history;
        const double *s = opt->s + slot * n, *y = opt->y + slot * n;
        const double alpha = opt->alpha[slot] = dot(n, s, d) * opt->rho[slot];
        for (size_t i = 0; i < n; i++) d[i] -= alpha * y[i];
    }
    for (size_t i = 0; i < n; i++) d[i] *= opt->h0;
    for (size_t k = 0; k < opt->n_pairs; k++) {
        const size_t slot = (opt->oldest + k) % history;
        const double *s = opt->s + slot * n, *y = opt->y + slot * n;
        const double beta = dot(n, y, d) * opt->rho[slot];
        for (size_t i = 0; i < n; i++) d[i] += (opt->alpha[slot] - beta) * s[i];
    }
}

/* Begins an iteration: a direction and the first trial of its line search. */
static void next_iteration(cbe_lbfgs *opt)
{
    const size_t n = opt->n;
    double t = 1;
    if (opt->iterations++ > 0) {
        remember_pair(opt);
    } else if (opt->n_pairs == 0) { /* nothing is known of the curvature yet */
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += fabs(opt->g[i]);
        t = opt->options.first_length > 0 ? opt->options.first_length / sqrt(dot(n, opt->g, opt->g))
                                          : fmin(1, 1 / sum);
    }
    set_direction(opt);
    memcpy(opt->previous_g, opt->g, n * sizeof *opt->g);
    opt->previous_f = opt->f0 = opt->f;
    opt->slope0 = dot(n, opt->g, opt->direction);
    if (opt->slope0 > -opt->options.change_stop) {
        stop(opt, CBE_STOP_SLOPE);
        return;
    }
    opt->direction_max = max_abs(n, opt->direction);
    opt->line_search_evaluations = 0;
    opt->insufficient = 0;
    opt->previous = (trial){0, opt->f, opt->slope0, opt->gradients[1]};
    memcpy(opt->previous.g, opt->g, n * sizeof *opt->g);
    opt->current.g = opt->gradients[0];
    opt->bracket[0].g = opt->gradients[2];
    opt->bracket[1].g = opt->gradients[3];
    ask_step(opt, t, BRACKETING);
}

/* Minimum of the cubic through two trials (equation 3.59), kept within [low, high]. */
static double interpolate(const trial *a, const trial *b, double low, double high)
{
    const double d1 = a->slope + b->slope - 3 * (a->f - b->f) / (a->t - b->t);
    const double square = d1 * d1 - a->slope * b->slope;
    if (!(square >= 0)) return (low + high) / 2;
    const double d2 = sqrt(square);
    const double t =
        a->t <= b->t
            ? b->t - (b->t - a->t) * ((b->slope + d2 - d1) / (b->slope - a->slope + 2 * d2))
            : a->t - (a->t - b->t) * ((a->slope + d2 - d1) / (a->slope - b->slope + 2 * d2));
    return isnan(t) ? (low + high) / 2 : fmin(fmax(t, low), high);
}

/* The line search is over: x moves to the trial, and the stopping rules decide. */
static void accept(cbe_lbfgs *opt, const trial *chosen)
{
    const cbe_lbfgs_options *o = &opt->options;
    for (size_t i = 0; i < opt->n; i++) opt->x[i] += chosen->t * opt->direction[i];
    memcpy(opt->g, chosen->g, opt->n * sizeof *opt->g);
    opt->f = chosen->f;
    opt->step = chosen->t;
    const double change = fabs(opt->f - opt->previous_f);
    if (opt->iterations >= o->max_iterations)
        stop(opt, CBE_STOP_ITERATIONS);
    else if (opt->evaluations >= o->max_evaluations)
        stop(opt, CBE_STOP_EVALUATIONS);
    else if (gradient_is_small(opt))
        stop(opt, CBE_STOP_GRADIENT);
    else if (opt->direction_max * fabs(chosen->t) <= o->change_stop || change < o->change_stop ||
             change <= o->relative_stop * fabs(opt->f))
        stop(opt, CBE_STOP_CHANGE);
    else
        next_iteration(opt);
}

/* Copies a trial into another's place; gradients too, since the buffers stay where they are. */
static void copy_trial(const cbe_lbfgs *opt, trial *to, const trial *from)
{
    double *g = to->g;
    memcpy(g, from->g, opt->n * sizeof *g);
    *to = *from;
    to->g = g;
}

/* Next trial inside the bracket, or the end of the search. */
static void zoom(cbe_lbfgs *opt)
{
    const trial *a = &opt->bracket[0], *b = &opt->bracket[1];
    if (opt->line_search_evaluations > opt->options.max_line_search ||
        fabs(b->t - a->t) * opt->direction_max < 1e-9) {
        accept(opt, &opt->bracket[opt->low]);
        return;
    }
    const double low = fmin(a->t, b->t), high = fmax(a->t, b->t), margin = 0.1 * (high - low);
    double t = interpolate(a, b, low, high);
    if (fmin(high - t, t - low) < margin) {
        /* The trial is near an end for the second time, or on it: move it away from that end, so
         * that the bracket shrinks. */
        if (opt->insufficient || t >= high || t <= low) {
            t = fabs(t - high) < fabs(t - low) ? high - margin : low + margin;
            opt->insufficient = 0;
        } else {
            opt->insufficient = 1;
        }
    } else {
        opt->insufficient = 0;
    }
    ask_step(opt, t, ZOOMING);
}

static void start_zoom(cbe_lbfgs *opt)
{
    copy_trial(opt, &opt->bracket[0], &opt->previous);
    copy_trial(opt, &opt->bracket[1], &opt->current);
    opt->low = opt->bracket[0].f <= opt->bracket[1].f ? 0 : 1;
    zoom(opt);
}

static double noise_of(const cbe_lbfgs *opt)
{
    return opt->options.noise * fabs(opt->f0) + opt->options.noise_floor;
}

/* Whether a trial fails to decrease f enough (equation 3.6 a). */
static int too_high(const cbe_lbfgs *opt, const trial *c)
{
    return c->f > opt->f0 + opt->options.wolfe_decrease * c->t * opt->slope0 + noise_of(opt);
}

/* Whether a trial's value is not below that of another trial. */
static int not_below(const cbe_lbfgs *opt, const trial *c, const trial *other)
{
    const double noise = noise_of(opt);
    return noise > 0 ? c->f > other->f + noise : c->f >= other->f;
}

static int flat_enough(const cbe_lbfgs *opt, const trial *c)
{
    return fabs(c->slope) <= -opt->options.wolfe_curvature * opt->slope0;
}

/* Algorithm 3.5: steps grow until they bracket a point that satisfies the Wolfe conditions. */
static void bracketing(cbe_lbfgs *opt)
{
    trial *c = &opt->current;
    const size_t extensions = opt->line_search_evaluations - 1;
    if (extensions >= opt->options.max_line_search) {
        const trial start = {0, opt->f0, opt->slope0, opt->previous_g};
        copy_trial(opt, &opt->bracket[0], &start);
        copy_trial(opt, &opt->bracket[1], c);
        accept(opt, &opt->bracket[opt->bracket[0].f <= opt->bracket[1].f ? 0 : 1]);
    } else if (too_high(opt, c) || (extensions > 1 && not_below(opt, c, &opt->previous))) {
        start_zoom(opt);
    } else if (flat_enough(opt, c)) {
        accept(opt, c);
    } else if (c->slope >= 0) {
        start_zoom(opt);
    } else {
        const double t = c->t;
        const double next =
            interpolate(&opt->previous, c, t + 0.01 * (t - opt->previous.t), t * 10);
        copy_trial(opt, &opt->previous, c);
        ask_step(opt, next, BRACKETING);
    }
}

/* Algorithm 3.6: the bracket shrinks around the trial. */
static void zooming(cbe_lbfgs *opt)
{
    trial *c = &opt->current, *low = &opt->bracket[opt->low], *high = &opt->bracket[1 - opt->low];
    if (too_high(opt, c) || not_below(opt, c, low)) {
        copy_trial(opt, high, c);
        opt->low = opt->bracket[0].f <= opt->bracket[1].f ? 0 : 1;
    } else {
        const int done = flat_enough(opt, c);
        if (!done && c->slope * (high->t - low->t) >= 0) copy_trial(opt, high, low);
        copy_trial(opt, low, c);
        if (done) {
            accept(opt, low);
            return;
        }
    }
    zoom(opt);
}

void cbe_lbfgs_tell(cbe_lbfgs *opt, double f, const double *g)
{
    if (opt->stage == STOPPED) return;
    const size_t n = opt->n;
    int finite = isfinite(f);
    for (size_t i = 0; i < n && finite; i++) finite = isfinite(g[i]);
    opt->evaluations++;
    opt->last_f = f;
    if (finite && f < opt->best_f) {
        opt->best_f = f;
        memcpy(opt->best, opt->asked, n * sizeof *opt->best);
    }
    if (opt->stage == AT_START) {
        if (!finite) {
            stop(opt, CBE_STOP_GRADIENT);
            return;
        }
        memcpy(opt->g, g, n * sizeof *g);
        opt->f = f;
        if (gradient_is_small(opt))
            stop(opt, CBE_STOP_GRADIENT);
        else
            next_iteration(opt);
        return;
    }
    opt->line_search_evaluations++;
    trial *c = &opt->current;
    if (finite) {
        memcpy(c->g, g, n * sizeof *g);
        c->f = f;
        c->slope = dot(n, g, opt->direction);
    } else {
        memset(c->g, 0, n * sizeof *g);
        c->f = DBL_MAX;
        c->slope = 0;
    }
    if (opt->stage == BRACKETING)
        bracketing(opt);
    else
        zooming(opt);
}

cbe_stop cbe_lbfgs_stopped(const cbe_lbfgs *opt)
{
    return opt->stop;
}

const double *cbe_lbfgs_x(const cbe_lbfgs *opt, double *f)
{
    if (f) *f = opt->f;
    return opt->x;
}

const double *cbe_lbfgs_best(const cbe_lbfgs *opt, double *f)
{
    if (f) *f = opt->best_f;
    return opt->best;
}

double cbe_lbfgs_last(const cbe_lbfgs *opt)
{
    return opt->last_f;
}

size_t cbe_lbfgs_evaluations(const cbe_lbfgs *opt)
{
    return opt->evaluations;
}

size_t cbe_lbfgs_iterations(const cbe_lbfgs *opt)
{
    return opt->iterations;
}
