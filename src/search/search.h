/*
 * search.h - the ordered orthonormal basis of one layer: for each vector the maximum of the energy
 * over unit vectors orthogonal to the vectors before it.
 *
 * The energy has many local maxima. The default search scores candidates on a sample of the
 * tokens, refines the best of them there side by side, merges climbs that met, polishes the best
 * ones on all tokens, and keeps the highest; runner-ups are candidates for the next vector.
 * Where an evaluation takes seconds, as in the whole model, the guided search takes its place
 * (guided.c). Presets reproduce older programs. docs/search.md.
 */
#ifndef CBE_SEARCH_SEARCH_H
#define CBE_SEARCH_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "objective/objective.h"
#include "search/basis.h"
#include "search/point.h"
#include "search/starts.h"

typedef enum {
    CBE_PRESET_DEFAULT = 0,
    /* One start, at the identity's column; PyTorch's L-BFGS as it is; the last energy is kept. */
    CBE_PRESET_SEED,
    /* One start, at the unembedding's singular direction; restarts until settled. */
    CBE_PRESET_TUNED_LENS,
    /* Leaps from starts of many kinds and L-BFGS behind them: the default of the whole model before
     * the guided search. */
    CBE_PRESET_LEAPS,
    CBE_N_PRESETS
} cbe_preset;

/** Returns "default", "seed", "tuned-lens" or "leaps". */
const char *cbe_preset_name(cbe_preset preset);
/** Whether a preset reproduces an older program's results: seed and tuned-lens. */
bool cbe_preset_is_of_older_program(cbe_preset preset);

/** What a search looks at in place of energies (search/guide.h). */
typedef struct cbe_search_guide cbe_search_guide;

/** Members with a number in their comment have it from cbe_search_options_init; the other members
 * are 0. search/rules.h has the reasons. */
typedef struct {
    cbe_preset preset;
    size_t n_vectors;      /* k; 0: as many as there can be */
    size_t max_iterations; /* L-BFGS iterations of one start: 100 */
    /* Candidates refined for each vector by the default search. 0: as many as the rules say, and
     * more at random where evaluation_cost is low (docs/search.md). */
    size_t n_starts;
    size_t n_polished; /* most maxima polished on all tokens: 4 */
    size_t sample;     /* tokens of the sample: 256; with rough energies a larger one is used too */
    /* Multiplications of one direction on all tokens, roughly. 0: not known, and too many for more
     * starts than the rules say. */
    double evaluation_cost;
    uint64_t seed;     /* of random starts */
    double min_energy; /* a vector below it is kept and ends the layer; 0: never */
    /* Second-order energies of the layer, borrowed: the default search is the guided one, which
     * takes a handful of evaluations for a vector. NULL: there are none. */
    const cbe_search_guide *guide;
    /* Orthonormal rows (n_within, d) that span where vectors may lie; borrowed. 0 rows: anywhere.
     * Not with the presets of older programs. */
    size_t n_within;
    const double *within;
    /* Borrowed: the search goes on from there, to the same bits as if it had never stopped.
     * NULL: it begins. */
    const cbe_search_point *from;
    cbe_search_found *found; /* NULL: none; its context is that of the progress */
} cbe_search_options;

void cbe_search_options_init(cbe_search_options *options);

/** Called after each evaluation; false cancels.
 * @param vector  counts from 0
 * @param energy  the best so far; -HUGE_VAL while the starts are scored, and if none was finite */
typedef bool cbe_search_progress(void *context, size_t vector, size_t n_vectors, double energy,
                                 size_t evaluations);

/** Searches one layer.
 * @param candidates   directions to start from; with the preset tuned-lens the j-th is where vector
 * j starts; NULL: random directions
 * @param progress     NULL: none
 * @return CBE_OK, CBE_ERR_ARG (k > d or n_within; a point of another width, or with more vectors),
 * CBE_ERR_NOMEM, CBE_ERR_CANCELLED, and what options->found returned */
cbe_status cbe_search_layer(cbe_basis *out, cbe_objective *objective,
                            const cbe_search_options *options, const cbe_start_list *candidates,
                            cbe_search_progress *progress, void *context, cbe_error *err);

#endif
