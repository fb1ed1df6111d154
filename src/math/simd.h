/*
 * simd.h - vectors of floats, as wide as the instruction set's, and 2^t of them.
 *
 * GCC's and clang's vector types: arithmetic is written with operators, and only operations without
 * an operator (a lookup in a register, minimum and maximum) are written for each instruction set.
 * kernels_simd.c, compiled once for each instruction set, includes this header; -ffp-contract=fast
 * makes a product and a sum one instruction.
 *
 * 2^t: t is rounded to a multiple of 1 / EXP2_STEPS by adding a magic number, and the sum has that
 * multiple in its low bits; 2^(the remainder) is a polynomial; 2^(the multiple's fraction) is
 * looked up if registers can be indexed (AVX2: 8 floats, AVX-512: 16), which shortens the
 * polynomial from degree 6 to 3; the multiple's integer part is added to the exponent bits.
 * Coefficients: minimax for the relative error, tests/tools/exp2_coefficients.py. Errors: 2.1e-8
 * without a table, 3.8e-8 and 2.3e-9 with 8 and 16 steps, and half a unit in the last place for the
 * table. (A polynomial with an error of 1.6e-7 was too coarse: energies of 1 nat were 2e-7 too
 * high, and searches stopped there.)
 */
#ifndef CBE_MATH_SIMD_H
#define CBE_MATH_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16, EXP2_BITS = 4 };
#elif defined(__AVX2__)
enum { LANES = 8, EXP2_BITS = 3 };
#else
enum { LANES = 4, EXP2_BITS = 0 };
#endif
enum { EXP2_STEPS = 1 << EXP2_BITS, EXP2_SHIFT = 23 - EXP2_BITS };

typedef float vfloat __attribute__((vector_size(4 * LANES)));
typedef int32_t vmask __attribute__((vector_size(4 * LANES)));
typedef uint32_t vbits __attribute__((vector_size(4 * LANES)));
typedef uint16_t vhalf __attribute__((vector_size(2 * LANES)));
typedef double vdouble __attribute__((vector_size(8 * LANES)));

#define SIMD static inline __attribute__((always_inline))

SIMD vfloat load(const float *p)
{
    vfloat v;
    memcpy(&v, p, sizeof v);
    return v;
}

SIMD void store(float *p, vfloat v)
{
    memcpy(p, &v, sizeof v);
}

SIMD vfloat splat(float x)
{
    return x - (vfloat){0};
}

/* a b + c, rounded once if the instruction set has a fused operation; used if two loops must agree
 * to the bit. */
