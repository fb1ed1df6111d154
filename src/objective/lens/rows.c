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
static double centred_row(const cbe_lens_setup *setup, const cbe_lens_layer *layer, size_t row,
                          float *xc)
{
    const size_t d = setup->hidden_size;
    const float *x = layer->x + setup->row_token[row] * d;
    double mean = 0, norm2 = 0;
    if (setup->layernorm) {
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

void cbe_lens_make_rows(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                        cbe_lens_threads *threads, size_t thread, size_t n, const size_t *rows,
                        bool shifted, float *out)
{
    const size_t d = setup->hidden_size, v = setup->vocab_size;
    float *xc = threads->xc + thread * CBE_LENS_BLOCK * d;
    for (size_t i = 0; i < n; i++) {
        const double norm2 = centred_row(setup, layer, rows[i], xc + i * d);
        if (shifted) continue;
        const double s2 = norm2 / (double)d + setup->decoder->norm_eps;
        layer->norm2[rows[i]] = norm2;
        layer->inverse_s[rows[i]] = cbe_lens_round(1 / sqrt(s2 > 1e-300 ? s2 : 1e-300));
    }
    cbe_gemm(false, true, n, v, d, 1, xc, d, layer->w, d, 0, out, setup->stride);
    for (size_t i = 0; i < n && shifted; i++)
        setup->kernels->subtract(v, out + i * setup->stride, layer->shift[rows[i]]);
}

void cbe_lens_keep_row(const cbe_lens_setup *setup, cbe_lens_layer *layer, size_t row, float *z)
{
    if (setup->storage != CBE_LOGITS_FLOAT16) return; /* z lies where it is kept, or is not kept */
    uint16_t *half = layer->z16 + row * setup->stride;
    setup->kernels->to_half(setup->vocab_size, z, (float)layer->inverse_s[row], half);
    setup->kernels->from_half(setup->vocab_size, half, (float)(1 / layer->inverse_s[row]), z);
}

size_t cbe_lens_rows_at_once(const cbe_lens_setup *setup)
{
    return setup->storage == CBE_LOGITS_RECOMPUTED ? CBE_LENS_BLOCK : CBE_LENS_COLUMN_ROWS;
}

void cbe_lens_get_rows(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                       cbe_lens_threads *threads, size_t thread, size_t n, const size_t *rows,
                       const float **out)
{
    const size_t stride = setup->stride;
    float *work = threads->rows ? threads->rows + thread * CBE_LENS_BLOCK * stride : NULL;
    if (setup->storage == CBE_LOGITS_RECOMPUTED)
        cbe_lens_make_rows(setup, layer, threads, thread, n, rows, true, work);
    for (size_t i = 0; i < n; i++) {
        if (setup->storage == CBE_LOGITS_FLOAT16)
            setup->kernels->from_half(setup->vocab_size, layer->z16 + rows[i] * stride,
                                      (float)(1 / layer->inverse_s[rows[i]]), work + i * stride);
        out[i] =
            setup->storage == CBE_LOGITS_FLOAT32 ? layer->z + rows[i] * stride : work + i * stride;
    }
}
