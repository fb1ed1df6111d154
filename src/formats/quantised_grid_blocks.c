/*
 * quantised_grid_blocks.c - conversion of GGUF's types iq1, iq2 and iq3 (quantised_blocks.h).
 *
 * A block has 256 items. Groups of 8 items (iq3: twice 4) choose a point of a grid, which has the
 * items' magnitudes, and the signs of the 8; groups of 16 or 32 have small scales of their own. In
 * the types _xxs and _xs the eighth sign is such that an even number of items are negative.
 */
#include "formats/quantised_blocks.h"
#include "formats/quantised_grids.h"
#include "formats/quantised_load.h"

// The reference implementation rounds each product and sum; a fused operation would differ.
#pragma STDC FP_CONTRACT OFF

static const float levels_of_iq2[3] = {8, 25, 43};

/* Signs of 8 items of which 7 bits are given. */
static unsigned even_signs(unsigned seven)
{
    unsigned odd = seven ^ seven >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return seven | (odd & 1) << 7;
}

/* Writes n items from the n first levels of a point; bit i of signs: item i is negative. */
static void put_point(float scale, const float *levels, const uint8_t *point, int n, unsigned signs,
                      float *out)
{
    for (int i = 0; i < n; i++) {
        const float value = scale * levels[point[i]];
        out[i] = signs >> i & 1 ? -value : value;
    }
}

/* Layout: d; for each 32 items a byte for each 8, the number of a point, and a word with 7 signs
 * for each 8 and the scale in its 4 upper bits. */
void cbe_convert_iq2_xxs(const unsigned char *data, size_t count, float *out)
{
    const uint8_t(*points)[CBE_GRID_ITEMS] = cbe_quantised_points(CBE_GRID_IQ2_XXS);
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_IQ2_XXS_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data);
        for (int group = 0; group < 8; group++) {
            const unsigned char *at = data + 2 + 8 * group;
            const uint32_t word = cbe_load_word(at + 4);
            const float scale = d * (0.5f + (float)(word >> 28)) * 0.25f;
            for (int i = 0; i < 4; i++)
                put_point(scale, levels_of_iq2, points[at[i]], 8, even_signs(word >> 7 * i & 127),
                          out + 32 * group + 8 * i);
        }
    }
}

/* Layout: d; 16 bits for each 8 items: 9 of the number of a point, 7 signs; a byte of two scales
 * for each 32 items, the first 16 items' in its low half. */
void cbe_convert_iq2_xs(const unsigned char *data, size_t count, float *out)
{
    const uint8_t(*points)[CBE_GRID_ITEMS] = cbe_quantised_points(CBE_GRID_IQ2_XS);
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_IQ2_XS_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data);
        const unsigned char *scales = data + 2 + 64;
        for (int i = 0; i < 32; i++) {
            const unsigned code = cbe_load_short(data + 2 + 2 * i);
            const float scale = d * (0.5f + (float)(scales[i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
            put_point(scale, levels_of_iq2, points[code & 511], 8, even_signs(code >> 9),
                      out + 8 * i);
        }
    }
}

/* Layout: d; for each 8 items a byte of the number of a point; a byte of signs each; the number's
 * two upper bits, four in a byte; scales as in iq2_xs. */
void cbe_convert_iq2_s(const unsigned char *data, size_t count, float *out)
{
    const uint8_t(*points)[CBE_GRID_ITEMS] = cbe_quantised_points(CBE_GRID_IQ2_S);
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_IQ2_S_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data);
        const unsigned char *low = data + 2, *signs = low + 32, *high = signs + 32,
                            *scales = high + 8;
        for (int i = 0; i < 32; i++) {
            const unsigned number = low[i] | (high[i / 4] >> i % 4 * 2 & 3u) << 8;
            const float scale = d * (0.5f + (float)(scales[i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
            put_point(scale, levels_of_iq2, points[number], 8, signs[i], out + 8 * i);
        }
    }
}

/* Layout: d; for each 4 items a byte, the number of a point; for each 32 items a word with 7 signs
 * for each 8 and the scale in its 4 upper bits. */
void cbe_convert_iq3_xxs(const unsigned char *data, size_t count, float *out)
{
    static const float levels[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    const uint8_t(*points)[CBE_GRID_ITEMS] = cbe_quantised_points(CBE_GRID_IQ3_XXS);
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_IQ3_XXS_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data);
        for (int group = 0; group < 8; group++) {
            const unsigned char *at = data + 2 + 8 * group;
            const uint32_t word = cbe_load_word(data + 2 + 64 + 4 * group);
            const float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
            for (int i = 0; i < 8; i++) {
                const unsigned signs = even_signs(word >> i / 2 * 7 & 127);
                put_point(scale, levels, points[at[i]], 4, signs >> i % 2 * 4,
                          out + 32 * group + 4 * i);
            }
        }
    }
}

/* Layout: d; for each 4 items a byte of the number of a point; the number's upper bits, eight in a
 * byte; a byte of signs for each 8 items; a byte of two scales for each 64. */
void cbe_convert_iq3_s(const unsigned char *data, size_t count, float *out)
{
    static const float levels[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    const uint8_t(*points)[CBE_GRID_ITEMS] = cbe_quantised_points(CBE_GRID_IQ3_S);
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_IQ3_S_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data);
        const unsigned char *low = data + 2, *high = low + 64, *signs = high + 8,
                            *scales = signs + 32;
        for (int i = 0; i < 64; i++) {
            const unsigned number = low[i] | (high[i / 8] >> i % 8 & 1u) << 8;
            const float scale = d * (float)(1 + 2 * (scales[i / 16] >> i / 8 % 2 * 4 & 15));
            put_point(scale, levels, points[number], 4, signs[i / 2] >> i % 2 * 4u, out + 4 * i);
        }
    }
}

