/* result_line.c - see result_line.h. */
#include "result_line.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(size_t n, double *numbers)
{
    qsort(numbers, n, sizeof *numbers, compare);
    return numbers[n / 2];
}

/* Length of grad without its component along the unit vector v. */
static double tangent_length(size_t d, const double *grad, const double *v)
{
    double along = 0, sum = 0;
    for (size_t k = 0; k < d; k++) along += grad[k] * v[k];
    for (size_t k = 0; k < d; k++) {
        const double tangent = grad[k] - along * v[k];
        sum += tangent * tangent;
    }
    return sqrt(sum);
}

void bench_print_result(double energy, size_t d, const double *grad, const double *v,
                        double seconds)
{
    printf("energy %.9g gradient %.9g seconds %.6f threads %d\n", energy,
           tangent_length(d, grad, v), seconds, omp_get_max_threads());
}
