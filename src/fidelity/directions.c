/* directions.c - see directions.h. */
#include "fidelity/directions.h"

#include <math.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "math/random.h"

/* The i-th normal number of a random direction (Box and Muller 1958). */
static double normal_at(uint64_t seed, size_t state, size_t direction, size_t i)
{
    const double turn = 2 * acos(-1.0),
                 u = 1 - cbe_random_at(seed, state, direction, 2 * (uint64_t)i),
                 v = cbe_random_at(seed, state, direction, 2 * (uint64_t)i + 1);
    return sqrt(-2 * log(u)) * cos(turn * v);
}

/* Puts a direction drawn from N(0, Sigma) in v (d). */
static void draw(const cbe_covariance *c, uint64_t seed, size_t state, size_t direction, double *v)
{
    const size_t d = c->hidden_size;
    memset(v, 0, d * sizeof *v);
    for (size_t i = 0; i < d; i++) {
        const double along = sqrt(c->values[i]) * normal_at(seed, state, direction, i);
        for (size_t k = 0; k < d; k++) v[k] += along * c->components[i * d + k];
    }
}

static double length_of(size_t d, const double *v)
{
    double largest = 0, square = 0;
    for (size_t k = 0; k < d; k++) largest = fmax(largest, fabs(v[k]));
    for (size_t k = 0; k < d && largest > 0; k++) square += (v[k] / largest) * (v[k] / largest);
    return largest * sqrt(square);
}

cbe_status cbe_directions_make(double **out, cbe_layer_fidelity *layer, size_t most,
                               const cbe_covariance *covariance, uint64_t seed, cbe_error *err)
{
    const size_t d = covariance->hidden_size, rank = cbe_covariance_rank(covariance),
                 counts[] = {cbe_min_size(most, layer->n_vectors), cbe_min_size(most, rank), most},
                 n = counts[CBE_LIST_BASIS] + counts[CBE_LIST_PRINCIPAL] + counts[CBE_LIST_RANDOM];
    if (rank == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "the states of layer %zu do not vary: give more or other tokens",
                        layer->layer);
    double *v = cbe_alloc(n, cbe_times(d, sizeof *v, 1), "directions", err);
    layer->directions = cbe_alloc_zero(n, sizeof *layer->directions, "directions", err);
    cbe_status st = v && layer->directions ? CBE_OK : CBE_ERR_NOMEM;
    layer->n_directions = st == CBE_OK ? n : 0;
    for (size_t list = 0, at = 0; list < CBE_LIST_TOGETHER && st == CBE_OK; list++)
        for (size_t i = 0; i < counts[list] && st == CBE_OK; i++, at++) {
            double *row = v + at * d;
            if (list == CBE_LIST_RANDOM)
                draw(covariance, seed, layer->state, i, row);
            else
                memcpy(row,
                       (list == CBE_LIST_BASIS ? layer->vectors : covariance->components) + i * d,
                       d * sizeof *row);
            const double length = length_of(d, row);
            if (length == 0)
                st = cbe_fail(err, CBE_ERR_ARG, -1, "vector %zu of layer %zu is 0: no direction", i,
                              layer->layer);
            for (size_t k = 0; k < d; k++) row[k] /= length;
            layer->directions[at] = (cbe_direction){
                .list = (cbe_direction_list)list,
                .kappa = cbe_covariance_kappa(covariance, CBE_COVARIANCE_RIDGE, row)};
        }
    if (st == CBE_OK)
        *out = v;
    else
        cbe_free(v);
    return st;
}
