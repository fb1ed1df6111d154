/* lens_starts.h - the first vectors of the logit lens's basis, found cheaply: starts for a search
 * in the whole model. */
#ifndef CBE_EXTRACT_LENS_STARTS_H
#define CBE_EXTRACT_LENS_STARTS_H

#include "covariance/metric.h"
#include "objective/ablation.h"
#include "model/decoder.h"
#include "objective/objective.h"
#include "search/starts.h"

typedef struct {
    const cbe_decoder *decoder;
    size_t n_tokens;
    const float *hidden;   /* (N, d), states of a sample of some hundred tokens */
    cbe_ablation ablation; /* zero, or another one, which counts as mean */
    uint64_t seed;
    size_t memory;                /* bytes that may be taken; 0: no limit */
    const cbe_start_list *starts; /* starts of the search through the lens */
    const cbe_metric *metric;     /* of directions */
    size_t n_within;              /* as in cbe_search_options */
    const double *within;
} cbe_lens_starts_input;

/** Searches through the logit lens on the sample, coarsely.
 * @param n [in, out] vectors wanted, then vectors found; 0 if memory is short
 * @param out (n, d) */
cbe_status cbe_lens_starts(const cbe_lens_starts_input *input, size_t *n, double *out,
                           cbe_error *err);

#endif
