/*
 * result_line.h - the line that benchmarks compared with PyTorch print: energy E gradient G seconds
 * S threads T.
 */
#ifndef CBE_BENCH_RESULT_LINE_H
#define CBE_BENCH_RESULT_LINE_H

#include <stddef.h>

/** The median of n numbers, which are sorted. */
double bench_median(size_t n, double *numbers);
/** Prints the line: E in nats; G, the length of grad (d) without its component along the unit
 * vector v (d); S in seconds. */
void bench_print_result(double energy, size_t d, const double *grad, const double *v,
                        double seconds);

#endif
