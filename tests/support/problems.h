/*
 * problems.h - functions with known minima, for tests of minimisers.
 *
 * Most are in More, Garbow and Hillstrom 1981, doi:10.1145/355934.355936.
 */
#ifndef CBE_TESTS_PROBLEMS_H
#define CBE_TESTS_PROBLEMS_H

#include <stddef.h>

enum { PROBLEM_MOST = 10, N_PROBLEMS = 13 }; /* most numbers in a point; number of problems */

/** Returns the value at x (n) and writes the gradient to g (n). */
typedef double problem_function(size_t n, const double *x, double *g);

problem_function problem_rosenbrock, problem_rosenbrock_chain, problem_booth, problem_powell;

typedef struct {
    const char *name;
    problem_function *f;
    size_t n;
    double start[PROBLEM_MOST], minimiser[PROBLEM_MOST], minimum;
    double x_tolerance; /* distance from the minimiser that values of f can resolve */
} problem;

extern const problem problems[N_PROBLEMS];

#endif
