/* tokens.c - see tokens.h. */
#include "objective/model/tokens.h"

double cbe_model_dot(size_t d, const float *h, const double *v)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t k = 0; k < d; k++) sum += (double)h[k] * v[k];
    return sum;
}

const float *cbe_model_token(const cbe_model_setup *setup, const cbe_model_layer *layer, size_t n)
{
    const size_t b = n / setup->tokens_each, s = setup->skip + n % setup->tokens_each;
    return layer->hidden + (b * setup->context_length + s) * setup->hidden_size;
}

const float *cbe_model_other(const cbe_model_setup *setup, const cbe_model_layer *layer, size_t n)
{
    return layer->other ? layer->other + n * setup->hidden_size
                        : cbe_model_token(setup, layer, (size_t)setup->derangement[n]);
}
