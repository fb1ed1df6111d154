/*
 * quantised_blocks.c - see quantised_blocks.h.
 *
 * Blocks of 32: byte j of the quants holds item j in its low half and item j + 16 in its high half;
 * a fifth bit of item j is bit j of a 32-bit word. Blocks of 256 ("k-quants") have eight or sixteen
 * groups with small integer scales of their own; each layout is described at its function.
 */
#include "formats/quantised_blocks.h"

#include "formats/quantised_load.h"

// The reference implementation rounds d * q + m twice; a fused operation would differ.
#pragma STDC FP_CONTRACT OFF

enum { HALF_ITEMS = CBE_BLOCK_ITEMS / 2 };

void cbe_convert_q4_0(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_BLOCK_ITEMS, data += CBE_Q4_0_BYTES, out += CBE_BLOCK_ITEMS) {
        const float d = cbe_load_half(data);
        const unsigned char *q = data + 2;
        for (int j = 0; j < HALF_ITEMS; j++) {
            out[j] = (float)((q[j] & 15) - 8) * d;
            out[j + HALF_ITEMS] = (float)((q[j] >> 4) - 8) * d;
        }
    }
}

void cbe_convert_q4_1(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_BLOCK_ITEMS, data += CBE_Q4_1_BYTES, out += CBE_BLOCK_ITEMS) {
        const float d = cbe_load_half(data), m = cbe_load_half(data + 2);
        const unsigned char *q = data + 4;
        for (int j = 0; j < HALF_ITEMS; j++) {
            out[j] = (float)(q[j] & 15) * d + m;
            out[j + HALF_ITEMS] = (float)(q[j] >> 4) * d + m;
        }
    }
}

void cbe_convert_q5_0(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_BLOCK_ITEMS, data += CBE_Q5_0_BYTES, out += CBE_BLOCK_ITEMS) {
        const float d = cbe_load_half(data);
        const uint32_t fifth = cbe_load_word(data + 2);
        const unsigned char *q = data + 6;
        for (int j = 0; j < HALF_ITEMS; j++) {
            const int low = (q[j] & 15) | (int)(fifth >> j & 1) << 4;
            const int high = q[j] >> 4 | (int)(fifth >> (j + HALF_ITEMS) & 1) << 4;
            out[j] = (float)(low - 16) * d;
            out[j + HALF_ITEMS] = (float)(high - 16) * d;
        }
    }
}

void cbe_convert_q5_1(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_BLOCK_ITEMS, data += CBE_Q5_1_BYTES, out += CBE_BLOCK_ITEMS) {
        const float d = cbe_load_half(data), m = cbe_load_half(data + 2);
        const uint32_t fifth = cbe_load_word(data + 4);
        const unsigned char *q = data + 8;
        for (int j = 0; j < HALF_ITEMS; j++) {
            const int low = (q[j] & 15) | (int)(fifth >> j & 1) << 4;
            const int high = q[j] >> 4 | (int)(fifth >> (j + HALF_ITEMS) & 1) << 4;
            out[j] = (float)low * d + m;
            out[j + HALF_ITEMS] = (float)high * d + m;
        }
    }
}

void cbe_convert_q8_0(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_BLOCK_ITEMS, data += CBE_Q8_0_BYTES, out += CBE_BLOCK_ITEMS) {
        const float d = cbe_load_half(data);
        const signed char *q = (const signed char *)data + 2;
        for (int j = 0; j < CBE_BLOCK_ITEMS; j++) out[j] = (float)q[j] * d;
    }
}

/* Levels of iq4_nl and iq4_xs, which lie closer together around zero. */
static const float levels_of_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};

/* A nibble is the number of a level. */
void cbe_convert_iq4_nl(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_BLOCK_ITEMS, data += CBE_IQ4_NL_BYTES, out += CBE_BLOCK_ITEMS) {
        const float d = cbe_load_half(data);
        const unsigned char *q = data + 2;
        for (int j = 0; j < HALF_ITEMS; j++) {
            out[j] = d * levels_of_iq4[q[j] & 15];
            out[j + HALF_ITEMS] = d * levels_of_iq4[q[j] >> 4];
        }
    }
}

/*
 * Layout: scale (4 bits) and minimum (4 bits) of each of 16 groups; quants of 2 bits; d; dmin. Byte
 * i of 32 holds items i, i + 32, i + 64 and i + 96 of 128, item i in its lowest bits.
 */
