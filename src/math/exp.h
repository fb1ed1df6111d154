/*
 * exp.h - a float exp that compilers turn into vector code inside `#pragma omp simd` loops.
 *
 * Cody and Waite: x = n ln 2 + r, |r| <= ln 2 / 2, exp(r) by the polynomial of Cephes' expf
 * (Moshier), n added to the exponent bits. Arguments are clamped to [-64, 64], results to [1.6e-28,
 * 6.2e27]. NaN gives NaN. The relative error inside the range is below 1.5e-7.
 *
 * Clamped values do not matter in a softmax or a sigmoid. The range is narrower than float's so
 * that a product or quotient with the result is not subnormal: compilers take both sides of a clamp
 * for all elements, and z / exp(88) made SiLU take three times as long on CPUs that are slow with
 * subnormal numbers.
 */
#ifndef CBE_MATH_EXP_H
#define CBE_MATH_EXP_H

#include <stdint.h>
#include <string.h>

static inline float cbe_expf(float x)
{
    /* Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. A conversion would keep
     * the loop from being vectorised, as it may raise exceptions. */
    const float round_bias = 12582912.0f;
    x = x < -64.0f ? -64.0f : x;
    x = x > 64.0f ? 64.0f : x;
    const float biased = x * 1.44269504088896341f + round_bias;
    const float n = biased - round_bias;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t exponent, bits;
    memcpy(&exponent, &biased, sizeof exponent);
    memcpy(&bits, &p, sizeof bits);
    bits += exponent << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

#endif
