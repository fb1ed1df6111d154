/* params.c - see params.h. */
#include "lens/params.h"

#include <math.h>
#include <stdio.h>

#include "formats/safetensors.h"
#include "core/fail.h"
#include "core/memory.h"
#include "formats/torch_zip.h"

struct cbe_lens_params {
    cbe_torch_zip *zip; /* NULL for params.safetensors */
    cbe_safetensors *safetensors;
};

void cbe_lens_params_close(cbe_lens_params *params)
{
    if (!params) return;
    cbe_torch_zip_close(params->zip);
    cbe_safetensors_close(params->safetensors);
    cbe_free(params);
}

cbe_status cbe_lens_params_open(cbe_lens_params **out, const char *path, cbe_lens_format format,
                                cbe_error *err)
{
    cbe_lens_params *params = cbe_alloc_zero(1, sizeof *params, "parameters of a lens", err);
    if (!params) return CBE_ERR_NOMEM;
    const cbe_status st = format == CBE_LENS_PT
                              ? cbe_torch_zip_open(&params->zip, path, err)
                              : cbe_safetensors_open(&params->safetensors, path, err);
    if (st == CBE_OK)
        *out = params;
    else
        cbe_lens_params_close(params);
    return st;
}

cbe_status cbe_lens_params_note(const cbe_lens_params *params, cbe_inputs *inputs, cbe_error *err)
{
    return params->zip ? cbe_torch_zip_note(params->zip, inputs, CBE_INPUT_LENS, err)
                       : cbe_safetensors_note(params->safetensors, inputs, CBE_INPUT_LENS, err);
}

size_t cbe_lens_params_count(const cbe_lens_params *params)
{
    return params->zip ? cbe_torch_zip_count(params->zip)
                       : cbe_safetensors_count(params->safetensors);
}

cbe_status cbe_lens_params_tensor(const cbe_lens_params *params, size_t i, cbe_tensor *out,
                                  cbe_error *err)
{
    if (!params->zip)
        return cbe_safetensors_get(params->safetensors,
                                   cbe_safetensors_name(params->safetensors, i), out, err);
    *out = cbe_torch_zip_tensor(params->zip, i);
    return CBE_OK;
}

static cbe_status check_finite(const cbe_lens_params *params, const cbe_tensor *t, const float *x,
                               cbe_error *err)
{
    const char *path =
        params->zip ? cbe_torch_zip_path(params->zip) : cbe_safetensors_path(params->safetensors);
    for (size_t i = 0; i < t->n_elements; i++)
        if (!isfinite(x[i]))
            return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                            "%s: tensor '%.80s': element %zu is NaN or infinite in float32", path,
                            t->name, i);
    return CBE_OK;
}

cbe_status cbe_lens_params_read(const cbe_lens_params *params, size_t i, float *out, cbe_error *err)
{
    cbe_tensor t;
    cbe_status st = cbe_lens_params_tensor(params, i, &t, err);
    if (st != CBE_OK) return st;
    st = params->zip ? cbe_torch_zip_read(params->zip, i, out, err)
                     : cbe_tensor_to_float(&t, 0, t.n_elements, out, err);
    return st == CBE_OK ? check_finite(params, &t, out, err) : st;
}

static cbe_status save_safetensors(const char *path, size_t n, const cbe_torch_tensor *tensors,
                                   cbe_error *err)
{
    cbe_safetensors_writer *writer = NULL;
    cbe_tensor_spec *specs = cbe_alloc(n, sizeof *specs, "parameters of a lens", err);
    if (!specs) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        specs[i] = (cbe_tensor_spec){
            tensors[i].name, CBE_F32, tensors[i].n_dims, {tensors[i].dims[0], tensors[i].dims[1]}};
    static const char *const metadata[] = {"format", "pt"}; /* as safetensors.torch writes it */
    cbe_status st = cbe_safetensors_writer_create(&writer, path, n, specs, 1, metadata, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const size_t count = tensors[i].dims[0] * (tensors[i].n_dims == 2 ? tensors[i].dims[1] : 1);
        st = cbe_safetensors_writer_put(writer, i, 0, count, tensors[i].data, err);
    }
    if (st == CBE_OK) {
        st = cbe_safetensors_writer_commit(writer, err);
        writer = NULL;
    }
    cbe_safetensors_writer_abandon(writer);
    cbe_free(specs);
    return st;
}

cbe_status cbe_lens_params_save(const cbe_tuned_lens *lens, const char *path,
                                cbe_lens_format format, cbe_error *err)
{
    const size_t d = lens->hidden_size, each = lens->bias ? 2 : 1, n = each * lens->n_layers;
    cbe_status st = CBE_ERR_NOMEM;
    cbe_torch_tensor *tensors = cbe_alloc(n, sizeof *tensors, "parameters of a lens", err);
    char(*names)[32] = cbe_alloc(n, sizeof *names, "parameters of a lens", err);
    if (!tensors || !names) goto done;
    for (size_t i = 0; i < n; i++) {
        const size_t layer = i / each;
        const bool bias = i % each == 1;
        snprintf(names[i], sizeof names[i], "%zu.%s", layer, bias ? "bias" : "weight");
        tensors[i] = (cbe_torch_tensor){
            names[i], bias ? 1 : 2, {d, d}, bias ? lens->bias[layer] : lens->weight[layer]};
    }
    st = format == CBE_LENS_PT ? cbe_torch_zip_save(path, n, tensors, err)
                               : save_safetensors(path, n, tensors, err);
done:
    cbe_free(tensors);
    cbe_free(names);
    return st;
}
