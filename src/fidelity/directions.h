/* directions.h - the three lists of directions of a layer whose energies are compared. */
#ifndef CBE_FIDELITY_DIRECTIONS_H
#define CBE_FIDELITY_DIRECTIONS_H

#include <stdint.h>

#include "covariance/covariance.h"
#include "fidelity/fidelity.h"

/** Makes layer->directions, with lists and kappa: up to `most` of the layer's vectors, as many
 * principal components, but no more than the states vary in, and random directions drawn from
 * N(0, Sigma), which depend on the seed, the state and their number alone.
 * @param out [out] (layer->n_directions, d), of unit length; to cbe_free
 * @return CBE_OK; CBE_ERR_ARG (a vector is 0; the states do not vary); CBE_ERR_NOMEM */
cbe_status cbe_directions_make(double **out, cbe_layer_fidelity *layer, size_t most,
                               const cbe_covariance *covariance, uint64_t seed, cbe_error *err);

#endif
