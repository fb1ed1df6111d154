/*
 * lbfgs.h - minimisation by L-BFGS with a strong-Wolfe line search, one evaluation at a time.
 *
 * The optimiser asks for the value and gradient at a point, and the caller evaluates and tells.
 * Many optimisers can thus run side by side and share batched evaluations:
 *
 *   while ((x = cbe_lbfgs_ask(opt)) != NULL) { f = evaluate(x, g); cbe_lbfgs_tell(opt, f, g); }
 *
 * Directions: two-loop recursion with H0 = s'y / y'y (Nocedal and Wright, Numerical Optimization,
 * 2nd edition, algorithm 7.4 and equation 7.20). Line search: bracketing and zoom with cubic
 * interpolation (algorithms 3.5 and 3.6, equation 3.59), with the safeguards of PyTorch's
 * torch.optim.LBFGS, whose rules for steps, history and stopping this optimiser follows exactly.
 */
#ifndef CBE_MATH_LBFGS_H
#define CBE_MATH_LBFGS_H

#include <stddef.h>

#include "cbe/status.h"

typedef struct {
    size_t history;         /* pairs (s, y) kept; 100 */
    size_t max_iterations;  /* 100 */
    size_t max_evaluations; /* 125 */
    size_t max_line_search; /* evaluations in one line search; 25 */
    double wolfe_decrease;  /* c1, sufficient decrease; 1e-4 */
    double wolfe_curvature; /* c2; 0.9 */
    double gradient_stop;   /* stops if the largest |g| is at or below this; 1e-7 */
    /* Stops if |change of f| is below this, the largest |step| at or below it, or the slope above
     * minus it; 1.1920929e-7, the float32 epsilon. */
    double change_stop;
    double relative_stop;          /* stops if |change of f| <= this times |f|; 0: off */
    double relative_gradient_stop; /* stops if the largest |g| <= this times |f|; 0: off */
    /* Differences of f below this times |f| count as rounding; near an optimum the slopes alone
     * then decide (the approximate Wolfe conditions of Hager and Zhang 2005, equation 4.1); 0. */
    double noise;
    double noise_floor;   /* differences of f below this also count as rounding; 0 */
    double curvature_min; /* pairs are kept if s'y is above this; 1e-10 */
    /* |step| tried first; 0: PyTorch's first step, min(1, 1 / |g|_1) times the gradient. */
    double first_length;
} cbe_lbfgs_options;

/** Sets all options to the defaults named above. */
void cbe_lbfgs_options_init(cbe_lbfgs_options *options);

/** Why the optimiser stopped. Every stop but CBE_STOP_NONE comes with a usable point. */
typedef enum {
    CBE_STOP_NONE = 0, /* still asking */
    CBE_STOP_GRADIENT,
    CBE_STOP_CHANGE,
    CBE_STOP_ITERATIONS,
    CBE_STOP_EVALUATIONS,
    CBE_STOP_SLOPE, /* no direction of descent left */
    CBE_N_STOPS
} cbe_stop;

/** Name of a stop in results and reports: "gradient". */
const char *cbe_stop_name(cbe_stop stop);

typedef struct cbe_lbfgs cbe_lbfgs;

/** Creates an optimiser for points of n numbers. Memory: (2 history + 10) n doubles.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_lbfgs_create(cbe_lbfgs **out, size_t n, const cbe_lbfgs_options *options,
                            cbe_error *err);
void cbe_lbfgs_free(cbe_lbfgs *opt); /* NULL is allowed */

/** Begins at x (n), which is copied, forgets everything before, and restores the options of
 * cbe_lbfgs_create. */
void cbe_lbfgs_start(cbe_lbfgs *opt, const double *x);
/** As cbe_lbfgs_start, but keeps the pairs, which describe the curvature: for a function that is
 * nearly the one before. x may be a point borrowed from the optimiser. */
void cbe_lbfgs_restart(cbe_lbfgs *opt, const double *x);
/** The next point to evaluate (n), borrowed until the next call; NULL after a stop. */
const double *cbe_lbfgs_ask(const cbe_lbfgs *opt);
/** Gives the value and gradient (n) at the point of cbe_lbfgs_ask. A value or gradient that is not
 * finite counts as f = +infinity with a zero gradient: the line search turns back. */
void cbe_lbfgs_tell(cbe_lbfgs *opt, double f, const double *g);

/** Why the optimiser stopped; CBE_STOP_NONE while it asks. */
cbe_stop cbe_lbfgs_stopped(const cbe_lbfgs *opt);
/** The iterate, the end of the last accepted step (n), and the value told for it. */
const double *cbe_lbfgs_x(const cbe_lbfgs *opt, double *f);
/** The lowest value told, and its point (n). */
const double *cbe_lbfgs_best(const cbe_lbfgs *opt, double *f);
/** The last value told. */
double cbe_lbfgs_last(const cbe_lbfgs *opt);
/** Number of evaluations told, and number of iterations begun, since the start. */
size_t cbe_lbfgs_evaluations(const cbe_lbfgs *opt);
size_t cbe_lbfgs_iterations(const cbe_lbfgs *opt);

#endif
