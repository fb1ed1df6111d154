/* random.c - see random.h. */
#include "math/random.h"

#include <math.h>

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t next(cbe_rng *rng)
{
    uint64_t *s = rng->s;
    const uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* One number of splitmix64. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static const uint64_t golden = 0x9e3779b97f4a7c15u;

void cbe_rng_seed(cbe_rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) rng->s[i] = mix(seed += golden);
}

double cbe_random_at(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t x = mix(seed + golden);
    x = mix((x ^ a) + golden);
    x = mix((x ^ b) + golden);
    x = mix((x ^ c) + golden);
    return (double)(x >> 11) * 0x1p-53;
}

size_t cbe_rng_below(cbe_rng *rng, size_t n)
{
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t x;
    do {
        x = next(rng);
    } while (x >= limit);
    return (size_t)(x % n);
}

static double uniform(cbe_rng *rng)
{
    return (double)(next(rng) >> 11) * 0x1p-53;
}

double cbe_rng_normal(cbe_rng *rng)
{
    const double radius = sqrt(-2 * log(1 - uniform(rng)));
    return radius * cos(6.28318530717958647692 * uniform(rng));
}

void cbe_rng_derangement(cbe_rng *rng, size_t n, int64_t *out)
{
    for (size_t i = 0; i < n; i++) out[i] = (int64_t)i;
    for (size_t i = n - 1; i > 0; i--) {
        const size_t j = cbe_rng_below(rng, i); /* j < i makes a single cycle */
        const int64_t t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}
