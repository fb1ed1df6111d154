/* controls.h - directions that a layer's vectors are compared with. */
#ifndef CBE_EXTRACT_CONTROLS_H
#define CBE_EXTRACT_CONTROLS_H

#include <stdint.h>

#include "covariance/metric.h"

enum {
    CBE_RANDOM_CONTROLS = 8,      /* random directions, whose mean is reported */
    CBE_MODEL_RANDOM_CONTROLS = 2 /* of these, what is measured in the whole model */
};

/** Fills out (1 + CBE_RANDOM_CONTROLS, d) with unit directions: the first principal component, and
 * random ones drawn from N(0, Sigma), which depend on the seed and on the number of the state
 * alone. In the covariance metric they are in whitened coordinates: u of the direction that is
 * written. */
void cbe_controls_make(const cbe_covariance *covariance, const cbe_metric *metric, uint64_t seed,
                       size_t state, double *out);

#endif
