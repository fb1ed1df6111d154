/* constants.c - see constants.h. */
#include "objective/constants.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void cbe_constants_order(size_t n, double *a)
{
    qsort(a, n, sizeof *a, compare);
}

/* Sorts n constants, leaves each once; returns how many are left. */
static size_t distinct(size_t n, double *a)
{
    size_t left = 0;
    cbe_constants_order(n, a);
    for (size_t i = 0; i < n; i++)
        if (left == 0 || a[i] > a[left - 1]) a[left++] = a[i];
    return left;
}

/* Quantiles, mean and 0, in that order; returns how many. */
static size_t list_few(size_t n_quantiles, const double *quantiles, size_t n, const double *sorted,
                       double mean, double *a)
{
    for (size_t q = 0; q < n_quantiles; q++)
        a[q] = sorted[(size_t)(quantiles[q] * (double)(n - 1) + 0.5)];
    a[n_quantiles] = mean;
    a[n_quantiles + 1] = 0;
    return n_quantiles + 2;
}

size_t cbe_constants_few(size_t n_quantiles, const double *quantiles, size_t n,
                         const double *sorted, double mean, double *a)
{
    return distinct(list_few(n_quantiles, quantiles, n, sorted, mean, a), a);
}

size_t cbe_constants_grid(size_t n, const double *sorted, double mean, double *a)
{
    enum { EVENLY = 17 };
    static const double quantiles[] = {0.02, 0.2, 0.4, 0.6, 0.8, 0.98},
                        beyond[] = {0.25, 0.5, 1, 2, 4, 8, 16};
    const double low = sorted[0], high = sorted[n - 1], range = high - low;
    size_t count = list_few(sizeof quantiles / sizeof *quantiles, quantiles, n, sorted, mean, a);
    for (int i = 0; i < EVENLY; i++) a[count++] = low + range * i / (EVENLY - 1);
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        a[count++] = low - beyond[i] * range;
        a[count++] = high + beyond[i] * range;
    }
    return distinct(count, a);
}
