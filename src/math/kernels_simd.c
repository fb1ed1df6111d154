/*
 * kernels_simd.c - the kernels of kernels.h, built once for each instruction set
 * (src/CMakeLists.txt), under the name cbe_kernels_<isa>.
 *
 * Kernels with exponentials are written in vectors (simd.h), so that exponentials fuse with the
 * sums; the other kernels are plain loops that compilers vectorise.
 */
#include "math/kernels.h"

#include <math.h>
#include <string.h>

#include "math/simd.h"

#define CONCAT_(a, b) a##b
#define CONCAT(a, b)  CONCAT_(a, b)

static const float LOG2E_F = 1.44269504088896341f;

/* Kinds of exponents: a y plus a whole level; a y + offset + level, known to lie in the range of
 * exp2_in_range; or any exponent. */
typedef enum { PRODUCT, IN_RANGE, ANY } exponents;

SIMD vfloat row_entry(exponents kind, vfloat a, vfloat y, const float *offset, vfloat level)
{
    if (kind == PRODUCT) return exp2_of_product(a, y, EXP2_MAGIC + level);
    const vfloat t = multiply_add(a, y, offset ? load(offset) + level : level);
    return kind == ANY ? exp2_clamped(t) : exp2_in_range(t);
}

typedef struct {
    vfloat e, ey, eu;
} block_sums;

/* Sums over the blocks, in double. */
typedef struct {
    vdouble e, ey, eu;
} double_sums;

/* Floats ahead that are prefetched into the second cache: a row must be requested long before it is
 * used, or waiting and arithmetic take turns. Measured on a Zen 4, one pass of exponentials over
 * 0.4 GB that takes 0.0140 s to read: 0.0215 s without prefetching, 0.0204 s with 2 KB ahead into
 * the first cache, 0.0138 s with 64 KB ahead into the second. Two rows with their gradient leave
 * less of the second cache: 0.0152 s with 64 KB ahead for each, 0.0140 s with 16 KB. */
enum { PREFETCH = 16384, PREFETCH_ROWS = 4096 };

SIMD void fetch(const float *p, size_t ahead)
{
    __builtin_prefetch(p + ahead, 0, 2);
}

/* A row's factors, in all lanes. */
typedef struct {
    vfloat a, minus_c, level;
} row_factors;

/* Exponentials of the next `count` entries: LANES, or fewer at the row's end. The sum of e has the
 * same bits with and without the sums of e y and e u. */
SIMD vfloat row_step(exponents kind, bool with_sums, size_t count, const row_factors *by,
                     const float *z, size_t ahead, vfloat us, const float *offset, block_sums *sums)
{
    fetch(z, ahead);
    const bool whole = count == LANES;
    const vfloat y = multiply_add(by->minus_c, us, whole ? load(z) : load_some(z, count));
    vfloat x = rounded(row_entry(kind, by->a, y, offset, by->level));
    if (!whole) x = keep_lanes(x, count);
    sums->e += x;
    if (!with_sums) return x;
    sums->ey = multiply_add(x, y, sums->ey);
    sums->eu = multiply_add(x, us, sums->eu);
    return x;
}

SIMD void store_count(float *p, vfloat x, size_t count)
{
    if (count == LANES)
        store(p, x);
    else
        store_some(p, x, count);
}

SIMD void add_block(vdouble *total, vfloat sums)
{
    *total += __builtin_convertvector(sums, vdouble);
}

SIMD void add_sums(double_sums *total, const block_sums *sums)
{
    add_block(&total->e, sums->e);
    add_block(&total->ey, sums->ey);
    add_block(&total->eu, sums->eu);
}

SIMD cbe_row_sums total_sums(const double_sums *total)
{
    return (cbe_row_sums){sum_lanes(total->e), sum_lanes(total->ey), sum_lanes(total->eu)};
}

/* Exponentials of entries i .. i + count - 1 of a row. */
SIMD void row_entries(exponents kind, bool with_sums, size_t i, size_t count, const row_factors *by,
                      const float *z, const float *u, const float *offset, float *e,
                      block_sums *sums)
{
    float last[LANES] = {0};
    const bool whole = count == LANES;
    if (!whole && offset) memcpy(last, offset + i, count * sizeof *offset);
    const vfloat x = row_step(kind, with_sums, count, by, z + i, PREFETCH,
                              whole ? load(u + i) : load_some(u + i, count),
                              !offset ? NULL
                              : whole ? offset + i
                                      : last,
                              sums);
    if (with_sums && e) store_count(e + i, x, count);
}

