/* layer_result.h - what an extraction knows of one layer when it is done. */
#ifndef CBE_EXTRACT_LAYER_RESULT_H
#define CBE_EXTRACT_LAYER_RESULT_H

#include <stddef.h>

#include "search/basis.h"

/** Further energies of a vector, in nats. Energies on held-out sequences are NaN if none are held
 * out. */
typedef struct {
    double standard_error;   /* of the energy, over sequences: math/sequence_error.h */
    double held_out_energy;  /* energy on the sequences that the search did not see */
    double held_out_error;   /* standard error of held_out_energy, likewise */
    double optimal_energy;   /* energy under optimal ablation: see cbe_objective_eval_optimal */
    double optimal_constant; /* the constant of optimal ablation */
} cbe_vector_report;

typedef struct {
    size_t layer;
    cbe_basis basis;            /* owned */
    cbe_vector_report *reports; /* (n_vectors), owned */
    double search_seconds;      /* time of setting the layer and searching it */
    double seconds;             /* search_seconds and the time of the reports */
} cbe_layer_result;

/** Frees the bases and reports of n results, but not the array. */
void cbe_layer_results_free(size_t n, cbe_layer_result *results);

#endif
