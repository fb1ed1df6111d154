/* replacement.c - see replacement.h. */
#include "fisher/replacement.h"

void cbe_replacement_differences(const cbe_replacement *replacement, size_t d, size_t first,
                                 size_t n, const float *hidden, float *out)
{
    const double *mean = replacement->mean;
    const float *other = replacement->other ? replacement->other + first * d : NULL;
    for (size_t r = 0; r < n; r++)
        for (size_t k = 0; k < d; k++) {
            const double less = other ? (double)other[r * d + k] : mean ? mean[k] : 0;
            out[r * d + k] = (float)((double)hidden[r * d + k] - less);
        }
}
