/* assert_close.c - see assert_close.h. */
#include "support/assert_close.h"

#include <math.h>
#include <stdio.h>

size_t cbe_first_difference(const double *got, const double *want, size_t n, double absolute,
                            double relative)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= absolute + relative * fabs(want[i]))) return i;
    return n;
}

size_t cbe_first_difference_f32(const float *got, const float *want, size_t n, double absolute,
                                double relative)
{
    for (size_t i = 0; i < n; i++) {
        const double g = (double)got[i], w = (double)want[i];
        if (!(fabs(g - w) <= absolute + relative * fabs(w))) return i;
    }
    return n;
}

void cbe_fail_difference(const char *file, int line, size_t index, double got, double want,
                         const char *format, ...)
{
    char what[200];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    print_error("%s: element %zu is %.10g, expected %.10g (difference %.3g)\n", what, index, got,
                want, got - want);
    _fail(file, line);
}
