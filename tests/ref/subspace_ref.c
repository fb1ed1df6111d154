/* subspace_ref.c - see subspace_ref.h. */
#include "ref/subspace_ref.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* Solves a x = b, a (m, m), by elimination with the largest pivot; x replaces b. */
static void solve(size_t m, double *a, double *b)
{
    for (size_t i = 0; i < m; i++) {
        size_t pivot = i;
        for (size_t r = i + 1; r < m; r++)
            if (fabs(a[r * m + i]) > fabs(a[pivot * m + i])) pivot = r;
        for (size_t k = 0; k < m; k++) {
            const double swap = a[i * m + k];
            a[i * m + k] = a[pivot * m + k];
            a[pivot * m + k] = swap;
        }
        const double swap = b[i];
        b[i] = b[pivot];
        b[pivot] = swap;
        for (size_t r = i + 1; r < m; r++) {
            const double factor = a[r * m + i] / a[i * m + i];
            for (size_t k = i; k < m; k++) a[r * m + k] -= factor * a[i * m + k];
            b[r] -= factor * b[i];
        }
    }
    for (size_t i = m; i-- > 0;) {
        for (size_t k = i + 1; k < m; k++) b[i] -= a[i * m + k] * b[k];
        b[i] /= a[i * m + i];
    }
}

void cbe_subspace_ref(size_t m, size_t d, const double *read, const double *write,
                      cbe_ablation ablation, size_t n, const double *hidden,
                      const int64_t *derangement, double *out)
{
    double *delta = calloc(d, sizeof *delta), *gram = calloc(m * m, sizeof *gram),
           *x = calloc(m, sizeof *x);
    double *mean = calloc(d, sizeof *mean);
    assert(delta && gram && x && mean);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < d; k++) mean[k] += hidden[i * d + k] / (double)n;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < d; k++) {
            delta[k] = hidden[i * d + k];
            if (ablation == CBE_ABLATE_MEAN) delta[k] -= mean[k];
            if (ablation == CBE_ABLATE_RESAMPLE) delta[k] -= hidden[(size_t)derangement[i] * d + k];
        }
        for (size_t a = 0; a < m; a++) {
            x[a] = 0;
            for (size_t k = 0; k < d; k++) x[a] += read[a * d + k] * delta[k];
            for (size_t b = 0; b < m; b++) {
                gram[a * m + b] = 0;
                for (size_t k = 0; k < d; k++)
                    gram[a * m + b] += read[a * d + k] * write[b * d + k];
            }
        }
        solve(m, gram, x);
        for (size_t k = 0; k < d; k++) {
            out[i * d + k] = hidden[i * d + k];
            for (size_t a = 0; a < m; a++) out[i * d + k] -= x[a] * write[a * d + k];
        }
    }
    free(delta);
    free(gram);
    free(x);
    free(mean);
}
