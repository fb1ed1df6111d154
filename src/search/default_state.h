/*
 * default_state.h - the default search in its parts.
 *
 * default_view.c sets on what energies are taken, and scores candidates; default_starts.c chooses
 * starts; default_refine.c climbs from them to maxima, on samples if there are enough tokens;
 * default_polish.c climbs from the best maxima on all tokens and chooses one; default.c finds a
 * vector with them.
 */
#ifndef CBE_SEARCH_DEFAULT_STATE_H
#define CBE_SEARCH_DEFAULT_STATE_H

#include "search/ascent.h"
#include "search/maxima.h"
#include "search/rules.h"
#include "search/state.h"

typedef struct {
    bool sampled;
    bool rough;          /* whether the objective has rough energies of the layer */
    double sample_share; /* share of the tokens that is in the sample */
    size_t n_refined, n_polished;
    cbe_runner *refined, *polished; /* (n_refined), (n_polished) */
    cbe_runner *left;               /* (cbe_polish_rules.left_starts) */
    size_t n_candidates, max_candidates;
    double *candidates;    /* (max_candidates, d) */
    double *scores;        /* (max_candidates), energies by which candidates are compared */
    double *rough_sampled; /* (max_candidates), rough energies on the sample */
    double *exact_scores;  /* (max_candidates), exact energies that rough ones are held against */
    cbe_start_kind *kinds; /* (max_candidates) */
    size_t *order;         /* (max_candidates), work space */
    cbe_maxima fresh;      /* of this vector's starts, on the sample if there is one */
    cbe_maxima known;      /* with energies on all tokens, not polished */
    cbe_maxima peaks;      /* polished */
    cbe_maxima runner_ups; /* maxima that the vector before did not take */
} cbe_default_search;

/* default_view.c */

/** Restricts the objective, if the search is sampled, to some tokens (0: all) and to rough energies
 * if it has them. Energies before and after must not be compared.
 * @return whether energies are rough now */
bool cbe_default_set_view(cbe_search *s, const cbe_default_search *ds, size_t tokens, bool rough);
/** Energies of the candidates, in batches, without gradients. One that is not finite is the
 * lowest. */
cbe_status cbe_default_score(cbe_search *s, const cbe_default_search *ds, double *scores,
                             cbe_error *err);
/** Returns the counter of evaluations of one kind.
 * @param cheap  whether they are rough or on a sample; else they are exact and on all tokens */
size_t *cbe_default_counter(cbe_search *s, bool cheap);

/* default_starts.c */

/** Adds a direction to the candidates unless next to nothing is left of it. */
void cbe_default_add_candidate(cbe_search *s, cbe_default_search *ds, const double *x,
                               cbe_start_kind kind);
void cbe_default_add_runner_ups(cbe_search *s, cbe_default_search *ds);
/** Makes the list of candidates: runner-ups, the caller's, random ones. */
void cbe_default_gather(cbe_search *s, cbe_default_search *ds);
/** Chooses n starts of ds->refined from the candidates and their scores. */
void cbe_default_choose_starts(cbe_search *s, cbe_default_search *ds, size_t n);
void cbe_default_random_start(cbe_search *s, cbe_runner *runner);

/* default_refine.c */

/** Fills ds->known with maxima of this vector's starts. */
cbe_status cbe_default_find_maxima(cbe_search *s, cbe_default_search *ds, cbe_error *err);
/** Lists the highest energies of maxima. @return how many maxima there are */
size_t cbe_default_list_energies(const cbe_maxima *maxima, double energies[CBE_MAXIMA_LISTED]);

/* default_polish.c */

/** Polishes the best of ds->known. They move to ds->peaks, or stay known if they are given up. */
cbe_status cbe_default_polish(cbe_search *s, cbe_default_search *ds, cbe_error *err);
/** Chooses the peak that becomes the vector. @param peak [out] its place in ds->peaks */
cbe_status cbe_default_choose_peak(cbe_search *s, cbe_default_search *ds, size_t *peak,
                                   cbe_error *err);

#endif
