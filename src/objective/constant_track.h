/*
 * constant_track.h - closing in on the constant of optimal ablation, whatever evaluates it
 * (objective/lens/optimal.c, objective/model/optimal.c).
 *
 * The energy E(a) of a direction is smooth in the constant a and comes with its slope. Signs of
 * slopes at a few constants bracket minima. The most promising minima are closed in on by cubic
 * interpolation, on a sample of the tokens. From the best minimum Newton steps lead on, on all
 * tokens.
 */
#ifndef CBE_OBJECTIVE_CONSTANT_TRACK_H
#define CBE_OBJECTIVE_CONSTANT_TRACK_H

#include <stdbool.h>
#include <stddef.h>

enum {
    CBE_CONSTANT_TRACKS = 2,     /* minima followed for each direction of a search */
    CBE_CONSTANT_MOST_TRACKS = 6 /* minima followed where the energy is told */
};

/** A minimum being closed in on. */
typedef struct {
    size_t direction;               /* whose energy this is */
    double low, high;               /* the ends of the bracket */
    double energy_low, energy_high; /* energies at the ends */
    double slope_low, slope_high;   /* slopes at the ends: slope_low < 0 < slope_high */
    bool open_low, open_high;       /* this end has not been found yet */
    double next;                    /* constant to evaluate */
    double constant, energy;        /* constant of the least energy so far, and that energy */
    double curvature;               /* d slope / d constant there */
    double least, most;             /* constants that may be tried; -HUGE_VAL and HUGE_VAL: all */
} cbe_constant_track;

/** Brackets minima between n rising constants a with known energies and slopes. The brackets with
 * the lowest ends become tracks. There is one always: if nothing is bracketed (all coefficients the
 * same, numbers that are not finite), a closed track at the lowest energy.
 * @param room    most tracks
 * @param tracks  [out] (room)
 * @return the number of tracks */
size_t cbe_constants_bracket(size_t direction, size_t n, const double *a, const double *energy,
                             const double *slope, size_t room, cbe_constant_track *tracks);
/** Keeps n tracks within the constants least to most. A track that is open beyond them ends
 * there. */
void cbe_constants_bound(size_t n, cbe_constant_track *tracks, double least, double most);

/** Whether `next` is worth an evaluation. */
bool cbe_constant_open(const cbe_constant_track *track);
/** Energy and slope at `next`: the bracket narrows, and next is chosen anew. */
void cbe_constant_tell(cbe_constant_track *track, double energy, double slope);
/** The best of n tracks, ready for cbe_constant_newton: next is where its energy is least. */
cbe_constant_track cbe_constants_best(size_t n, const cbe_constant_track *tracks);

/** When a constant is settled: the step to come is small, or the energy is flat. */
typedef struct {
    double energy; /* a small step lowers the energy by less than this share of it */
    double step;   /* a small step is also smaller than this share of the coefficients' range */
    double flat;   /* a flat energy changes by less than this share of it over the whole range */
} cbe_constant_rules;

/** A Newton step from energy and slope at `next`.
 * @param range  of the coefficients h_n . v
 * @param step   number of this step, from 0
 * @return whether the constant is settled: no further evaluation is needed */
bool cbe_constant_newton(cbe_constant_track *track, const cbe_constant_rules *rules, double energy,
                         double slope, double range, int step);
/** The step that need not be made, or 0: to first order it lowers the energy by half of it times
 * the slope. */
double cbe_constant_last_step(const cbe_constant_track *track);

#endif
