/* basis.h - the basis that a search found, and what is known of each of its vectors. */
#ifndef CBE_SEARCH_BASIS_H
#define CBE_SEARCH_BASIS_H

#include <stdbool.h>
#include <stddef.h>

#include "math/lbfgs.h"
#include "search/starts.h"

enum { CBE_MAXIMA_LISTED = 16 };

/** What the search knows of a vector. Lists of maxima are the default search's. */
typedef struct {
    double energy;             /* nats, on all tokens; NaN if no energy was finite */
    size_t evaluations;        /* of one direction on all tokens, with gradient */
    size_t sample_evaluations; /* on samples, or rough ones (cbe_objective_set_rough) */
    size_t starts;             /* candidates from which L-BFGS was run */
    double seconds;
    cbe_stop stop;                    /* why the last optimiser stopped */
    size_t n_maxima;                  /* distinct maxima met on all tokens, the vector among them */
    size_t n_sample_maxima;           /* distinct maxima met on the sample; 0 without a sample */
    double maxima[CBE_MAXIMA_LISTED]; /* energies of the highest of n_maxima, falling */
    double sample_maxima[CBE_MAXIMA_LISTED]; /* energies of the highest of n_sample_maxima */
    cbe_start_kind start;                    /* kind of the start that led to this vector */
    struct {
        size_t starts; /* starts of this kind */
        double energy; /* highest energy reached, on the sample if there is one; 0 without starts */
    } by_kind[CBE_N_START_KINDS];
} cbe_vector_record;

/** An orthonormal basis, energies falling. Owns its arrays. */
typedef struct {
    size_t hidden_size, n_vectors;
    double *vectors;            /* (n_vectors, hidden_size): a row for each vector */
    cbe_vector_record *records; /* (n_vectors) */
    bool below_min_energy;      /* the layer ended early */
    bool estimated;             /* energies in records are estimates, as the search saw them */
} cbe_basis;

/** Fills a basis with n found vectors (n, d), ordered by falling energy; energies that are not
 * finite come last, in the order they were found in.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_basis_make(cbe_basis *out, size_t d, size_t n, const double *found,
                          const cbe_vector_record *records, cbe_error *err);
/** Frees what the basis owns and zeroes it; a zeroed one is allowed. */
void cbe_basis_free(cbe_basis *basis);

#endif