SIMD cbe_row_sums row_pass(exponents kind, bool with_sums, size_t n, const float *z, const float *u,
                           const float *offset, float a, float c, float level, float *e)
{
    double_sums total = {{0}, {0}, {0}};
    const row_factors by = {splat(a), splat(-c), splat(level)};
    for (size_t i = 0; i < n;) {
        const size_t end = n - i < CBE_SUM_BLOCK ? n : i + CBE_SUM_BLOCK;
        block_sums sums = {{0}, {0}, {0}};
        for (; i + LANES <= end; i += LANES)
            row_entries(kind, with_sums, i, LANES, &by, z, u, offset, e, &sums);
        if (i < end) row_entries(kind, with_sums, i, end - i, &by, z, u, offset, e, &sums);
        i = end;
        add_sums(&total, &sums);
    }
    return total_sums(&total);
}

/* Exponentials of entries i .. i + count - 1 of some rows; see cbe_kernels.rows_exp. */
SIMD void rows_entries(exponents kind, size_t rows, size_t i, size_t count, const row_factors *by,
                       const float *const *z, const float *u, const float *offset, const vfloat *w,
                       float *g, float *const *e, block_sums *sums)
{
    float last[LANES] = {0};
    const bool whole = count == LANES;
    if (!whole && offset) memcpy(last, offset + i, count * sizeof *offset);
    const float *offsets = !offset ? NULL : whole ? offset + i : last;
    const vfloat us = whole ? load(u + i) : load_some(u + i, count);
    if (w) {
        vfloat gs = whole ? load(g + i) : load_some(g + i, count);
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++)
            gs = multiply_add(w[r], whole ? load(e[r] + i) : load_some(e[r] + i, count), gs);
        store_count(g + i, gs, count);
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++)
        store_count(
            e[r] + i,
            row_step(kind, true, count, &by[r], z[r] + i, PREFETCH_ROWS, us, offsets, &sums[r]),
            count);
}

SIMD void rows_pass(exponents kind, size_t rows, size_t n, const cbe_exp_row *row, const float *u,
                    const float *offset, const float *w, float *g, cbe_row_sums *out)
{
    double_sums total[CBE_EXP_ROWS] = {{{0}, {0}, {0}}};
    row_factors by[CBE_EXP_ROWS];
    vfloat ws[CBE_EXP_ROWS] = {{0}};
    /* Copies of pointers, which stores cannot change: the originals would be read again for every
     * entry. */
    const float *z[CBE_EXP_ROWS];
    float *e[CBE_EXP_ROWS];
    for (size_t r = 0; r < rows; r++) {
        by[r] = (row_factors){splat(row[r].a), splat(-row[r].c), splat(row[r].level)};
        if (w) ws[r] = splat(w[r]);
        z[r] = row[r].z;
        e[r] = row[r].e;
    }
    for (size_t i = 0; i < n;) {
        const size_t end = n - i < CBE_SUM_BLOCK ? n : i + CBE_SUM_BLOCK;
        block_sums sums[CBE_EXP_ROWS] = {{{0}, {0}, {0}}};
        for (; i + LANES <= end; i += LANES)
            rows_entries(kind, rows, i, LANES, by, z, u, offset, w ? ws : NULL, g, e, sums);
        if (i < end)
            rows_entries(kind, rows, i, end - i, by, z, u, offset, w ? ws : NULL, g, e, sums);
        i = end;
        for (size_t r = 0; r < rows; r++) add_sums(&total[r], &sums[r]);
    }
    for (size_t r = 0; r < rows; r++) out[r] = total_sums(&total[r]);
}

static double row_sum(size_t n, const float *z, const float *u, const float *offset, float a,
                      float c, float level, bool bounded)
{
    if (!bounded) return row_pass(ANY, false, n, z, u, offset, a, c, level, NULL).e;
    if (offset) return row_pass(IN_RANGE, false, n, z, u, offset, a, c, level, NULL).e;
    return row_pass(PRODUCT, false, n, z, u, NULL, a, c, level, NULL).e;
}

