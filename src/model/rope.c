/* rope.c - see rope.h. */
#include "model/rope.h"

#include <math.h>

#include "core/clones.h"

static const double two_pi = 6.283185307179586476925286766559;

static const char *const names[] = {"default", "linear", "dynamic", "yarn", "longrope", "llama3"};
_Static_assert(sizeof names / sizeof *names == CBE_N_ROPES, "one name for each kind");

const char *cbe_rope_name(cbe_rope_kind kind)
{
    return names[kind];
}

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

/* The pair, as a real number, that makes `turns` turns in the original context. */
static double pair_of_turns(const cbe_rope *rope, double size, double turns)
{
    return size * log(rope->original_context / (turns * two_pi)) / (2 * log(rope->base));
}

/* YaRN, sections 3.1 and 3.2: pairs before `low` keep their frequency, pairs past `high` have it
 * divided by factor, with a ramp in between. */
static double yarn_frequency(const cbe_rope *rope, double size, double pair, double frequency)
{
    double low = pair_of_turns(rope, size, rope->beta_fast);
    double high = pair_of_turns(rope, size, rope->beta_slow);
    if (!rope->fractional) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, size - 1);
    if (low == high) high += 0.001;
    const double ramp = fmin(fmax((pair - low) / (high - low), 0), 1);
    return frequency / rope->factor * ramp + frequency * (1 - ramp);
}

/* Dynamic NTK: past max_context the base grows, and with it the longest wavelength. */
static double dynamic_base(const cbe_rope *rope, double size, double length)
{
    if (size <= 2) return rope->base; /* the only frequency is 1 for any base */
    length = fmax(length, rope->max_context);
    return rope->base *
           pow(rope->factor * length / rope->max_context - (rope->factor - 1), size / (size - 2));
}

void cbe_rope_frequencies(const cbe_rope *rope, size_t rotary_size, size_t context_length,
                          double *frequencies)
{
    const double size = (double)rotary_size, length = (double)context_length;
    const double *divisors = rope->divisors[length > rope->original_context];
    const double base =
        rope->kind == CBE_ROPE_DYNAMIC ? dynamic_base(rope, size, length) : rope->base;
    for (size_t i = 0; i < rotary_size / 2; i++) {
        double frequency = pow(base, -2.0 * (double)i / size);
        if (rope->kind == CBE_ROPE_LINEAR) frequency /= rope->factor;
        if (rope->kind == CBE_ROPE_LLAMA3) frequency = llama3_frequency(rope, frequency);
        if (rope->kind == CBE_ROPE_YARN)
            frequency = yarn_frequency(rope, size, (double)i, frequency);
        frequencies[i] = i < rope->n_divisors ? frequency / divisors[i] : frequency;
    }
}

void cbe_rope_table(size_t n_positions, size_t half, const double *frequencies, double scale,
                    float *table)
{
#pragma omp parallel for
    for (size_t p = 0; p < n_positions; p++) {
        float *row = table + p * 2 * half;
        for (size_t i = 0; i < half; i++) {
            const double angle = (double)p * frequencies[i];
            row[i] = (float)(scale * cos(angle));
            row[half + i] = (float)(scale * sin(angle));
        }
    }
}

CBE_CLONES void cbe_rope_rotate(size_t n_heads, size_t head_size, size_t half, const float *table,
                                float *x)
{
    const float *restrict cosine = table, *restrict sine = table + half;
    for (size_t h = 0; h < n_heads; h++) {
        float *restrict a = x + h * head_size, *restrict b = a + half;
#pragma omp simd
        for (size_t i = 0; i < half; i++) {
            const float u = a[i], v = b[i];
            a[i] = u * cosine[i] - v * sine[i];
            b[i] = v * cosine[i] + u * sine[i];
        }
    }
}

CBE_CLONES void cbe_rope_rotate_back(size_t n_heads, size_t head_size, size_t half,
                                     const float *table, float *grad)
{
    const float *restrict cosine = table, *restrict sine = table + half;
    for (size_t h = 0; h < n_heads; h++) {
        float *restrict a = grad + h * head_size, *restrict b = a + half;
#pragma omp simd
        for (size_t i = 0; i < half; i++) {
            const float u = a[i], v = b[i];
            a[i] = u * cosine[i] + v * sine[i];
            b[i] = v * cosine[i] - u * sine[i];
        }
    }
}
