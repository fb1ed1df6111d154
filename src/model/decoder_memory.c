/* decoder_memory.c - decoders from arrays, and what callers ask of a decoder; see cbe/cbe.h. */
#include <math.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "model/decoder.h"

static cbe_status check_sizes(size_t d, size_t v, const char *norm, double eps, double softcap,
                              cbe_norm *kind, cbe_error *err)
{
    size_t i = 0;
    while (norm && i < CBE_N_NORMS && strcmp(norm, cbe_norm_name((cbe_norm)i)) != 0) i++;
    if (!norm || i == CBE_N_NORMS)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "cbe_decoder_create: the norm must be rmsnorm or layernorm, not '%.40s'",
                        norm ? norm : "NULL");
    if (d == 0 || v == 0 || cbe_times(d, v, sizeof(float)) == SIZE_MAX)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "cbe_decoder_create: a decoder of hidden size %zu and %zu tokens cannot be "
                        "held",
                        d, v);
    if (!(eps >= 0 && isfinite(eps)) || !(softcap >= 0 && isfinite(softcap)))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "cbe_decoder_create: %s is %g, must be a number, 0 or more",
                        eps >= 0 && isfinite(eps) ? "softcap" : "eps",
                        eps >= 0 && isfinite(eps) ? softcap : eps);
    *kind = (cbe_norm)i;
    return CBE_OK;
}

cbe_status cbe_decoder_create(cbe_decoder **out, size_t hidden_size, size_t vocab_size,
                              const char *norm, double eps, double softcap, const float *gamma,
                              const float *beta, const float *unembedding, const float *bias,
                              cbe_error *err)
{
    cbe_norm kind = CBE_NORM_RMS;
    if (!out || !gamma || !unembedding)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_decoder_create: %s is NULL",
                        !out     ? "out"
                        : !gamma ? "gamma"
                                 : "the unembedding");
    cbe_status st = check_sizes(hidden_size, vocab_size, norm, eps, softcap, &kind, err);
    if (st != CBE_OK) return st;
    cbe_decoder *d = cbe_alloc_zero(1, sizeof *d, "decoder", err);
    if (!d) return CBE_ERR_NOMEM;
    d->hidden_size = hidden_size;
    d->vocab_size = vocab_size;
    d->norm = kind;
    d->norm_eps = eps;
    d->logit_softcap = softcap;
    const struct {
        const char *name;
        const float *from;
        float **to;
        size_t n;
    } arrays[] = {{"gamma", gamma, &d->gamma, hidden_size},
                  {"beta", beta, &d->beta, hidden_size},
                  {"unembedding", unembedding, &d->unembedding, hidden_size * vocab_size},
                  {"bias", bias, &d->bias, vocab_size}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays && st == CBE_OK; i++) {
        const float *from = arrays[i].from;
        if (!from) continue;
        for (size_t j = 0; j < arrays[i].n && st == CBE_OK; j++)
            if (!isfinite(from[j]))
                st = cbe_fail(err, CBE_ERR_NUMERIC, -1,
                              "cbe_decoder_create: %s: element %zu is not finite", arrays[i].name,
                              j);
        if (st != CBE_OK) break;
        if (!(*arrays[i].to = cbe_alloc(arrays[i].n, sizeof *from, arrays[i].name, err)))
            st = CBE_ERR_NOMEM;
        else
            memcpy(*arrays[i].to, from, arrays[i].n * sizeof *from);
    }
    if (st == CBE_OK)
        *out = d;
    else
        cbe_decoder_free(d);
    return st;
}

cbe_status cbe_decoder_load(cbe_decoder **out, const char *path, cbe_error *err)
{
    if (!out || !path)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_decoder_load: %s is NULL",
                        out ? "the path" : "out");
    return cbe_decoder_read(out, path, NULL, err);
}

size_t cbe_decoder_hidden_size(const cbe_decoder *decoder)
{
    return decoder->hidden_size;
}

size_t cbe_decoder_vocab_size(const cbe_decoder *decoder)
{
    return decoder->vocab_size;
}
