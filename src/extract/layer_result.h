/* layer_result.h - what an extraction knows of one layer when it is done. */
#ifndef CBE_EXTRACT_LAYER_RESULT_H
#define CBE_EXTRACT_LAYER_RESULT_H

#include <stddef.h>

#include "covariance/metric.h"
#include "search/basis.h"

/** Further energies of a vector, in nats. Energies on held-out sequences are NaN if none are held
 * out. */
typedef struct {
    double standard_error;   /* of the energy, over tokens */
    double held_out_energy;  /* energy on the sequences that the search did not see */
    double held_out_error;   /* standard error of held_out_energy */
    double optimal_energy;   /* energy under optimal ablation: see cbe_objective_eval_optimal */
    double optimal_constant; /* the constant of optimal ablation */
} cbe_vector_report;

typedef struct {
    size_t layer;
    cbe_basis basis;            /* owned */
    cbe_vector_report *reports; /* (n_vectors), owned */
    /* Owned: the mean (d) of the layer's states, and what each vector reads and writes (n_vectors,
     * d), as in a metric of strength 1. NULL: the mean is not known; both are the vectors. */
    double *mean, *read, *write;
    double search_seconds; /* time of setting the layer and searching it */
    double seconds;        /* search_seconds and the time of the reports */
} cbe_layer_result;

/** Fills in the mean, and in the covariance metric read and write; each vector there becomes what
 * it writes, scaled to length 1.
 * @param metric      of the vectors; its covariance is that of the layer
 * @param covariance  of the layer; NULL: the mean is not known
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_layer_result_tell(cbe_layer_result *result, const cbe_metric *metric,
                                 const cbe_covariance *covariance, cbe_error *err);
/** Frees the bases and reports of n results, but not the array. */
void cbe_layer_results_free(size_t n, cbe_layer_result *results);

#endif