static cbe_row_sums row_exp(size_t n, const float *z, const float *u, const float *offset, float a,
                            float c, float level, bool bounded, float *e)
{
    if (!bounded) return row_pass(ANY, true, n, z, u, offset, a, c, level, e);
    if (offset) return row_pass(IN_RANGE, true, n, z, u, offset, a, c, level, e);
    return row_pass(PRODUCT, true, n, z, u, NULL, a, c, level, e);
}

/* Adds the rows one after the other, as rows_pass does, with the same bits. */
SIMD void accumulate_pass(size_t rows, size_t n, const float *const *e, const float *w, int first,
                          float *g)
{
    vfloat ws[CBE_ROW_GROUP] = {{0}};
    for (size_t r = 0; r < rows; r++) ws[r] = splat(w[r]);
    for (size_t i = 0; i < n; i += LANES) {
        const size_t count = n - i < LANES ? n - i : LANES;
        const bool whole = count == LANES;
        vfloat gs = first ? splat(0) : whole ? load(g + i) : load_some(g + i, count);
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++)
            gs = multiply_add(ws[r], whole ? load(e[r] + i) : load_some(e[r] + i, count), gs);
        store_count(g + i, gs, count);
    }
}

static void accumulate(size_t n, size_t rows, const float *const *e, const float *w, int first,
                       float *g)
{
    if (rows == CBE_EXP_ROWS)
        accumulate_pass(CBE_EXP_ROWS, n, e, w, first, g);
    else if (rows == CBE_ROW_GROUP)
        accumulate_pass(CBE_ROW_GROUP, n, e, w, first, g);
    else
        accumulate_pass(rows, n, e, w, first, g);
}

/* One loop for each kind of exponents. */
static void bounded_rows_exp(size_t n, const cbe_exp_row *row, const float *u, const float *offset,
                             const float *w, float *g, cbe_row_sums *sums)
{
    if (offset && w)
        rows_pass(IN_RANGE, CBE_EXP_ROWS, n, row, u, offset, w, g, sums);
    else if (offset)
        rows_pass(IN_RANGE, CBE_EXP_ROWS, n, row, u, offset, NULL, NULL, sums);
    else if (w)
        rows_pass(PRODUCT, CBE_EXP_ROWS, n, row, u, NULL, w, g, sums);
    else
        rows_pass(PRODUCT, CBE_EXP_ROWS, n, row, u, NULL, NULL, NULL, sums);
}

static void rows_exp(size_t rows, size_t n, const cbe_exp_row *row, const float *u,
                     const float *offset, const float *w, float *g, cbe_row_sums *sums)
{
    bool bounded = true;
    for (size_t r = 0; r < rows; r++) bounded = bounded && row[r].bounded;
    if (bounded && rows == CBE_EXP_ROWS) {
        bounded_rows_exp(n, row, u, offset, w, g, sums);
    } else { /* rare, and need not be fast */
        const float *e[CBE_ROW_GROUP] = {NULL};
        for (size_t r = 0; r < rows; r++) e[r] = row[r].e;
        if (w) accumulate(n, rows, e, w, 0, g);
        for (size_t r = 0; r < rows; r++)
            sums[r] = row_exp(n, row[r].z, u, offset, row[r].a, row[r].c, row[r].level,
                              row[r].bounded, row[r].e);
    }
}

static double row_max(size_t n, const float *z, const float *u, const float *offset, float a,
                      float c)
{
    float top = -INFINITY;
    if (offset) {
#pragma omp simd reduction(max : top)
        for (size_t i = 0; i < n; i++) {
            const float t = a * (z[i] - c * u[i]) + offset[i];
            top = t > top ? t : top;
        }
    } else {
#pragma omp simd reduction(max : top)
        for (size_t i = 0; i < n; i++) {
            const float t = a * (z[i] - c * u[i]);
            top = t > top ? t : top;
        }
    }
    return (double)top;
}

static void range(size_t n, const float *x, float *low, float *high)
{
    float bottom = INFINITY, top = -INFINITY;
#pragma omp simd reduction(max : top) reduction(min : bottom)
    for (size_t i = 0; i < n; i++) {
        top = x[i] > top ? x[i] : top;
        bottom = x[i] < bottom ? x[i] : bottom;
    }
    *low = bottom;
    *high = top;
}

static void subtract(size_t n, float *z, double shift)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) z[i] = (float)((double)z[i] - shift);
}

