/* result_tensors.c - see result_tensors.h. */
#include "extract/result_tensors.h"

#include <stdio.h>

#include "core/memory.h"
#include "extract/site.h"

enum { BASIS, ENERGIES, CONSTANTS, READ, WRITE, MEAN, PARTS, NAME = 48 };
static const char *const parts[PARTS] = {"basis", "energies", "constants", "read", "write", "mean"};

/* Tensors of a layer: its mean comes last, and may be unknown. */
static size_t parts_of(const cbe_layer_result *result)
{
    return result->mean ? PARTS : MEAN;
}

static size_t elements_of(const cbe_layer_result *result, size_t part)
{
    const size_t d = result->basis.hidden_size, k = result->basis.n_vectors;
    return part == MEAN ? d : part == ENERGIES || part == CONSTANTS ? k : d * k;
}

/* Numbers of a part as the file has them. */
static void fill_part(const cbe_layer_result *result, size_t part, float *out)
{
    const cbe_basis *b = &result->basis;
    const size_t d = b->hidden_size, k = b->n_vectors;
    const double *rows = part == READ && result->read     ? result->read
                         : part == WRITE && result->write ? result->write
                                                          : b->vectors;
    if (part == MEAN)
        for (size_t i = 0; i < d; i++) out[i] = (float)result->mean[i];
    else if (part == ENERGIES)
        for (size_t j = 0; j < k; j++) out[j] = (float)b->records[j].energy;
    else if (part == CONSTANTS)
        for (size_t j = 0; j < k; j++) out[j] = (float)result->reports[j].optimal_constant;
    else
        for (size_t row = 0; row < d; row++)
            for (size_t j = 0; j < k; j++) out[row * k + j] = (float)rows[j * d + row];
}

/* Declares all tensors. @param metadata  (2 (2 + n)): pairs, whose texts are in `keys` (n) and
 * `states` (n) */
static cbe_status declare(cbe_safetensors_writer **out, const char *path, size_t n,
                          const cbe_layer_result *results, cbe_tensor_spec *specs,
                          char (*names)[NAME], const char **metadata, cbe_error *err)
{
    size_t count = 0, pairs = 2;
    char(*keys)[NAME] = names + PARTS * n, (*states)[NAME] = keys + n;
    metadata[0] = "format";
    metadata[1] = "causal basis";
    metadata[2] = "version";
    metadata[3] = CBE_VERSION;
    for (size_t i = 0; i < n; i++) {
        const cbe_basis *b = &results[i].basis;
        for (size_t part = 0; part < parts_of(&results[i]); part++, count++) {
            const bool matrix = part == BASIS || part == READ || part == WRITE;
            snprintf(names[count], NAME, "layers.%zu.%s", results[i].layer, parts[part]);
            specs[count] = (cbe_tensor_spec){
                names[count], CBE_F32, matrix ? 2 : 1, {elements_of(&results[i], part)}};
            if (!matrix) continue;
            specs[count].dims[0] = b->hidden_size;
            specs[count].dims[1] = b->n_vectors;
        }
        snprintf(keys[i], NAME, "layers.%zu.state", results[i].layer);
        cbe_state_name(results[i].state, states[i]);
        metadata[2 * pairs] = keys[i];
        metadata[2 * pairs++ + 1] = states[i];
    }
    return cbe_safetensors_writer_create(out, path, count, specs, pairs, metadata, err);
}

static cbe_status write_layer(cbe_safetensors_writer *writer, size_t first,
                              const cbe_layer_result *result, cbe_error *err)
{
    const size_t d = result->basis.hidden_size, k = result->basis.n_vectors;
    float *numbers = cbe_alloc(k + 1, d * sizeof *numbers, "result", err);
    cbe_status st = numbers ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t part = 0; part < parts_of(result) && st == CBE_OK; part++) {
        fill_part(result, part, numbers);
        st = cbe_safetensors_writer_put(writer, first + part, 0, elements_of(result, part), numbers,
                                        err);
    }
    cbe_free(numbers);
    return st;
}

cbe_status cbe_result_tensors_write(cbe_safetensors_writer **out, const char *path, size_t n,
                                    const cbe_layer_result *results, cbe_error *err)
{
    cbe_safetensors_writer *writer = NULL;
    cbe_tensor_spec *specs = cbe_alloc(PARTS * n, sizeof *specs, "result", err);
    char(*names)[NAME] = cbe_alloc((PARTS + 2) * n, sizeof *names, "result", err);
    const char **metadata = cbe_alloc(2 + n, 2 * sizeof *metadata, "result", err);
    cbe_status st = CBE_ERR_NOMEM;
    if (specs && names && metadata)
        st = declare(&writer, path, n, results, specs, names, metadata, err);
    for (size_t i = 0, first = 0; i < n && st == CBE_OK; first += parts_of(&results[i++]))
        st = write_layer(writer, first, &results[i], err);
    if (st == CBE_OK) {
        *out = writer;
        writer = NULL;
    }
    cbe_safetensors_writer_abandon(writer);
    cbe_free(specs);
    cbe_free(names);
    cbe_free(metadata);
    return st;
}
