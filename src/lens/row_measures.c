/* row_measures.c - see row_measures.h. */
#include "lens/row_measures.h"

#include <math.h>

static const double LOG2E = 1.4426950408889634, LN2 = 0.6931471805599453;

/* Shifts a row by its largest entry and measures cross-entropy and entropy. Returns the logsumexp
 * of the shifted row. */
static double measure_alone(const cbe_kernels *kernels, size_t n, float *logits, int64_t label,
                            double out[CBE_N_LENS_MEASURES])
{
    kernels->subtract(n, logits, kernels->row_max(n, logits, logits, NULL, 1, 0));
    const cbe_row_sums sums =
        kernels->row_exp(n, logits, logits, NULL, (float)LOG2E, 0, 0, false, NULL);
    const double logsumexp = log(sums.e);
    out[CBE_LENS_ENTROPY] = logsumexp - sums.ey / sums.e;
    out[CBE_LENS_CE] = label < 0 ? 0 : logsumexp - (double)logits[label];
    return logsumexp;
}

/* Index of the first 0, the largest entry of a shifted row. */
static size_t first_top(size_t n, const float *logits)
{
    size_t i = 0;
    while (i + 1 < n && logits[i] != 0) i++;
    return i;
}

void cbe_row_reference_set(cbe_row_reference *reference, const cbe_kernels *kernels, size_t n,
                           float *logits, int64_t label, double out[CBE_N_LENS_MEASURES])
{
    const double logsumexp = measure_alone(kernels, n, logits, label, out);
    reference->top = first_top(n, logits);
    for (size_t i = 0; i < n; i++) logits[i] = (float)(LOG2E * ((double)logits[i] - logsumexp));
    reference->log2_probs = logits;
    out[CBE_LENS_KL] = 0;
    out[CBE_LENS_TOP1] = 1;
}

void cbe_row_measure(const cbe_row_reference *reference, const cbe_kernels *kernels, size_t n,
                     float *logits, int64_t label, double out[CBE_N_LENS_MEASURES])
{
    const float *log2_probs = reference->log2_probs;
    const double logsumexp = measure_alone(kernels, n, logits, label, out);
    out[CBE_LENS_TOP1] = logits[reference->top] == 0 && first_top(n, logits) == reference->top;
    kernels->subtract(n, logits, logsumexp);
    /* Sums of p = 2^(log2 p) times log q - ln 2 log2 p, which is small where p and q are alike. */
    const cbe_row_sums sums =
        kernels->row_exp(n, logits, log2_probs, log2_probs, 0, (float)LN2, 0, false, NULL);
    out[CBE_LENS_KL] = -sums.ey / sums.e;
}
