/* sequence_error.c - see sequence_error.h. */
#include "math/sequence_error.h"

#include <math.h>

double cbe_sequence_error(size_t n_sequences, const size_t *counts, const double *values)
{
    double mean = 0, squares = 0;
    size_t n = 0, filled = 0;
    for (size_t s = 0; s < n_sequences; s++) {
        n += counts[s];
        filled += counts[s] > 0;
    }
    for (size_t i = 0; i < n; i++) mean += values[i] / (double)n;
    for (size_t s = 0, i = 0; s < n_sequences; s++) {
        double residual = 0;
        for (const size_t end = i + counts[s]; i < end; i++) residual += values[i] - mean;
        squares += residual * residual;
    }
    return filled > 1 ? sqrt(squares * (double)filled / (double)(filled - 1)) / (double)n : NAN;
}

double cbe_sequence_error_even(size_t n_sequences, double squares)
{
    const double n = (double)n_sequences;
    return n_sequences > 1 ? sqrt(squares / (n - 1) / n) : NAN;
}
