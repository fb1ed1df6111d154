/* random.h - a fixed sequence of numbers for tests. */
#ifndef CBE_TESTS_RANDOM_H
#define CBE_TESTS_RANDOM_H

#include <math.h>
#include <stdint.h>

typedef struct {
    uint64_t state;
} cbe_test_random;

/* Uniform in [0, 1). */
static inline double cbe_test_uniform(cbe_test_random *r)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (double)(r->state >> 11) / 9007199254740992.0;
}

/* Normal with mean 0 and variance 1. */
static inline double cbe_test_normal(cbe_test_random *r)
{
    const double radius = sqrt(-2 * log(1 - cbe_test_uniform(r)));
    return radius * cos(6.283185307179586 * cbe_test_uniform(r));
}

#endif
