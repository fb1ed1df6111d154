/* layer_result.h - what an extraction knows of one layer when it is done. */
#ifndef CBE_EXTRACT_LAYER_RESULT_H
#define CBE_EXTRACT_LAYER_RESULT_H

#include <stddef.h>

#include "covariance/metric.h"
#include "search/basis.h"

/** What a report says of a direction: numbers alone. Energies are in nats; a number that was not
 * measured is NaN, as energies on held-out sequences are if none are held out. */
typedef struct {
    double energy;           /* on the tokens searched; of a vector found, that of its record */
    double standard_error;   /* of the energy, over sequences: math/sequence_error.h */
    double held_out_energy;  /* energy on the sequences that the search did not see */
    double held_out_error;   /* standard error of held_out_energy, likewise */
    double optimal_energy;   /* energy under optimal ablation: see cbe_objective_eval_optimal */
    double optimal_constant; /* the constant of optimal ablation */
    double kappa;            /* covariance/covariance.h */
    double half_energy;      /* energy where half of the component is taken out */
    double tenth_energy;     /* energy where a tenth of it is */
    double median;           /* of the energies of single tokens */
    double top_share;        /* share of the energy that the highest 5% of the tokens have */
    /* Of a direction found through a lens, in the whole model: extract/model_energies.h. */
    double model_energy; /* all tokens ablated together */
    double model_error;  /* standard error of model_energy */
    double own_energy;   /* each token ablated alone */
} cbe_vector_report;

enum { CBE_REPORT_NUMBERS = sizeof(cbe_vector_report) / sizeof(double) };

/** Directions that nobody searched, for comparison. */
typedef enum {
    CBE_CONTROL_PRINCIPAL = 0, /* the first principal component of the layer's states */
    CBE_CONTROL_RANDOM,        /* the mean over random directions drawn from N(0, Sigma) */
    CBE_N_CONTROLS
} cbe_control;

/** Name in files: "principal", "random". */
const char *cbe_control_name(cbe_control control);

typedef struct {
    size_t layer;
    size_t state;               /* the layer is hidden_states.<state> */
    size_t within;              /* principal components searched within; 0: all directions */
    cbe_basis basis;            /* owned */
    cbe_vector_report *reports; /* (n_vectors), owned */
    cbe_vector_report controls[CBE_N_CONTROLS];
    /* Owned: the mean (d) of the layer's states, and what each vector reads and writes (n_vectors,
     * d), as in a metric of strength 1. NULL: the mean is not known; both are the vectors. */
    double *mean, *read, *write;
    double ceiling;          /* what predicting the same everywhere costs: objective/ceiling.h */
    double covariance_trace; /* of the layer's states */
    double search_seconds;   /* time of setting the layer and searching it */
    double seconds;          /* search_seconds and the time of the reports */
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
