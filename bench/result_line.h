/*
 * result_line.h - the line that programs print which are run beside PyTorch: energy E gradient G
 * seconds S threads T.
 */
#ifndef CBE_BENCH_RESULT_LINE_H
#define CBE_BENCH_RESULT_LINE_H

#include <stddef.h>

/** The median of n numbers, which are put in order. */
double bench_median(size_t n, double *numbers);
/** E in nats; G the length of grad without its component along the unit vector v, both (d); S
 * seconds. */
void bench_print_result(double energy, size_t d, const double *grad, const double *v,
                        double seconds);

#endif
