/*
 * quantised_blocks.c - see quantised_blocks.h.
 *
 * Blocks of 32: byte j of the quants holds item j in its low half and item j + 16 in its high half;
 * a fifth bit of item j is bit j of a 32-bit word. Blocks of 256 ("k-quants") have eight or sixteen
 * groups with small integer scales of their own; each layout is described at its function.
 */
#include "formats/quantised_blocks.h"

#include <stdint.h>
#include <string.h>

#include "formats/half.h"

// The reference implementation rounds d * q + m twice; a fused operation would differ.
#pragma STDC FP_CONTRACT OFF

enum { HALF_ITEMS = CBE_BLOCK_ITEMS / 2 };

static float half_at(const unsigned char *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return cbe_float_of_half(half);
}

static uint32_t word_at(const unsigned char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

void cbe_convert_q4_0(const unsigned char *data, size_t count, float *out)
{
    for (; count; count -= CBE_BLOCK_ITEMS, data += CBE_Q4_0_BYTES, out += CBE_BLOCK_ITEMS) {
        const float d = half_at(data);
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
        const float d = half_at(data), m = half_at(data + 2);
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
        const float d = half_at(data);
        const uint32_t fifth = word_at(data + 2);
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
        const float d = half_at(data), m = half_at(data + 2);
        const uint32_t fifth = word_at(data + 4);
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
        const float d = half_at(data);
        const signed char *q = (const signed char *)data + 2;
        for (int j = 0; j < CBE_BLOCK_ITEMS; j++) out[j] = (float)q[j] * d;
    }
}

/* A nibble is the number of one of 16 levels, which lie closer together around zero. */
void cbe_convert_iq4_nl(const unsigned char *data, size_t count, float *out)
{
    static const float levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
    for (; count; count -= CBE_BLOCK_ITEMS, data += CBE_IQ4_NL_BYTES, out += CBE_BLOCK_ITEMS) {
        const float d = half_at(data);
        const unsigned char *q = data + 2;
        for (int j = 0; j < HALF_ITEMS; j++) {
            out[j] = d * levels[q[j] & 15];
            out[j + HALF_ITEMS] = d * levels[q[j] >> 4];
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
        const float d = half_at(data + 80), dmin = half_at(data + 82);
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
        const float d = half_at(data + 108);
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
        const float d = half_at(data), dmin = half_at(data + 2);
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
        const float d = half_at(data), dmin = half_at(data + 2);
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
        const float d = half_at(data + 208);
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