static void to_half(size_t n, const float *z, float scale, uint16_t *half)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) store_half(half + i, load(z + i) * scale);
    uint16_t last[LANES];
    if (i < n) store_half(last, load_some(z + i, n - i) * scale);
    if (i < n) memcpy(half + i, last, (n - i) * sizeof *last);
}

static void from_half(size_t n, const uint16_t *half, float scale, float *z)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) store(z + i, load_half(half + i) * scale);
    uint16_t last[LANES] = {0};
    memcpy(last, half + i, (n - i) * sizeof *last);
    store_some(z + i, load_half(last) * scale, n - i);
}

/* tanh(x) = 1 - 2 / (e^2x + 1); near 0 the formula cancels, and an odd series takes over. */
SIMD vfloat tanh_fast(vfloat x)
{
    const vfloat x2 = x * x;
    const vfloat series =
        x + x * x2 * (-1.0f / 3 + x2 * (2.0f / 15 + x2 * (-17.0f / 315 + x2 * (62.0f / 2835))));
    const vfloat closed = 1.0f - 2.0f / (exp2_clamped(2 * LOG2E_F * x) + 1.0f);
    return choose(x2 < splat(0.0625f), series, closed);
}

typedef struct {
    vfloat e, efy, efu, pfy, pfu, change;
} cap_block;

/* The next `count` entries, at most LANES; see cbe_kernels.row_cap. */
SIMD void cap_step(size_t count, const float *z0, const float *z, const float *u,
                   const float *offset, const cbe_cap_row *row, float *ef, float *pf,
                   cap_block *sums)
{
    const bool whole = count == LANES;
    const float cap = (float)row->softcap, inverse = (float)(1 / row->softcap);
    const vfloat us = whole ? load(u) : load_some(u, count),
                 z0s = whole ? load(z0) : load_some(z0, count);
    const vfloat y = (whole ? load(z) : load_some(z, count)) - (float)row->c * us;
    const vfloat base = !offset ? splat(0) : whole ? load(offset) : load_some(offset, count);
    const vfloat clean = cap * tanh_fast(((float)row->clean_scale * z0s + base) * inverse);
    const vfloat tangent = tanh_fast(((float)row->scale * y + base) * inverse);
    const vfloat ablated = cap * tangent;
    vfloat p = exp2_clamped(LOG2E_F * (clean - (float)row->clean_shift));
    vfloat e = exp2_clamped(LOG2E_F * (ablated - (float)row->shift));
    if (!whole) {
        p = keep_lanes(p, count);
        e = keep_lanes(e, count);
    }
    const vfloat f = 1.0f - tangent * tangent;
    const vfloat e_f = e * f, p_f = p * f;
    if (ef && whole) {
        store(ef, e_f);
        store(pf, p_f);
    } else if (ef) {
        store_some(ef, e_f, count);
        store_some(pf, p_f, count);
    }
    sums->e += e;
    sums->efy += e_f * y;
    sums->efu += e_f * us;
    sums->pfy += p_f * y;
    sums->pfu += p_f * us;
    sums->change += p * (ablated - clean);
}

static cbe_cap_sums row_cap(size_t n, const float *z0, const float *z, const float *u,
                            const float *offset, const cbe_cap_row *row, float *ef, float *pf)
{
    vdouble total[6] = {{0}, {0}, {0}, {0}, {0}, {0}};
    for (size_t i = 0; i < n;) {
        const size_t end = n - i < CBE_SUM_BLOCK ? n : i + CBE_SUM_BLOCK;
        cap_block sums = {{0}, {0}, {0}, {0}, {0}, {0}};
        for (; i < end; i += LANES)
            cap_step(end - i < LANES ? end - i : LANES, z0 + i, z + i, u + i,
                     offset ? offset + i : NULL, row, ef ? ef + i : NULL, pf ? pf + i : NULL,
                     &sums);
        i = end;
        add_block(&total[0], sums.e);
        add_block(&total[1], sums.efy);
        add_block(&total[2], sums.efu);
        add_block(&total[3], sums.pfy);
        add_block(&total[4], sums.pfu);
        add_block(&total[5], sums.change);
    }
    return (cbe_cap_sums){sum_lanes(total[0]), sum_lanes(total[1]), sum_lanes(total[2]),
                          sum_lanes(total[3]), sum_lanes(total[4]), sum_lanes(total[5])};
}