void cbe_convert_q2_k(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_Q2_K_BYTES, out += CBE_SUPER_ITEMS) {
        const unsigned char *scales = data, *q = data + 16;
        const float d = cbe_load_half(data + 80), dmin = cbe_load_half(data + 82);
        for (int group = 0; group < 16; group++) {
            const float scale = d * (float)(scales[group] & 15);
            const float minimum = dmin * (float)(scales[group] >> 4);
            const unsigned char *at = q + group / 8 * 32 + group % 2 * 16;
            const int shift = group / 2 % 4 * 2;
            for (int j = 0; j < 16; j++)
                out[16 * group + j] = scale * (float)(at[j] >> shift & 3) - minimum;
        }
    }
}

/*
 * Layout: third bits, inverted (bit g of byte i: item i of the g-th 32); quants of 2 bits as in
 * q2_k; scales of 6 bits less 32: the low 4 bits of scales 0 to 7 and 8 to 15 in the halves of
 * bytes 0 to 7, the upper two of scale 4 r + i in byte 8 + i at bit 2 r; d.
 */
void cbe_convert_q3_k(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_Q3_K_BYTES, out += CBE_SUPER_ITEMS) {
        const unsigned char *third = data, *q = data + 32, *scales = data + 96;
        const float d = cbe_load_half(data + 108);
        for (int group = 0; group < 16; group++) {
            const int low = scales[group % 8] >> group / 8 * 4 & 15;
            const int high = scales[8 + group % 4] >> group / 4 * 2 & 3;
            const float scale = d * (float)((low | high << 4) - 32);
            const unsigned char *at = q + group / 8 * 32 + group % 2 * 16;
            const unsigned char *bits = third + group % 2 * 16;
            const int shift = group / 2 % 4 * 2;
            for (int j = 0; j < 16; j++) {
                const int value = (at[j] >> shift & 3) - (bits[j] >> group / 2 & 1 ? 0 : 4);
                out[16 * group + j] = scale * (float)value;
            }
        }
    }
}

/*
 * Unpacks the scale and minimum of one of 8 groups of q4_k and q5_k, 6 bits each, from 12 bytes.
 * Groups 0 to 3: scales in the low bits of bytes 0 to 3, minima in those of bytes 4 to 7. Groups 4
 * to 7: the low 4 bits in the halves of bytes 8 to 11, the upper two in the high bits of bytes 0 to
 * 7.
 */
static void group_scale(const unsigned char *packed, int group, int *scale, int *minimum)
{
    if (group < 4) {
        *scale = packed[group] & 63;
        *minimum = packed[group + 4] & 63;
    } else {
        *scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
        *minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
    }
}

/* Layout: d; dmin; scales; quants, in which the halves of 32 bytes are two groups of 32. */
void cbe_convert_q4_k(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_Q4_K_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data), dmin = cbe_load_half(data + 2);
        for (int group = 0; group < 8; group++) {
            int scale, minimum;
            group_scale(data + 4, group, &scale, &minimum);
            const float dl = d * (float)scale, ml = dmin * (float)minimum;
            const unsigned char *q = data + 16 + group / 2 * 32;
            const int shift = group % 2 * 4;
            for (int j = 0; j < 32; j++)
                out[32 * group + j] = dl * (float)(q[j] >> shift & 15) - ml;
        }
    }
}

/* Layout: d; dmin; scales; fifth bits (bit g of byte i: item i of group g); quants as in q4_k. */
void cbe_convert_q5_k(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_Q5_K_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data), dmin = cbe_load_half(data + 2);
        const unsigned char *fifth = data + 16;
        for (int group = 0; group < 8; group++) {
            int scale, minimum;
            group_scale(data + 4, group, &scale, &minimum);
            const float dl = d * (float)scale, ml = dmin * (float)minimum;
            const unsigned char *q = data + 48 + group / 2 * 32;
            const int shift = group % 2 * 4;
            for (int j = 0; j < 32; j++) {
                const int value = (q[j] >> shift & 15) | (fifth[j] >> group & 1) << 4;
                out[32 * group + j] = dl * (float)value - ml;
            }
        }
    }
}

/*
 * Layout: low 4 bits, the low halves of 64 bytes for items 0 to 63 of 128, the high halves for
 * items 64 to 127; upper two bits, byte i of 32 for items i, i + 32, i + 64, i + 96; signed scales
 * of 16 groups; d.
 */
