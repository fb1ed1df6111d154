/* spectrum.c - see spectrum.h. In the basis of S's eigenvectors, S^(1/2) is diagonal. */
#include "fisher/spectrum.h"

#include <math.h>
#include <string.h>

#include "math/eigen.h"
#include "math/gemm.h"

cbe_status cbe_spectrum_solve(size_t d, const double *variances, const double *components,
                              double *m, double *work, double *energies, cbe_error *err)
{
    cbe_gemm_f64(false, false, d, d, d, 1, components, d, m, d, 0, work, d);
    cbe_gemm_f64(false, true, d, d, d, 1, work, d, components, d, 0, m, d);
    for (size_t i = 0; i < d; i++)
        for (size_t k = i; k < d; k++) {
            const double mean = (m[i * d + k] + m[k * d + i]) / 2;
            m[i * d + k] = m[k * d + i] = mean * sqrt(variances[i]) * sqrt(variances[k]);
        }
    const cbe_status st = cbe_eigen_symmetric(d, m, energies, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < d; i++) energies[i] = fmax(energies[i], 0) / 2;
    cbe_gemm_f64(false, false, d, d, d, 1, m, d, components, d, 0, work, d);
    memcpy(m, work, d * d * sizeof *m);
    return CBE_OK;
}

/* The least number of values, the largest first, that have a share of the sum. */
static size_t count_share(size_t n, const double *values, double share)
{
    double sum = 0;
    size_t count = 0;
    while (count < n && sum < share) sum += values[count++];
    return count;
}

void cbe_spectrum_summarise(size_t n, const double *values, cbe_spectrum_summary *out)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
        squares += values[i] * values[i];
    }
    *out = (cbe_spectrum_summary){.sum = sum,
                                  .largest = n ? values[0] : 0,
                                  .half = count_share(n, values, 0.5 * sum),
                                  .ninety = count_share(n, values, 0.9 * sum),
                                  .ninety_nine = count_share(n, values, 0.99 * sum),
                                  .participation = squares > 0 ? sum * sum / squares : 0};
}