/* The next LANES entries, or `left` entries and zeros if fewer are left. */
SIMD vfloat load_left(const float *p, size_t left)
{
    return left >= LANES ? load(p) : load_some(p, left);
}

/* The sum of lanes of each of four vectors, in an order that does not depend on the vectors beside
 * it. */
SIMD void sum_four(const vfloat v[4], float out[4])
{
#if defined(__AVX512F__)
    /* Adds lanes 8 apart, then 4 apart, with two and then four vectors in a register; then the
     * lanes of each quarter. */
    const __m512 a = (__m512)v[0], b = (__m512)v[1], c = (__m512)v[2], d = (__m512)v[3];
    const __m512 ab = _mm512_shuffle_f32x4(a, b, 0x44) + _mm512_shuffle_f32x4(a, b, 0xee);
    const __m512 cd = _mm512_shuffle_f32x4(c, d, 0x44) + _mm512_shuffle_f32x4(c, d, 0xee);
    const __m512 quarters = _mm512_shuffle_f32x4(ab, cd, 0x88) + _mm512_shuffle_f32x4(ab, cd, 0xdd);
    const __m512 halves = quarters + _mm512_permute_ps(quarters, 0x4e);
    const __m512 sums = halves + _mm512_permute_ps(halves, 0xb1);
    for (size_t i = 0; i < 4; i++) out[i] = ((vfloat)sums)[4 * i];
#else
    for (size_t i = 0; i < 4; i++) {
        float l[LANES], sum = 0;
        store(l, v[i]);
        for (size_t k = 0; k < LANES; k += 4) sum += (l[k] + l[k + 1]) + (l[k + 2] + l[k + 3]);
        out[i] = sum;
    }
#endif
}

enum {
    /* Vectors of a tile; they stay in the first cache. */
    DOT_VECTORS = 4,
    /* rows of a tile with several vectors: registers hold the sums */
    DOT_ROWS = LANES == 16 ? 4 : 2,
    ONE_ROWS = 4, /* rows of a tile with one vector */
    DOT_SUMS = DOT_ROWS * DOT_VECTORS,
    /* Floats of a block of rows, which stays in the second cache for the next vectors. */
    DOT_BLOCK = 32768
};

/* The shape of a tile; for rows `from` to `to` - 1 the floats `ahead` of them are prefetched. */
typedef struct {
    size_t rows, vectors, from, to, ahead;
} dot_shape;

/* Multiplies the next LANES entries of a tile's rows x and vectors y, or `left` entries at their
 * end. */
SIMD void dot_step(dot_shape tile, size_t k, size_t left, const float *const *x,
                   const float *const *y, vfloat *sums)
{
    vfloat ys[DOT_VECTORS];
#pragma GCC unroll 4
    for (size_t c = 0; c < tile.vectors; c++) ys[c] = load_left(y[c] + k, left);
#pragma GCC unroll 4
    for (size_t r = 0; r < tile.rows; r++) {
        if (tile.from <= r && r < tile.to) fetch(x[r] + k, tile.ahead);
        const vfloat xs = load_left(x[r] + k, left);
#pragma GCC unroll 4
        for (size_t c = 0; c < tile.vectors; c++)
            sums[r * tile.vectors + c] = multiply_add(xs, ys[c], sums[r * tile.vectors + c]);
    }
}

/* The products of a tile, whose sums share their loads; out (rows, vectors). Each product is summed
 * in the same order in a tile of any shape, so its bits do not depend on the tile. */
SIMD void dot_tile(dot_shape tile, size_t d, const float *const *x, const float *const *y,
                   float *out)
{
    vfloat sums[DOT_SUMS] = {{0}};
    size_t k = 0;
    for (; k + LANES <= d; k += LANES) dot_step(tile, k, LANES, x, y, sums);
    tile.from = tile.to = 0;
    if (k < d) dot_step(tile, k, d - k, x, y, sums);
#pragma GCC unroll 4
    for (size_t i = 0; i < tile.rows * tile.vectors; i += 4) sum_four(sums + i, out + i);
}

/* Products of n rows with m <= tile.vectors vectors; an incomplete tile repeats the last row or
 * vector. */
