/* lens_measures_ref.c - see lens_measures_ref.h. */
#include "ref/lens_measures_ref.h"

#include <math.h>

static size_t largest_at(size_t n, const double *x)
{
    size_t at = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[at]) at = i;
    return at;
}

static double log_sum_exp(size_t n, const double *x)
{
    const double top = x[largest_at(n, x)];
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - top);
    return top + log(sum);
}

void cbe_lens_measures_ref(size_t n, const double *final_logits, const double *lens_logits,
                           int64_t label, double out[CBE_N_LENS_MEASURES])
{
    const double lse_p = log_sum_exp(n, final_logits), lse_q = log_sum_exp(n, lens_logits);
    double kl = 0, entropy = 0;
    for (size_t i = 0; i < n; i++) {
        const double log_p = final_logits[i] - lse_p, log_q = lens_logits[i] - lse_q;
        kl += exp(log_p) * (log_p - log_q);
        entropy -= exp(log_q) * log_q;
    }
    out[CBE_LENS_CE] = label < 0 ? 0 : lse_q - lens_logits[label];
    out[CBE_LENS_KL] = kl;
    out[CBE_LENS_ENTROPY] = entropy;
    out[CBE_LENS_TOP1] = largest_at(n, final_logits) == largest_at(n, lens_logits);
}
