/*
 * constants.h - closing in on the constant of optimal ablation, whatever evaluates it
 * (objective/lens/optimal.c, objective/model/optimal.c).
 *
 * The energy E(a) of a direction is smooth in the constant a and comes with its slope. Signs of
 * slopes at a few constants bracket minima; the most promising are closed in on by cubic
 * interpolation, on a sample of the tokens; from the best one Newton steps lead on, on all tokens.
 */
#ifndef CBE_OBJECTIVE_CONSTANTS_H
#define CBE_OBJECTIVE_CONSTANTS_H

#include <stdbool.h>
#include <stddef.h>

enum {
    CBE_CONSTANT_TRACKS = 2, /* minima followed for each direction of a search */
    /* the same where the energy is told: of a wide grid of constants, */
    CBE_CONSTANT_MOST_TRACKS = 6,
    CBE_CONSTANT_GRID = 40 /* which has at most so many */
};

/** A minimum being closed in on. */
typedef struct {
    size_t direction;
    /* slope_low < 0 < slope_high */
    double low, high, energy_low, energy_high, slope_low, slope_high;
    double next;                /* constant to evaluate */
    double energy;              /* the least so far */
    double constant, curvature; /* where, and d slope / d constant there */
    bool open_low, open_high;   /* that side has not been found yet */
    double least, most;         /* constants that may be tried; -HUGE_VAL and HUGE_VAL: all */
} cbe_constant_track;

/** Sorts n numbers, rising. */
void cbe_constants_order(size_t n, double *a);
/** Sorts n constants, leaves each once; returns how many are left. */
size_t cbe_constants_distinct(size_t n, double *a);
/** Some constants to begin with, rising: quantiles (0 to 1) of n sorted coefficients, their mean,
 * and 0. Fills a (n_quantiles + 2); returns how many. */
size_t cbe_constants_few(size_t n_quantiles, const double *quantiles, size_t n,
                         const double *sorted, double mean, double *a);
/** A wide grid of constants, rising: evenly over the range of n sorted coefficients, some of their
 * quantiles, their mean, 0, and to both sides as far as 16 ranges. Fills a (CBE_CONSTANT_GRID);
 * returns how many. The energy of ce can go on falling for ever, since any constant output may be
 * better than the model's; and it can have minima far out. */
size_t cbe_constants_grid(size_t n, const double *sorted, double mean, double *a);
/** Keeps n tracks within the constants least to most. One that is open beyond them ends there. */
void cbe_constants_bound(size_t n, cbe_constant_track *tracks, double least, double most);

/** Energies and slopes at n rising constants a: the brackets with the lowest ends become tracks
 * (`room` of them at most); returns their number. There is one always: where nothing is bracketed
 * (all coefficients the same, numbers that are not finite), a closed one at the lowest energy. */
size_t cbe_constants_bracket(size_t direction, size_t n, const double *a, const double *energy,
                             const double *slope, size_t room, cbe_constant_track *tracks);
/** Whether `next` is worth an evaluation. */
bool cbe_constant_open(const cbe_constant_track *track);
/** Energy and slope at `next`: the bracket narrows, and next is chosen anew. */
void cbe_constant_tell(cbe_constant_track *track, double energy, double slope);
/** The best of n tracks, ready for cbe_constant_newton: next is where it is least. */
cbe_constant_track cbe_constants_best(size_t n, const cbe_constant_track *tracks);

/** When a constant is settled: the step to come would lower the energy by less than `energy` of it,
 * and is smaller than `step` of the coefficients' range; or the slope over the whole range would
 * change it by less than `flat` of it. */
typedef struct {
    double energy, step, flat;
} cbe_constant_rules;

/** A Newton step from energy and slope at `next`; true when it need not be made.
 * @param range  of the coefficients h_n . v @param step  number of this step, from 0 */
bool cbe_constant_newton(cbe_constant_track *track, const cbe_constant_rules *rules, double energy,
                         double slope, double range, int step);
/** The step that need not be made, or 0: to first order it lowers the energy by half of it times
 * the slope. */
double cbe_constant_last_step(const cbe_constant_track *track);

#endif
