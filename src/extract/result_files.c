/* result_files.c - the result folder of an extraction (extract/extraction.h, docs/formats.md). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extract/extraction.h"
#include "formats/safetensors.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "formats/json_memory.h"
#include "files/path.h"
#include "formats/json_values.h"

cbe_status cbe_result_folder_prepare(const char *folder, cbe_error *err)
{
    cbe_status st = cbe_path_make_folder(folder, err);
    if (st != CBE_OK) return st;
    char *path = cbe_path_join(folder, "basis.safetensors", err);
    if (!path) return CBE_ERR_NOMEM;
    st = cbe_atomic_file_check(path, err);
    cbe_free(path);
    return st;
}

/* layers.<i>.basis (d, k), columns, and layers.<i>.energies and .constants (k). */
static cbe_status start_tensors(cbe_safetensors_writer **out, const char *path, size_t n,
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

static json_t *inputs_json(const cbe_inputs *inputs)
{
    json_t *list = json_array();
    for (size_t i = 0; inputs && i < inputs->n; i++) {
        const cbe_input *file = &inputs->files[i];
        list = cbe_json_append(list, json_pack("{s:s, s:o, s:s, s:I}", "role",
                                               cbe_input_role_name(file->role), "path",
                                               cbe_json_of_text(file->path), "sha256", file->sha256,
                                               "bytes", (json_int_t)file->n_bytes));
    }
    return list;
}

/* How many distinct maxima were met, and the energies of the highest. */
static json_t *maxima_json(size_t n, const double *energies)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n && i < CBE_MAXIMA_LISTED; i++)
        list = cbe_json_append(list, cbe_json_of_number(energies[i]));
    return json_pack("{s:I, s:o}", "count", (json_int_t)n, "energies", list);
}

/* Of each kind of start that was tried: how many, and the highest energy that one came to. */
static json_t *kinds_json(const cbe_vector_record *r)
{
    json_t *kinds = json_object();
    for (int kind = 0; kind < CBE_N_START_KINDS; kind++)
        if (r->by_kind[kind].starts)
            kinds =
                cbe_json_put(kinds, cbe_start_kind_name((cbe_start_kind)kind),
                             json_pack("{s:I, s:o}", "starts", (json_int_t)r->by_kind[kind].starts,
                                       "energy", cbe_json_of_number(r->by_kind[kind].energy)));
    return kinds;
}

static json_t *layer_json(const cbe_layer_result *result, bool held_out)
{
    json_t *vectors = json_array();
    const cbe_basis *b = &result->basis;
    for (size_t j = 0; j < b->n_vectors; j++) {
        const cbe_vector_record *r = &b->records[j];
        const cbe_vector_report *more = &result->reports[j];
        json_t *vector = json_pack("{s:o, s:o, s:o, s:o}", "energy", cbe_json_of_number(r->energy),
                                   "standard_error", cbe_json_of_number(more->standard_error),
                                   "optimal_energy", cbe_json_of_number(more->optimal_energy),
                                   "optimal_constant", cbe_json_of_number(more->optimal_constant));
        if (held_out) {
            vector =
                cbe_json_put(vector, "held_out_energy", cbe_json_of_number(more->held_out_energy));
            vector = cbe_json_put(vector, "held_out_standard_error",
                                  cbe_json_of_number(more->held_out_error));
        }
        json_t *search = json_pack(
            "{s:I, s:I, s:I, s:s, s:o, s:f, s:s, s:o, s:o}", "evaluations",
            (json_int_t)r->evaluations, "sample_evaluations", (json_int_t)r->sample_evaluations,
            "starts", (json_int_t)r->starts, "start", cbe_start_kind_name(r->start),
            "starts_by_kind", kinds_json(r), "seconds", r->seconds, "stop", cbe_stop_name(r->stop),
            "maxima", maxima_json(r->n_maxima, r->maxima), "sample_maxima",
            maxima_json(r->n_sample_maxima, r->sample_maxima));
        vectors = cbe_json_append(vectors, cbe_json_join(vector, search));
    }
    return json_pack("{s:I, s:f, s:f, s:b, s:o}", "layer", (json_int_t)result->layer, "seconds",
                     result->seconds, "search_seconds", result->search_seconds,
                     "stopped_below_min_energy", b->below_min_energy, "vectors", vectors);
}

static cbe_status record_json(char **text, size_t n, const cbe_layer_result *results,
                              const cbe_run_record *record, cbe_error *err)
{
    cbe_json_begin();
    json_t *inputs = inputs_json(record->inputs), *options = json_object(), *layers = json_array();
    for (size_t i = 0; i < record->n_options; i++)
        options = cbe_json_put(options, record->options[i].name,
                               cbe_json_of_text(record->options[i].value));
    for (size_t i = 0; i < n; i++)
        layers = cbe_json_append(layers, layer_json(&results[i], record->n_held_out > 0));
    json_t *root = json_pack(
        "{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:f, s:o}",
        "format", "causal basis", "version", CBE_VERSION, "inputs", inputs, "options", options,
        "n_sequences", (json_int_t)record->n_sequences, "context_length",
        (json_int_t)record->context_length, "n_tokens", (json_int_t)record->n_tokens,
        "n_held_out_sequences", (json_int_t)record->n_held_out, "skip_positions",
        (json_int_t)record->skip_positions, "hidden_size", (json_int_t)record->hidden_size,
        "processes", (json_int_t)(record->n_processes * record->n_groups), "processes_of_a_layer",
        (json_int_t)record->n_processes, "kernels", record->kernels, "logits", record->logits,
        "seconds", record->seconds, "layers", layers);
    *text = cbe_json_end(root, JSON_INDENT(2));
    return *text ? CBE_OK
                 : cbe_fail(err, CBE_ERR_NOMEM, -1, "the record of the run does not fit memory");
}

cbe_status cbe_result_save(const char *folder, size_t n, const cbe_layer_result *results,
                           const cbe_run_record *record, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    cbe_safetensors_writer *tensors = NULL;
    cbe_atomic_file *json = NULL;
    char *text = NULL;
    char *tensor_path = cbe_path_join(folder, "basis.safetensors", err);
    char *json_path = cbe_path_join(folder, "basis.json", err);
    if (!tensor_path || !json_path) goto done;
    if ((st = record_json(&text, n, results, record, err)) != CBE_OK) goto done;
    /* Both are complete and on the disk under temporary names before either takes the place of an
     * earlier one. */
    if ((st = start_tensors(&tensors, tensor_path, n, results, err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_create(&json, json_path, err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_write(json, 0, text, strlen(text), err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_write(json, strlen(text), "\n", 1, err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_sync(json, err)) != CBE_OK) goto done;
    if ((st = cbe_safetensors_writer_flush(tensors, err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_flush(json, err)) != CBE_OK) goto done;
    st = cbe_safetensors_writer_commit(tensors, err);
    tensors = NULL;
    if (st != CBE_OK) goto done;
    st = cbe_atomic_file_commit(json, err);
    json = NULL;
done:
    cbe_safetensors_writer_abandon(tensors);
    cbe_atomic_file_abandon(json);
    free(text);
    cbe_free(tensor_path);
    cbe_free(json_path);
    return st;
}
