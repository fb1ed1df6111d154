/*
 * random.h - random numbers from a state that the caller owns: no globals, the same numbers on
 * every machine.
 *
 * xoshiro256** seeded by splitmix64 (Blackman and Vigna 2021, doi:10.1145/3460772).
 */
#ifndef CBE_MATH_RANDOM_H
#define CBE_MATH_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t s[4];
} cbe_rng;

/** Sets the state from a seed. */
void cbe_rng_seed(cbe_rng *rng, uint64_t seed);
/** Uniform in 0 .. n - 1, n > 0, without bias. */
size_t cbe_rng_below(cbe_rng *rng, size_t n);
/** Normal with mean 0 and variance 1 (Box and Muller 1958). */
double cbe_rng_normal(cbe_rng *rng);
/** Uniform in [0, 1), a function of the arguments alone: for numbers that must not depend on who
 * asks for them first. */
double cbe_random_at(uint64_t seed, uint64_t a, uint64_t b, uint64_t c);
/** Fills out (n), n >= 2, with a random cyclic permutation (Sattolo 1986), which has no fixed
 * point. */
void cbe_rng_derangement(cbe_rng *rng, size_t n, int64_t *out);

#endif