SIMD void dot_rows(dot_shape tile, size_t n, size_t d, const float *w, size_t ldw, size_t m,
                   const float *a, float *out, size_t ldo)
{
    const float *x[ONE_ROWS], *y[DOT_VECTORS];
    _Static_assert((int)DOT_ROWS <= (int)ONE_ROWS, "x holds the rows of every shape");
    float products[DOT_SUMS];
    for (size_t c = 0; c < tile.vectors; c++) y[c] = a + (c < m ? c : m - 1) * d;
    for (size_t i = 0; i < n; i += tile.rows) {
        for (size_t r = 0; r < tile.rows; r++) x[r] = w + (i + r < n ? i + r : n - 1) * ldw;
        dot_tile(tile, d, x, y, products);
        for (size_t r = 0; r < tile.rows && i + r < n; r++)
            for (size_t c = 0; c < m; c++) out[c * ldo + i + r] = products[r * tile.vectors + c];
    }
}

/* Products with more vectors than a tile has, in blocks of rows; each of the first two passes over
 * a block prefetches half of the next block. */
static void dot_blocks(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *a,
                       float *out, size_t ldo)
{
    const size_t fitting = DOT_BLOCK / d / DOT_ROWS * DOT_ROWS,
                 block = fitting ? fitting : DOT_ROWS, ahead = block * ldw;
    for (size_t start = 0; start < n; start += block) {
        const size_t rows = n - start < block ? n - start : block;
        const float *from = w + start * ldw;
        for (size_t j = 0; j < m; j += DOT_VECTORS) {
            const size_t vectors = m - j < DOT_VECTORS ? m - j : DOT_VECTORS;
            const float *by = a + j * d;
            float *to = out + j * ldo + start;
            if (j == 0)
                dot_rows((dot_shape){DOT_ROWS, DOT_VECTORS, 0, DOT_ROWS / 2, ahead}, rows, d, from,
                         ldw, vectors, by, to, ldo);
            else if (j == DOT_VECTORS)
                dot_rows((dot_shape){DOT_ROWS, DOT_VECTORS, DOT_ROWS / 2, DOT_ROWS, ahead}, rows, d,
                         from, ldw, vectors, by, to, ldo);
            else
                dot_rows((dot_shape){DOT_ROWS, DOT_VECTORS, 0, 0, 0}, rows, d, from, ldw, vectors,
                         by, to, ldo);
        }
    }
}

static void rows_dot(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *a,
                     float *out, size_t ldo)
{
    if (m == 1)
        dot_rows((dot_shape){ONE_ROWS, 1, 0, ONE_ROWS, PREFETCH}, n, d, w, ldw, 1, a, out, ldo);
    else if (m <= DOT_VECTORS)
        dot_rows((dot_shape){DOT_ROWS, DOT_VECTORS, 0, DOT_ROWS, PREFETCH}, n, d, w, ldw, m, a, out,
                 ldo);
    else
        dot_blocks(n, d, w, ldw, m, a, out, ldo);
}

enum {
    /* Rows summed in float before the sum is added to a double. */
    SUM_ROWS = 64,
    /* Sums that registers hold. */
    SUM_SUMS = LANES == 16 ? 16 : 8,
    SUM_VECTORS = SUM_SUMS / 2, /* most lists of coefficients of a tile */
    SUM_COLUMNS = 8             /* most registers of a row's entries in a tile */
};

/* out += sums, LANES entries or `left` entries at the row's end. */
SIMD void add_sum(vfloat sums, size_t left, double *out)
{
    vdouble total;
    if (left >= LANES) {
        memcpy(&total, out, sizeof total);
        add_block(&total, sums);
        memcpy(out, &total, sizeof total);
    } else {
        float lanes[LANES];
        store(lanes, sums);
        for (size_t l = 0; l < left; l++) out[l] += (double)lanes[l];
    }
}

/* Sums over n rows of `columns` vectors each, in registers, for m <= vectors lists of coefficients
 * (n, vectors). Each sum adds its rows in their order, whatever is summed beside it. left: entries
 * left in the row. */
