/* decoder.c - see model/decoder.h. */
#include "model/decoder.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "core/fail.h"
#include "math/gemm.h"
#include "math/rows.h"
#include "core/memory.h"
#include "model/decode.h"
#include "formats/read_tensor.h"

static cbe_status read_norm(const cbe_safetensors *file, cbe_norm *out, cbe_error *err)
{
    const char *name = cbe_safetensors_metadata(file, "norm");
    for (int i = 0; name && i < CBE_N_NORMS; i++)
        if (strcmp(name, cbe_norm_name((cbe_norm)i)) == 0) {
            *out = (cbe_norm)i;
            return CBE_OK;
        }
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: metadata 'norm' is %.40s, must be rmsnorm or layernorm",
                    cbe_safetensors_path(file), name ? name : "missing");
}

/* Reads a number of at least 0 from a string of __metadata__. */
static cbe_status read_number(const cbe_safetensors *file, const char *key, double *out,
                              cbe_error *err)
{
    const char *text = cbe_safetensors_metadata(file, key);
    char *end = NULL;
    const double value = text ? strtod(text, &end) : -1;
    if (!text || end == text || *end || !(value >= 0 && isfinite(value)))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: metadata '%s' is %.40s, must be a number, 0 or more",
                        cbe_safetensors_path(file), key, text ? text : "missing");
    *out = value;
    return CBE_OK;
}

/* Allocates *out and reads a tensor as floats; its shape must be dims (n_dims). */
static cbe_status read_floats(const cbe_safetensors *file, const char *name, size_t n_dims,
                              const size_t *dims, float **out, cbe_error *err)
{
    cbe_status st;
    cbe_tensor tensor;
    const char *path = cbe_safetensors_path(file);
    if ((st = cbe_safetensors_get(file, name, &tensor, err)) != CBE_OK) return st;
    if ((st = cbe_tensor_expect(&tensor, path, n_dims, dims, err)) != CBE_OK) return st;
    float *values = cbe_alloc(tensor.n_elements, sizeof(float), name, err);
    if (!values) return CBE_ERR_NOMEM;
    if ((st = cbe_read_tensor(&tensor, NULL, path, values, err)) != CBE_OK) {
        cbe_free(values);
        return st;
    }
    *out = values;
    return CBE_OK;
}

