/*
 * search.h - the ordered orthonormal basis of one layer: for each vector the maximum of the energy
 * over unit vectors orthogonal to those before it.
 *
 * The energy has many local maxima. The default search scores candidates on a sample of the tokens,
 * refines the best of them there side by side, merges those that met, polishes the best ones on all
 * tokens, and keeps the highest; runner-ups are candidates for the next vector. Presets reproduce
 * older programs. docs/search.md.
 */
#ifndef CBE_SEARCH_SEARCH_H
#define CBE_SEARCH_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "math/lbfgs.h"
#include "objective/objective.h"

typedef enum {
    CBE_PRESET_DEFAULT = 0,
    /* one start, at the identity's column; PyTorch's L-BFGS as it is; last energy kept */
    CBE_PRESET_SEED,
    /* one start, at the unembedding's singular direction; restarts until settled */
    CBE_PRESET_TUNED_LENS,
    CBE_N_PRESETS
} cbe_preset;

const char *cbe_preset_name(cbe_preset preset); /* "default", "seed", "tuned-lens" */

/** Where a start of a vector's search came from. */
typedef enum {
    CBE_FROM_RANDOM = 0,
    CBE_FROM_GIVEN,       /* by the caller: a basis that was found before */
    CBE_FROM_LENS,        /* a vector of the lens's basis at the same site */
    CBE_FROM_BOTH,        /* eigenvector of what logits answer to and how states vary, both */
    CBE_FROM_UNEMBEDDING, /* singular direction of the unembedding as the lens sees it */
    CBE_FROM_COMPONENT,   /* principal component of D_n / |h_n| */
    CBE_FROM_TOKEN,       /* D_n of one token */
    CBE_FROM_ENTRY,       /* what moves the logit of one vocabulary entry */
    CBE_FROM_IDENTITY,    /* a column of the identity */
    CBE_FROM_RUNNER_UP,   /* where a search for the vector before ended that was not taken */
    CBE_N_START_KINDS
} cbe_start_kind;

/* "random", "given", "lens", ... "runner-up" */
const char *cbe_start_kind_name(cbe_start_kind kind);

/** Directions to start from, any length, best kinds first. */
typedef struct {
    size_t n;
    const double *v;             /* (n, d) */
    const cbe_start_kind *kinds; /* (n) */
} cbe_start_list;

typedef struct cbe_search_point cbe_search_point;
/** Called after each vector with where the search stands then; borrowed, good until it returns.
 * Anything but CBE_OK ends the search with that. */
typedef cbe_status cbe_search_found(void *context, const cbe_search_point *point, cbe_error *err);

typedef struct {
    cbe_preset preset;
    size_t n_vectors;      /* k; 0: hidden size */
    size_t max_iterations; /* L-BFGS iterations for one start; 100 */
    /* candidates refined for each vector, default search; 0: 16, or 10 after the first vector, and
     * more at random where evaluation_cost is low (docs/search.md) */
    size_t n_starts;
    size_t n_polished; /* maxima polished on all tokens, at most; 4 */
    /* tokens of the sample; 256. With rough energies another of twice as many is used too */
    size_t sample;
    /* of one direction on all tokens, about, in multiplications; 0: not known, and too much for
     * more starts than above */
    double evaluation_cost;
    uint64_t seed;     /* of random starts; 0 */
    double min_energy; /* a vector below it is kept and ends the layer; 0: never */
    /* an evaluation takes seconds, as in the whole model: the default search leaps along gradients
     * from n_starts starts (0: 6) and climbs from one (docs/search.md) */
    bool few_evaluations;
    /* borrowed: goes on from there, to the same bits as if it had never stopped; NULL: begins */
    const cbe_search_point *from;
    cbe_search_found *found; /* NULL: none; its context is that of the progress */
} cbe_search_options;

void cbe_search_options_init(cbe_search_options *options);

enum { CBE_MAXIMA_LISTED = 16, CBE_RUNNER_UPS_MOST = 64 };

/** What is known of a vector that was found. */
typedef struct {
    double energy;             /* nats, on all tokens; NaN where no energy was finite */
    size_t evaluations;        /* of one direction on all tokens, with gradient */
    size_t sample_evaluations; /* the same on samples, or rough ones (cbe_objective_set_rough) */
    size_t starts;             /* candidates from which L-BFGS was run */
    double seconds;
    cbe_stop stop; /* why the last optimiser stopped */
    /* Distinct maxima that the default search met for this vector, and the energies of the highest
     * of them, falling. On all tokens, the vector's own among them; and those of the sample, where
     * there was one. */
    size_t n_maxima, n_sample_maxima;
    double maxima[CBE_MAXIMA_LISTED], sample_maxima[CBE_MAXIMA_LISTED];
    cbe_start_kind start; /* of the start that led to this vector */
    struct {
        size_t starts; /* of this kind; */
        /* the highest that they came to, on the sample where there was one; 0 without starts */
        double energy;
    } by_kind[CBE_N_START_KINDS];
} cbe_vector_record;

/** Where the search of a layer stands between two vectors: all that the next one depends on,
 * besides objective, options and candidates. */
struct cbe_search_point {
    size_t hidden_size, n_vectors;
    const double *vectors;            /* (n_vectors, hidden_size), in the order they were found */
    const cbe_vector_record *records; /* (n_vectors) */
    uint64_t random[4];               /* state of the random numbers */
    size_t n_runner_ups;              /* starts for the next vector: at most CBE_RUNNER_UPS_MOST */
    const double *runner_ups, *runner_up_energies; /* (n_runner_ups, hidden_size), (n_runner_ups) */
    const cbe_start_kind *runner_up_kinds;         /* (n_runner_ups) */
};

/** An orthonormal basis, energies falling. Owns its arrays. */
typedef struct {
    size_t hidden_size, n_vectors;
    double *vectors; /* (n_vectors, hidden_size): a row for each vector */
    cbe_vector_record *records;
    bool below_min_energy; /* the layer ended early */
} cbe_basis;

/* frees what it owns and zeroes it; a zeroed one is allowed */
void cbe_basis_free(cbe_basis *basis);

/** Called after each evaluation; false cancels. vector counts from 0; energy is the best so far,
 * -HUGE_VAL while none was finite. */
typedef bool cbe_search_progress(void *context, size_t vector, size_t n_vectors, double energy,
                                 size_t evaluations);

/** Searches one layer.
 * @param candidates   directions to start from; for the preset tuned-lens the j-th is where vector
 * j starts; NULL: none (then random ones)
 * @param progress     NULL: none
 * @return CBE_OK, CBE_ERR_ARG (k > d; a point of another width, or with more vectors),
 * CBE_ERR_NOMEM, CBE_ERR_CANCELLED, and what options->found returned */
cbe_status cbe_search_layer(cbe_basis *out, cbe_objective *objective,
                            const cbe_search_options *options, const cbe_start_list *candidates,
                            cbe_search_progress *progress, void *context, cbe_error *err);

#endif