void cbe_convert_q6_k(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_Q6_K_BYTES, out += CBE_SUPER_ITEMS) {
        const unsigned char *low = data, *high = data + 128;
        const signed char *scales = (const signed char *)data + 192;
        const float d = cbe_load_half(data + 208);
        for (int group = 0; group < 16; group++) {
            const int part = group / 8, row = group / 2 % 4, column = group % 2 * 16;
            const float scale = d * (float)scales[group];
            const unsigned char *l = low + part * 64 + row % 2 * 32 + column;
            const unsigned char *h = high + part * 32 + column;
            for (int j = 0; j < 16; j++) {
                const int value = (l[j] >> row / 2 * 4 & 15) | (h[j] >> 2 * row & 3) << 4;
                out[16 * group + j] = scale * (float)(value - 32);
            }
        }
    }
}

/*
 * Layout: d; scales of 6 bits less 32 of 8 groups, their upper two bits in a 16-bit number, the low
 * 4 bits in the halves of 4 bytes; quants of each group as in iq4_nl.
 */
void cbe_convert_iq4_xs(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_IQ4_XS_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data);
        for (int group = 0; group < 8; group++) {
            const int low = data[4 + group / 2] >> group % 2 * 4 & 15;
            const int high = data[2 + group / 4] >> group % 4 * 2 & 3;
            const float scale = d * (float)((low | high << 4) - 32);
            const unsigned char *q = data + 8 + 16 * group;
            for (int j = 0; j < 16; j++) {
                out[32 * group + j] = scale * levels_of_iq4[q[j] & 15];
                out[32 * group + j + 16] = scale * levels_of_iq4[q[j] >> 4];
            }
        }
    }
}

/* Writes n items times 5 (or 4) from n bytes. A byte is a fraction of 256 whose digits to base 3
 * are the items, the first before the others; 3^i times the byte has digit i in front. */
static void put_trits(float d, const unsigned char *q, int n, int digits, float *out)
{
    unsigned power = 1;
    for (int digit = 0; digit < digits; digit++, power *= 3)
        for (int j = 0; j < n; j++) {
            const unsigned fraction = q[j] * power & 255;
            out[n * digit + j] = d * (float)((int)(fraction * 3 >> 8) - 1);
        }
}

/* Layout: 32 bytes of five items each, 16 bytes of five items, 4 bytes of four items; d. */
void cbe_convert_tq1_0(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_TQ1_0_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data + 52);
        put_trits(d, data, 32, 5, out);
        put_trits(d, data + 32, 16, 5, out + 160);
        put_trits(d, data + 48, 4, 4, out + 240);
    }
}

/* Layout: quants of 2 bits as in q2_k; d. */
void cbe_convert_tq2_0(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_TQ2_0_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data + 64);
        for (int i = 0; i < CBE_SUPER_ITEMS; i++)
            out[i] = d * (float)((data[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3) - 1);
    }
}

/* Twice the values of floats of 4 bits: a sign, two bits of exponent and one of mantissa. */
static const float levels_of_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Layout: half the scale, as the exponent of a power of two; quants, numbers of levels. */
void cbe_convert_mxfp4(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_BLOCK_ITEMS, data += CBE_MXFP4_BYTES, out += CBE_BLOCK_ITEMS) {
        const uint32_t e = data[0];
        const float d = cbe_float_of_bits(e < 2 ? UINT32_C(0x200000) << e : (e - 1) << 23);
        const unsigned char *q = data + 1;
        for (int j = 0; j < HALF_ITEMS; j++) {
            out[j] = d * levels_of_fp4[q[j] & 15];
            out[j + HALF_ITEMS] = d * levels_of_fp4[q[j] >> 4];
        }
    }
}

/* Half the value of a float of 8 bits without a sign: 4 bits of exponent, 3 of mantissa. */
static float half_of_fp8(unsigned char bits)
{
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (bits == 0x7f) return 0;
    /* (8 + mantissa) 2^(exponent - 11), or mantissa 2^-10 */
    const float power = cbe_float_of_bits((uint32_t)(127 + (exponent ? exponent : 1) - 11) << 23);
    return (float)(exponent ? 8 + mantissa : mantissa) * power;
}

/* Layout: scales of four groups; quants of each group of 16, numbers of levels. */
void cbe_convert_nvfp4(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_NVFP4_ITEMS, data += CBE_NVFP4_BYTES, out += CBE_NVFP4_ITEMS)
        for (int group = 0; group < 4; group++) {
            const float d = half_of_fp8(data[group]);
            const unsigned char *q = data + 4 + 8 * group;
            for (int j = 0; j < 8; j++) {
                out[16 * group + j] = d * levels_of_fp4[q[j] & 15];
                out[16 * group + j + 8] = d * levels_of_fp4[q[j] >> 4];
            }
        }
}
