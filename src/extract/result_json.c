/* result_json.c - see result_json.h. */
#include "extract/result_json.h"

#include <jansson.h>

#include "core/fail.h"
#include "formats/json_memory.h"
#include "formats/json_values.h"

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

/* The number of distinct maxima that were met, and the energies of the highest ones. */
static json_t *maxima_json(size_t n, const double *energies)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n && i < CBE_MAXIMA_LISTED; i++)
        list = cbe_json_append(list, cbe_json_of_number(energies[i]));
    return json_pack("{s:I, s:o}", "count", (json_int_t)n, "energies", list);
}

/* For each kind of start that was tried: the number of starts and the highest energy reached. */
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

cbe_status cbe_result_json(char **text, size_t n, const cbe_layer_result *results,
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
