/*
 * sequence_error.h - the standard error of a mean over tokens.
 *
 * Tokens of one sequence are not independent, so sequences are the units of the error: clusters of
 * tokens. With n_s values in sequence s, the mean m of all N values and the sums of residuals
 * r_s = sum of (x - m) over s, for S sequences that have a value,
 *
 *   error^2 = S / (S - 1) sum_s r_s^2 / N^2
 *
 * (Liang and Zeger 1986, doi:10.1093/biomet/73.1.13). Where all sequences have as many values, that
 * is the standard error of the mean of their means.
 */
#ifndef CBE_MATH_SEQUENCE_ERROR_H
#define CBE_MATH_SEQUENCE_ERROR_H

#include <stddef.h>

/** Returns the standard error of the mean of the values; NaN if fewer than 2 sequences have some.
 * @param counts  (n_sequences): number of values of each sequence
 * @param values  of one sequence after the other */
double cbe_sequence_error(size_t n_sequences, const size_t *counts, const double *values);
/** The same where all sequences have as many values, from the means of sequences.
 * @param squares  sum of the squared differences between the means of sequences and their mean */
double cbe_sequence_error_even(size_t n_sequences, double squares);

#endif
