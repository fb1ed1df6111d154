/* controls.c - see controls.h. */
#include "extract/controls.h"

#include <math.h>
#include <string.h>

#include "math/random.h"

/* Gives v (d) length 1. */
static void scale(size_t d, double *v)
{
    double square = 0;
    for (size_t k = 0; k < d; k++) square += v[k] * v[k];
    for (size_t k = 0; k < d && square > 0; k++) v[k] /= sqrt(square);
}

/* Puts a direction drawn from N(0, Sigma), of length 1, in v (d): in the covariance metric the
 * direction u = S^-1/2 w of what is then written. */
static void draw(const cbe_covariance *c, const cbe_metric *metric, cbe_rng *rng, double *v)
{
    const size_t d = c->hidden_size;
    const double ridge = metric->ridge * c->trace / (double)d;
    memset(v, 0, d * sizeof *v);
    for (size_t i = 0; i < d; i++) {
        double along = sqrt(c->values[i]) * cbe_rng_normal(rng);
        if (metric->covariance && along != 0) along /= sqrt(c->values[i] + ridge);
        for (size_t k = 0; k < d; k++) v[k] += along * c->components[i * d + k];
    }
    scale(d, v);
}

void cbe_controls_make(const cbe_covariance *covariance, const cbe_metric *metric, uint64_t seed,
                       size_t state, double *out)
{
    /* Odd, and no multiple of the step by which a seed is spread over a generator's state. */
    static const uint64_t step = 0xd1342543de82ef95u;
    const size_t d = covariance->hidden_size;
    memcpy(out, covariance->components, d * sizeof *out);
    for (size_t i = 0; i < CBE_RANDOM_CONTROLS; i++) {
        cbe_rng rng;
        cbe_rng_seed(&rng, seed + step * (state * CBE_RANDOM_CONTROLS + i + 1));
        draw(covariance, metric, &rng, out + (i + 1) * d);
    }
}