static cbe_status read_decoder(cbe_decoder *decoder, const cbe_safetensors *file, cbe_error *err)
{
    cbe_status st;
    cbe_tensor unembedding;
    if ((st = read_norm(file, &decoder->norm, err)) != CBE_OK) return st;
    if ((st = read_number(file, "norm_eps", &decoder->norm_eps, err)) != CBE_OK) return st;
    if ((st = read_number(file, "logit_softcap", &decoder->logit_softcap, err)) != CBE_OK)
        return st;
    st = cbe_safetensors_get(file, "unembedding.weight", &unembedding, err);
    if (st != CBE_OK) return st;
    if (unembedding.n_dims != 2 || unembedding.n_elements == 0)
        return cbe_fail(
            err, CBE_ERR_SHAPE, -1,
            "%s: tensor 'unembedding.weight' must be a matrix (vocabulary, hidden size)",
            cbe_safetensors_path(file));
    decoder->vocab_size = unembedding.dims[0];
    decoder->hidden_size = unembedding.dims[1];
    const struct {
        const char *name;
        size_t n_dims;
        size_t dims[2];
        bool required;
        float **out;
    } tensors[] = {
        {"norm.weight", 1, {decoder->hidden_size, 0}, true, &decoder->gamma},
        {"norm.bias", 1, {decoder->hidden_size, 0}, false, &decoder->beta},
        {"unembedding.weight",
         2,
         {decoder->vocab_size, decoder->hidden_size},
         true,
         &decoder->unembedding},
        {"unembedding.bias", 1, {decoder->vocab_size, 0}, false, &decoder->bias},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        if (!tensors[i].required && !cbe_safetensors_has(file, tensors[i].name)) continue;
        st = read_floats(file, tensors[i].name, tensors[i].n_dims, tensors[i].dims, tensors[i].out,
                         err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

cbe_status cbe_decoder_read(cbe_decoder **out, const char *path, cbe_inputs *inputs, cbe_error *err)
{
    cbe_status st;
    cbe_safetensors *file = NULL;
    cbe_decoder *decoder = NULL;
    if ((st = cbe_safetensors_open(&file, path, err)) != CBE_OK) goto done;
    if (!(decoder = cbe_alloc_zero(1, sizeof *decoder, "decoder", err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    if ((st = cbe_safetensors_note(file, inputs, CBE_INPUT_DECODER, err)) != CBE_OK) goto done;
    if ((st = read_decoder(decoder, file, err)) != CBE_OK) goto done;
    *out = decoder;
    decoder = NULL;
done:
    cbe_decoder_free(decoder);
    cbe_safetensors_close(file);
    return st;
}

cbe_status cbe_decoder_save(const cbe_decoder *decoder, const char *path, cbe_error *err)
{
    if (!decoder || !path)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_decoder_save: %s is NULL",
                        decoder ? "the path" : "the decoder");
    const size_t d = decoder->hidden_size, vocab = decoder->vocab_size;
    char eps[32], cap[32];
    snprintf(eps, sizeof eps, "%.17g", decoder->norm_eps);
    snprintf(cap, sizeof cap, "%.17g", decoder->logit_softcap);
    const char *const metadata[] = {
        "norm", cbe_norm_name(decoder->norm), "norm_eps", eps, "logit_softcap", cap};
    cbe_tensor_spec specs[4] = {
        {"norm.weight", CBE_F32, 1, {d}},
        {"unembedding.weight", CBE_F32, 2, {vocab, d}},
    };
    const float *data[4] = {decoder->gamma, decoder->unembedding};
    size_t counts[4] = {d, vocab * d}, n = 2;
    if (decoder->beta) {
        specs[n] = (cbe_tensor_spec){"norm.bias", CBE_F32, 1, {d}};
        data[n] = decoder->beta;
        counts[n++] = d;
    }
    if (decoder->bias) {
        specs[n] = (cbe_tensor_spec){"unembedding.bias", CBE_F32, 1, {vocab}};
        data[n] = decoder->bias;
        counts[n++] = vocab;
    }
    cbe_safetensors_writer *writer = NULL;
    cbe_status st = cbe_safetensors_writer_create(
        &writer, path, n, specs, sizeof metadata / sizeof *metadata / 2, metadata, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        st = cbe_safetensors_writer_put(writer, i, 0, counts[i], data[i], err);
    if (st == CBE_OK) return cbe_safetensors_writer_commit(writer, err);
    cbe_safetensors_writer_abandon(writer);
    return st;
}

void cbe_decoder_free(cbe_decoder *decoder)
{
    if (!decoder) return;
    cbe_free(decoder->gamma);
    cbe_free(decoder->beta);
    cbe_free(decoder->unembedding);
    cbe_free(decoder->bias);
    cbe_free(decoder);
}

float cbe_decoder_common(const cbe_decoder *decoder)
{
    static const double step = 256;
    if (!decoder->bias || decoder->logit_softcap > 0) return 0;
    return (float)(rint((double)cbe_max_row(decoder->vocab_size, decoder->bias) / step) * step);
}

void cbe_decode(const cbe_decoder *decoder, float common, size_t n, const float *hidden,
                float *normalised, float *logits)
{
    const size_t d = decoder->hidden_size, vocab = decoder->vocab_size;
    const double cap = decoder->logit_softcap;
    cbe_norm_rows(decoder->norm, decoder->norm_eps, n, d, hidden, decoder->gamma, decoder->beta,
                  normalised);
    cbe_gemm(false, true, n, vocab, d, 1, normalised, d, decoder->unembedding, d, 0, logits, vocab);
    if (!decoder->bias && cap == 0) return;
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        float *row = logits + i * vocab;
        for (size_t t = 0; t < vocab && decoder->bias; t++) row[t] += decoder->bias[t] - common;
        for (size_t t = 0; t < vocab && cap > 0; t++)
            row[t] = (float)(cap * tanh((double)row[t] / cap));
    }
}

cbe_status cbe_decoder_logits(const cbe_decoder *decoder, size_t n, const float *hidden,
                              float *logits, cbe_error *err)
{
    if (!decoder || (n > 0 && (!hidden || !logits)))
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_decoder_logits: %s is NULL",
                        !decoder ? "the decoder"
                        : hidden ? "logits"
                                 : "hidden");
    size_t count;
    if (!cbe_mul_size(n, decoder->hidden_size, &count))
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "%zu hidden states do not fit the address space",
                        n);
    float *normalised = cbe_alloc(count, sizeof(float), "normalised hidden states", err);
    if (!normalised) return CBE_ERR_NOMEM;
    cbe_decode(decoder, 0, n, hidden, normalised, logits);
    cbe_free(normalised);
    return CBE_OK;
}
