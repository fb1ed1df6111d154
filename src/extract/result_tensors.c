/* result_tensors.c - see result_tensors.h. */
#include "extract/result_tensors.h"

#include <stdio.h>

#include "core/memory.h"

cbe_status cbe_result_tensors_write(cbe_safetensors_writer **out, const char *path, size_t n,
                                    const cbe_layer_result *results, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    cbe_safetensors_writer *writer = NULL;
    float *numbers = NULL;
    cbe_tensor_spec *specs = cbe_alloc(3 * n, sizeof *specs, "result", err);
    char(*names)[48] = cbe_alloc(3 * n, sizeof *names, "result", err);
    if (!specs || !names) goto done;
    for (size_t i = 0; i < n; i++) {
        const cbe_basis *b = &results[i].basis;
        static const char *const parts[] = {"basis", "energies", "constants"};
        for (size_t part = 0; part < 3; part++) {
            char *name = names[3 * i + part];
            snprintf(name, sizeof names[0], "layers.%zu.%s", results[i].layer, parts[part]);
            specs[3 * i + part] = (cbe_tensor_spec){name, CBE_F32, 1, {b->n_vectors}};
        }
        specs[3 * i].n_dims = 2;
        specs[3 * i].dims[0] = b->hidden_size;
        specs[3 * i].dims[1] = b->n_vectors;
    }
    const char *metadata[] = {"format", "causal basis", "version", CBE_VERSION};
    if ((st = cbe_safetensors_writer_create(&writer, path, 3 * n, specs, 2, metadata, err)) !=
        CBE_OK)
        goto done;
    for (size_t i = 0; i < n; i++) {
        const cbe_basis *b = &results[i].basis;
        const size_t d = b->hidden_size, k = b->n_vectors;
        cbe_free(numbers);
        if (!(numbers = cbe_alloc(d * k + 2 * k, sizeof *numbers, "result", err))) {
            st = CBE_ERR_NOMEM;
            goto done;
        }
        for (size_t row = 0; row < d; row++)
            for (size_t j = 0; j < k; j++) numbers[row * k + j] = (float)b->vectors[j * d + row];
        for (size_t j = 0; j < k; j++) {
            numbers[d * k + j] = (float)b->records[j].energy;
            numbers[d * k + k + j] = (float)results[i].reports[j].optimal_constant;
        }
        if ((st = cbe_safetensors_writer_put(writer, 3 * i, 0, d * k, numbers, err)) != CBE_OK ||
            (st = cbe_safetensors_writer_put(writer, 3 * i + 1, 0, k, numbers + d * k, err)) !=
                CBE_OK ||
            (st = cbe_safetensors_writer_put(writer, 3 * i + 2, 0, k, numbers + d * k + k, err)) !=
                CBE_OK)
            goto done;
    }
    *out = writer;
    writer = NULL;
done:
    cbe_safetensors_writer_abandon(writer);
    cbe_free(numbers);
    cbe_free(specs);
    cbe_free(names);
    return st;
}