SIMD vfloat multiply_add(vfloat a, vfloat b, vfloat c)
{
#if defined(__AVX512F__)
    return (vfloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (vfloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
    return (vfloat)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

/* Lanes from `count` on become 0. */
SIMD vfloat keep_lanes(vfloat v, size_t count)
{
    vmask mask;
    for (size_t i = 0; i < LANES; i++) mask[i] = i < count ? -1 : 0;
    return (vfloat)((vmask)v & mask);
}

/* The first `count` floats, then zeros. */
SIMD vfloat load_some(const float *p, size_t count)
{
    float lanes[LANES] = {0};
    memcpy(lanes, p, count * sizeof *p);
    return load(lanes);
}

SIMD void store_some(float *p, vfloat v, size_t count)
{
    float lanes[LANES];
    store(lanes, v);
    memcpy(p, lanes, count * sizeof *p);
}

SIMD double sum_lanes(vdouble v)
{
    double sum = 0;
    for (size_t i = 0; i < LANES; i++) sum += v[i];
    return sum;
}

/* In each lane a if the mask is set, else b. */
SIMD vfloat choose(vmask mask, vfloat a, vfloat b)
{
    return (vfloat)(((vmask)a & mask) | ((vmask)b & ~mask));
}

/* The larger (or smaller) of each lane; b if either is NaN. */
SIMD vfloat larger(vfloat a, vfloat b)
{
#if defined(__AVX512F__)
    return (vfloat)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return choose(a > b, a, b);
#endif
}

SIMD vfloat smaller(vfloat a, vfloat b)
{
#if defined(__AVX512F__)
    return (vfloat)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vfloat)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return choose(a < b, a, b);
#endif
}

/* Stores x in half precision, rounded to even, clamped to 65504 in size. Without an instruction for
 * it: scaling by 2^-112 lowers the float's exponent to the range of half precision, and subnormal
 * floats become the subnormal halves. */
SIMD void store_half(uint16_t *p, vfloat x)
{
    x = smaller(splat(65504.0f), larger(splat(-65504.0f), x));
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
#else
    const vbits all = (vbits)(x * 0x1p-112f), magnitude = all & 0x7fffffff;
    const vbits half = (magnitude + 0xfff + ((magnitude >> 13) & 1)) >> 13 | (all >> 31) << 15;
    const vhalf narrow = __builtin_convertvector(half, vhalf);
    memcpy(p, &narrow, sizeof narrow);
#endif
}

SIMD vfloat load_half(const uint16_t *p)
{
#if defined(__AVX512F__)
    return (vfloat)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__AVX2__)
    return (vfloat)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#else
    vhalf narrow;
    memcpy(&narrow, p, sizeof narrow);
    const vbits half = __builtin_convertvector(narrow, vbits);
    const vfloat magnitude = (vfloat)((half & 0x7fff) << 13) * 0x1p112f;
    return (vfloat)((vbits)magnitude | (half >> 15) << 31);
#endif
}

/* Added to t, leaves round(t EXP2_STEPS) in the low bits of the sum. */
#define EXP2_MAGIC (12582912.0f / EXP2_STEPS)

/* x, rounded: keeps compilers from fusing the product x and a sum with it into one operation. */
SIMD vfloat rounded(vfloat x)
{
#if defined(__x86_64__)
    __asm__("" : "+v"(x));
#elif defined(__aarch64__)
    __asm__("" : "+w"(x));
#endif
    return x;
}

/* 2^(shifted - magic + f), where f is the remainder of the rounding, |f| <= 1 / (2 EXP2_STEPS). */
SIMD vfloat exp2_assemble(vfloat shifted, vfloat f)
{
    const vbits bits = (vbits)shifted << EXP2_SHIFT;
#if defined(__AVX512F__) || defined(__AVX2__)
    /* 2^(j / steps) less what the low bits of `shifted` add to the exponent field. */
#define STEP(j, hex) (hex) - ((uint32_t)(j) << EXP2_SHIFT)
#if defined(__AVX512F__)
    static const uint32_t steps[16] = {
        STEP(0, 0x3f800000),  STEP(1, 0x3f85aac3),  STEP(2, 0x3f8b95c2),  STEP(3, 0x3f91c3d3),
        STEP(4, 0x3f9837f0),  STEP(5, 0x3f9ef532),  STEP(6, 0x3fa5fed7),  STEP(7, 0x3fad583f),
        STEP(8, 0x3fb504f3),  STEP(9, 0x3fbd08a4),  STEP(10, 0x3fc5672a), STEP(11, 0x3fce248c),
        STEP(12, 0x3fd744fd), STEP(13, 0x3fe0ccdf), STEP(14, 0x3feac0c7), STEP(15, 0x3ff5257d)};
    const vbits step = (vbits)_mm512_permutexvar_epi32((__m512i)shifted, _mm512_loadu_si512(steps));
    const float c3 = 0x1.c6add2p-5f, c2 = 0x1.ec00ccp-3f;
#else
    static const uint32_t steps[8] = {STEP(0, 0x3f800000), STEP(1, 0x3f8b95c2), STEP(2, 0x3f9837f0),
                                      STEP(3, 0x3fa5fed7), STEP(4, 0x3fb504f3), STEP(5, 0x3fc5672a),
                                      STEP(6, 0x3fd744fd), STEP(7, 0x3feac0c7)};
    const vbits step = (vbits)_mm256_permutevar8x32_epi32(
        _mm256_loadu_si256((const __m256i *)steps), (__m256i)shifted);
    const float c3 = 0x1.c6a5a2p-5f, c2 = 0x1.ec0f92p-3f;
#endif
    const vfloat slope =
        multiply_add(multiply_add(splat(c3), f, splat(c2)), f, splat(0x1.62e43p-1f));
    const vfloat power = (vfloat)(bits + step); /* 2^f is 1 + f slope(f) */
    return multiply_add(power * f, slope, power);
#else
    vfloat p = 0x1.41d334p-13f * f + 0x1.5f456ap-10f;
    p = p * f + 0x1.3b2dbcp-7f;
    p = p * f + 0x1.c6aed4p-5f;
    p = p * f + 0x1.ebfbdcp-3f;
    p = p * f + 0x1.62e43p-1f;
    p = p * f + 1.0f;
    return (vfloat)((vbits)p + bits);
#endif
}

/* 2^t, -126 <= t <= 127 or NaN. */
SIMD vfloat exp2_in_range(vfloat t)
{
    const vfloat shifted = t + EXP2_MAGIC;
    return exp2_assemble(shifted, t - (shifted - EXP2_MAGIC));
}

/* 2^(a y + level) for an exponent in the range of exp2_in_range, magic = EXP2_MAGIC + level, level
 * a whole number: takes one operation less, and the product a y is not rounded. */
SIMD vfloat exp2_of_product(vfloat a, vfloat y, vfloat magic)
{
    const vfloat shifted = multiply_add(a, y, magic);
    return exp2_assemble(shifted, multiply_add(a, y, magic - shifted));
}

/* 2^t for any t, which is clamped to [-100, 127]; NaN stays NaN, so that a bad input shows in a
 * sum. With a lower bound products with clamped values would be subnormal, and setting a layer with
 * many of them took five times as long. */
SIMD vfloat exp2_clamped(vfloat t)
{
    return exp2_in_range(smaller(splat(127.0f), larger(splat(-100.0f), t)));
}

#endif