SIMD void sum_tile(size_t vectors, size_t columns, size_t n, const float *w, size_t ldw,
                   size_t left, size_t m, const float *coeff, double *out, size_t ldo)
{
    vfloat sums[SUM_SUMS] = {{0}}; /* (vectors, columns) */
    for (size_t i = 0; i < n; i++, w += ldw, coeff += vectors) {
        vfloat x[SUM_COLUMNS];
#pragma GCC unroll 8
        for (size_t k = 0; k < columns; k++) {
            /* Prefetches the same entries of the next SUM_ROWS rows. */
            __builtin_prefetch(w + SUM_ROWS * ldw + k * LANES, 0, 2);
            x[k] = load_left(w + k * LANES, left - k * LANES);
        }
#pragma GCC unroll 8
        for (size_t j = 0; j < vectors; j++) {
            const vfloat cs = splat(coeff[j]);
#pragma GCC unroll 8
            for (size_t k = 0; k < columns; k++)
                sums[j * columns + k] = multiply_add(cs, x[k], sums[j * columns + k]);
        }
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < vectors; j++)
#pragma GCC unroll 8
        for (size_t k = 0; k < columns; k++)
            if (j < m) add_sum(sums[j * columns + k], left - k * LANES, out + j * ldo + k * LANES);
}

/* Sums over n <= SUM_ROWS rows, for all d entries. */
SIMD void sum_rows(size_t vectors, size_t columns, size_t n, size_t d, const float *w, size_t ldw,
                   size_t m, const float *coeff, size_t ldc, double *out)
{
    const size_t width = columns * LANES;
    float packed[SUM_ROWS * SUM_VECTORS];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < vectors; j++)
            packed[i * vectors + j] = j < m ? coeff[j * ldc + i] : 0;
    size_t k = 0;
    for (; k + width <= d; k += width)
        sum_tile(vectors, columns, n, w + k, ldw, width, m, packed, out + k, d);
    for (; k < d; k += LANES)
        sum_tile(vectors, 1, n, w + k, ldw, d - k < LANES ? d - k : LANES, m, packed, out + k, d);
}

static void rows_sum(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *coeff,
                     size_t ldc, double *out)
{
    for (size_t start = 0; start < n; start += SUM_ROWS) {
        const size_t rows = n - start < SUM_ROWS ? n - start : SUM_ROWS;
        for (size_t j = 0; j < m; j += SUM_VECTORS) {
            const size_t lists = m - j < SUM_VECTORS ? m - j : SUM_VECTORS;
            const float *from = w + start * ldw, *by = coeff + j * ldc + start;
            double *to = out + j * d;
            if (lists == 1)
                sum_rows(1, SUM_COLUMNS, rows, d, from, ldw, 1, by, ldc, to);
            else if (lists == 2)
                sum_rows(2, SUM_SUMS / 2, rows, d, from, ldw, 2, by, ldc, to);
            else if (lists <= 4)
                sum_rows(4, SUM_SUMS / 4, rows, d, from, ldw, lists, by, ldc, to);
            else
                sum_rows(SUM_VECTORS, 2, rows, d, from, ldw, lists, by, ldc, to);
        }
    }
}

enum {
    DOUBLES = LANES / 2, /* doubles in a register */
    /* Partial sums of a product, which take registers in turn. */
    DOUBLE_SUMS = 4,
    DOUBLE_VECTORS = LANES == 16 ? 4 : 2, /* vectors multiplied with a row together */
    DOUBLE_ROWS = 4                       /* rows added up together */
};

typedef double vregister __attribute__((vector_size(8 * DOUBLES)));
typedef float vnarrow __attribute__((vector_size(4 * DOUBLES)));

/* The next DOUBLES entries, as double; zeros behind the row's end. */
SIMD vregister load_widened(const float *p, size_t left)
{
    vnarrow v = {0};
    memcpy(&v, p, (left < DOUBLES ? left : DOUBLES) * sizeof *p);
    return __builtin_convertvector(v, vregister);
}

SIMD vregister load_doubles(const double *p, size_t left)
{
    vregister v = {0};
    memcpy(&v, p, (left < DOUBLES ? left : DOUBLES) * sizeof *p);
    return v;
}

/* Products of a row with some vectors, which share the row's conversion. Each product is summed in
 * the same order, whatever the number of vectors. */
