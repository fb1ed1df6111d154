/* rope.c - see rope.h. */
#include "model/rope.h"

#include <math.h>

#include "model/clones.h"

static const double two_pi = 6.283185307179586476925286766559;

/* Llama 3.1's rule: Meta's reference code, apply_scaling. */
static double llama3_frequency(const cbe_rope *rope, double frequency)
{
    const double turns = rope->original_context * frequency / two_pi; /* in the original context */
    if (turns < rope->low_frequency) return frequency / rope->factor;
    if (turns > rope->high_frequency) return frequency;
    const double smooth =
        (turns - rope->low_frequency) / (rope->high_frequency - rope->low_frequency);
    return (1 - smooth) * frequency / rope->factor + smooth * frequency;
}

void cbe_rope_frequencies(const cbe_rope *rope, size_t rotary_size, double *frequencies)
{
    for (size_t i = 0; i < rotary_size / 2; i++) {
        double frequency = pow(rope->base, -2.0 * (double)i / (double)rotary_size);
        if (rope->kind == CBE_ROPE_LINEAR) frequency /= rope->factor;
        if (rope->kind == CBE_ROPE_LLAMA3) frequency = llama3_frequency(rope, frequency);
        frequencies[i] = frequency;
    }
}

void cbe_rope_table(size_t n_positions, size_t half, const double *frequencies, float *table)
{
#pragma omp parallel for
    for (size_t p = 0; p < n_positions; p++) {
        float *row = table + p * 2 * half;
        for (size_t i = 0; i < half; i++) {
            const double angle = (double)p * frequencies[i];
            row[i] = (float)cos(angle);
            row[half + i] = (float)sin(angle);
        }
    }
}

CBE_CLONES void cbe_rope_rotate(size_t n_heads, size_t half, const float *table, float *x)
{
    const float *restrict cosine = table, *restrict sine = table + half;
    for (size_t h = 0; h < n_heads; h++) {
        float *restrict a = x + h * 2 * half, *restrict b = a + half;
#pragma omp simd
        for (size_t i = 0; i < half; i++) {
            const float u = a[i], v = b[i];
            a[i] = u * cosine[i] - v * sine[i];
            b[i] = v * cosine[i] + u * sine[i];
        }
    }
}
