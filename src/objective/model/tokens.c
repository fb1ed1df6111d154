/* tokens.c - see tokens.h. */
#include "objective/model/tokens.h"

double cbe_model_dot(size_t d, const float *h, const double *v)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t k = 0; k < d; k++) sum += (double)h[k] * v[k];
    return sum;
}

const float *cbe_model_token(const cbe_model_objective *o, size_t n)
{
    const size_t b = n / o->tokens_each, s = o->skip + n % o->tokens_each;
    return o->hidden + (b * o->context_length + s) * o->hidden_size;
}

const float *cbe_model_other(const cbe_model_objective *o, size_t n)
{
    return o->other ? o->other + n * o->hidden_size : cbe_model_token(o, (size_t)o->derangement[n]);
}