/* Writes 8 items of iq1, whose levels are -1, 0 and 1, moved by 1/8 up or down. */
static void put_ternary(float scale, float move, const uint8_t *point, float *out)
{
    for (int i = 0; i < 8; i++) out[i] = scale * ((float)point[i] - 1 + move);
}

/* Layout: d; for each 8 items a byte of the number of a point; for each 32 items 16 bits: the
 * numbers' 3 upper bits each, a scale of 3 bits, and whether levels are moved down. */
void cbe_convert_iq1_s(const unsigned char *data, size_t count, float *out)
{
    const uint8_t(*points)[CBE_GRID_ITEMS] = cbe_quantised_points(CBE_GRID_IQ1);
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_IQ1_S_BYTES, out += CBE_SUPER_ITEMS) {
        const float d = cbe_load_half(data);
        for (int i = 0; i < 32; i++) {
            const unsigned bits = cbe_load_short(data + 2 + 32 + i / 4 * 2);
            const unsigned number = data[2 + i] | (bits >> i % 4 * 3 & 7) << 8;
            put_ternary(d * (float)(2 * (bits >> 12 & 7) + 1), bits >> 15 ? -0.125f : 0.125f,
                        points[number], out + 8 * i);
        }
    }
}

/* Layout: for each 8 items a byte of the number of a point; for each 8 items 4 bits: the number's 3
 * upper bits, and whether levels are moved down; four times 16 bits: scales of 3 bits for each 16
 * items, and 4 bits of d, the lowest first. */
void cbe_convert_iq1_m(const unsigned char *data, size_t count, float *out)
{
    const uint8_t(*points)[CBE_GRID_ITEMS] = cbe_quantised_points(CBE_GRID_IQ1);
    for (; count; count -= CBE_SUPER_ITEMS, data += CBE_IQ1_M_BYTES, out += CBE_SUPER_ITEMS) {
        const unsigned char *high = data + 32, *scales = high + 16;
        unsigned half = 0;
        for (int i = 0; i < 4; i++) half |= (unsigned)cbe_load_short(scales + 2 * i) >> 12 << 4 * i;
        const float d = cbe_float_of_half((uint16_t)half);
        for (int i = 0; i < 32; i++) {
            const unsigned bits = high[i / 2] >> i % 2 * 4u & 15;
            const unsigned scale = cbe_load_short(scales + i / 8 * 2) >> i / 2 % 4 * 3 & 7;
            put_ternary(d * (float)(2 * scale + 1), bits & 8 ? -0.125f : 0.125f,
                        points[data[i] | (bits & 7) << 8], out + 8 * i);
        }
    }
}