SIMD void dot_row_f64(size_t vectors, size_t d, const float *row, const double *a, double *out,
                      size_t ldo)
{
    vregister sums[DOUBLE_VECTORS * DOUBLE_SUMS] = {{0}};
    size_t k = 0;
    for (; k + DOUBLE_SUMS * DOUBLES <= d; k += DOUBLE_SUMS * DOUBLES)
#pragma GCC unroll 4
        for (size_t s = 0; s < DOUBLE_SUMS; s++) {
            const vregister x = load_widened(row + k + s * DOUBLES, DOUBLES);
#pragma GCC unroll 4
            for (size_t c = 0; c < vectors; c++)
                sums[c * DOUBLE_SUMS + s] += x * load_doubles(a + c * d + k + s * DOUBLES, DOUBLES);
        }
    for (; k < d; k += DOUBLES) {
        const vregister x = load_widened(row + k, d - k);
#pragma GCC unroll 4
        for (size_t c = 0; c < vectors; c++)
            sums[c * DOUBLE_SUMS] += x * load_doubles(a + c * d + k, d - k);
    }
#pragma GCC unroll 4
    for (size_t c = 0; c < vectors; c++) {
        const vregister *of = sums + c * DOUBLE_SUMS, all = (of[0] + of[1]) + (of[2] + of[3]);
        double sum = 0;
        for (size_t l = 0; l < DOUBLES; l++) sum += all[l];
        out[c * ldo] = sum;
    }
}

static void rows_dot_f64(size_t n, size_t d, const float *const *rows, size_t m, const double *a,
                         double *out, size_t ldo)
{
    size_t j = 0;
    for (; j + DOUBLE_VECTORS <= m; j += DOUBLE_VECTORS)
        for (size_t i = 0; i < n; i++)
            dot_row_f64(DOUBLE_VECTORS, d, rows[i], a + j * d, out + j * ldo + i, ldo);
    for (; j + 2 <= m; j += 2)
        for (size_t i = 0; i < n; i++)
            dot_row_f64(2, d, rows[i], a + j * d, out + j * ldo + i, ldo);
    for (; j < m; j++)
        for (size_t i = 0; i < n; i++)
            dot_row_f64(1, d, rows[i], a + j * d, out + j * ldo + i, ldo);
}

/* Sums of some rows, whose entries are converted once for all lists of coefficients. */
SIMD void sum_rows_f64(size_t n, size_t d, const float *const *rows, size_t m, const double *coeff,
                       size_t ldc, double *out)
{
    const float *w[DOUBLE_ROWS];
    for (size_t r = 0; r < n; r++) w[r] = rows[r];
    size_t k = 0;
    for (; k + DOUBLES <= d; k += DOUBLES) {
        vregister x[DOUBLE_ROWS];
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++) x[r] = load_widened(w[r] + k, DOUBLES);
        for (size_t j = 0; j < m; j++) {
            vregister sum = load_doubles(out + j * d + k, DOUBLES);
#pragma GCC unroll 4
            for (size_t r = 0; r < n; r++) sum += coeff[j * ldc + r] * x[r];
            memcpy(out + j * d + k, &sum, sizeof sum);
        }
    }
    for (; k < d; k++)
        for (size_t j = 0; j < m; j++)
            for (size_t r = 0; r < n; r++) out[j * d + k] += coeff[j * ldc + r] * (double)w[r][k];
}

static void rows_sum_f64(size_t n, size_t d, const float *const *rows, size_t m,
                         const double *coeff, size_t ldc, double *out)
{
    size_t i = 0;
    for (; i + DOUBLE_ROWS <= n; i += DOUBLE_ROWS)
        sum_rows_f64(DOUBLE_ROWS, d, rows + i, m, coeff + i, ldc, out);
    for (; i < n; i++) sum_rows_f64(1, d, rows + i, m, coeff + i, ldc, out);
}

static int usable(void)
{
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
/* Every CPU with AVX2 has half precision; clang 14 does not know the name of that feature. */
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
#else
    return 1;
#endif
}

#define NAME_(isa) #isa
#define NAME(isa)  NAME_(isa)

extern const cbe_kernels CONCAT(cbe_kernels_, CBE_KERNEL_ISA);
const cbe_kernels CONCAT(cbe_kernels_, CBE_KERNEL_ISA) = {
    NAME(CBE_KERNEL_ISA),
    usable,
    row_max,
    range,
    row_sum,
    row_exp,
    rows_exp,
    subtract,
    to_half,
    from_half,
    accumulate,
    row_cap,
    rows_dot,
    rows_sum,
    rows_dot_f64,
    rows_sum_f64,
};
