/*
 * rows.c - the rows of Z: kept as floats, kept in half precision, or made again whenever they
 * are needed.
 *
 * Half precision holds (Z_n - shift_n) / s_n, that is log-probabilities, whose range does not
 * depend on the norm of the hidden state. What a layer derives from its rows (logsumexp,
 * expectations) is derived from them as they will be read, so that clean and ablated logits carry
 * the same rounding and an ablation that does nothing has no energy. Names: state.h.
 */
#include <math.h>

#include "objective/lens/rows.h"
#include "math/gemm.h"

/* xc of one row in float; returns |xc|^2 in double. */
static double centred_row(const cbe_lens_objective *o, size_t row, float *xc)
{
    const size_t d = o->hidden_size;
    const float *x = o->x + o->row_token[row] * d;
    double mean = 0, norm2 = 0;
    if (o->layernorm) {
        for (size_t k = 0; k < d; k++) mean += (double)x[k];
        mean /= (double)d;
    }
    for (size_t k = 0; k < d; k++) {
        const double c = (double)x[k] - mean;
        norm2 += c * c;
        xc[k] = (float)c;
    }
    return norm2;
}

void cbe_lens_make_rows(const cbe_lens_objective *o, size_t thread, size_t n, const size_t *rows,
                        bool shifted, float *out)
{
    const size_t d = o->hidden_size, v = o->vocab_size;
    float *xc = o->xc_work + thread * CBE_LENS_BLOCK * d;
    for (size_t i = 0; i < n; i++) {
        const double norm2 = centred_row(o, rows[i], xc + i * d);
        if (shifted) continue;
        const double s2 = norm2 / (double)d + o->decoder->norm_eps;
        o->norm2[rows[i]] = norm2;
        o->inverse_s[rows[i]] = cbe_lens_round(1 / sqrt(s2 > 1e-300 ? s2 : 1e-300));
    }
    cbe_gemm(false, true, n, v, d, 1, xc, d, o->w, d, 0, out, o->stride);
    for (size_t i = 0; i < n && shifted; i++)
        o->kernels->subtract(v, out + i * o->stride, o->shift[rows[i]]);
}

void cbe_lens_keep_row(cbe_lens_objective *o, size_t row, float *z)
{
    if (o->storage != CBE_LOGITS_FLOAT16) return; /* z lies where it is kept, or is not kept */
    uint16_t *half = o->z16 + row * o->stride;
    o->kernels->to_half(o->vocab_size, z, (float)o->inverse_s[row], half);
    o->kernels->from_half(o->vocab_size, half, (float)(1 / o->inverse_s[row]), z);
}

size_t cbe_lens_rows_at_once(const cbe_lens_objective *o)
{
    return o->storage == CBE_LOGITS_RECOMPUTED ? CBE_LENS_BLOCK : CBE_LENS_COLUMN_ROWS;
}

void cbe_lens_get_rows(const cbe_lens_objective *o, size_t thread, size_t n, const size_t *rows,
                       const float **out)
{
    const size_t stride = o->stride;
    float *work = o->row_work ? o->row_work + thread * CBE_LENS_BLOCK * stride : NULL;
    if (o->storage == CBE_LOGITS_RECOMPUTED) cbe_lens_make_rows(o, thread, n, rows, true, work);
    for (size_t i = 0; i < n; i++) {
        if (o->storage == CBE_LOGITS_FLOAT16)
            o->kernels->from_half(o->vocab_size, o->z16 + rows[i] * stride,
                                  (float)(1 / o->inverse_s[rows[i]]), work + i * stride);
        out[i] = o->storage == CBE_LOGITS_FLOAT32 ? o->z + rows[i] * stride : work + i * stride;
    }
}
