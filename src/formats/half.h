/*
 * half.h - conversion of 16-bit floats to float, by integer operations, because the baseline
 * instruction set has no conversion, and without branches, so that loops vectorise.
 */
#ifndef CBE_FORMATS_HALF_H
#define CBE_FORMATS_HALF_H

#include <stdint.h>
#include <string.h>

static inline float cbe_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/*
 * s eeeee mmmmmmmmmm (bias 15) -> s eeeeeeee mmmmmmmmmm0000000000000 (bias 127).
 * Subnormals: the mantissa is put behind an exponent of 2^-14, which is then subtracted; the
 * difference is exact. All three cases are computed and one is selected.
 */
static inline float cbe_float_of_half(uint16_t half)
{
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    const uint32_t exponent = magnitude & 0x7c00u << 13;
    const float tiny = cbe_float_of_bits(magnitude + (113u << 23)) - 0x1p-14f;
    uint32_t tiny_bits;
    memcpy(&tiny_bits, &tiny, sizeof tiny_bits);
    uint32_t bits = magnitude + (112u << 23);
    bits = exponent == 0 ? tiny_bits : bits;
    bits = exponent == 0x7c00u << 13 ? magnitude | 0xffu << 23 : bits; // infinity, NaN
    return cbe_float_of_bits(bits | (uint32_t)(half & 0x8000) << 16);
}

#endif
