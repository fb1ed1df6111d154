/* result_json.c - see result_json.h. */
#include "extract/result_json.h"

#include <stdio.h>

#include "core/fail.h"
#include "extract/report_columns.h"
#include "extract/site.h"
#include "extract/verdict.h"
#include "formats/json_writer.h"

static yyjson_mut_val *inputs_json(cbe_json_writer *w, const cbe_inputs *inputs)
{
    yyjson_mut_val *list = cbe_json_new_list(w);
    for (size_t i = 0; inputs && i < inputs->n; i++) {
        const cbe_input *file = &inputs->files[i];
        yyjson_mut_val *input = cbe_json_new_object(w);
        cbe_json_put_string(w, input, "role", cbe_input_role_name(file->role));
        cbe_json_put_string(w, input, "path", file->path);
        cbe_json_put_string(w, input, "sha256", file->sha256);
        cbe_json_put_count(w, input, "bytes", file->n_bytes);
        cbe_json_append(w, list, input);
    }
    return list;
}

/* The number of distinct maxima that were met, and the energies of the highest ones. */
static yyjson_mut_val *maxima_json(cbe_json_writer *w, size_t n, const double *energies)
{
    yyjson_mut_val *maxima = cbe_json_new_object(w), *list = cbe_json_new_list(w);
    for (size_t i = 0; i < n && i < CBE_MAXIMA_LISTED; i++)
        cbe_json_append(w, list, cbe_json_new_number(w, energies[i]));
    cbe_json_put_count(w, maxima, "count", n);
    cbe_json_put(w, maxima, "energies", list);
    return maxima;
}

/* For each kind of start that was tried: the number of starts and the highest energy reached. */
static yyjson_mut_val *kinds_json(cbe_json_writer *w, const cbe_vector_record *r)
{
    yyjson_mut_val *kinds = cbe_json_new_object(w);
    for (int kind = 0; kind < CBE_N_START_KINDS; kind++) {
        if (!r->by_kind[kind].starts) continue;
        yyjson_mut_val *one = cbe_json_new_object(w);
        cbe_json_put_count(w, one, "starts", r->by_kind[kind].starts);
        cbe_json_put_number(w, one, "energy", r->by_kind[kind].energy);
        cbe_json_put(w, kinds, cbe_start_kind_name((cbe_start_kind)kind), one);
    }
    return kinds;
}

/* Whether a run measures a number at all. */
static bool is_measured(cbe_report_column column, const cbe_run_record *record)
{
    if (column == CBE_COLUMN_HELD_OUT || column == CBE_COLUMN_HELD_OUT_ERROR)
        return record->n_held_out > 0;
    return column < CBE_COLUMN_MODEL || record->model_energies;
}

/* Adds the numbers of a direction, and what follows from them. */
static void put_report(cbe_json_writer *w, yyjson_mut_val *to, const cbe_vector_report *report,
                       double ceiling, const cbe_run_record *record)
{
    for (int c = 0; c < CBE_N_COLUMNS; c++)
        if (is_measured((cbe_report_column)c, record))
            cbe_json_put_number(w, to, cbe_report_column_name((cbe_report_column)c),
                                cbe_report_value(report, ceiling, (cbe_report_column)c));
    cbe_json_put_string(w, to, "verdict", cbe_verdict_name(cbe_judge(report, ceiling)));
}

static yyjson_mut_val *vector_json(cbe_json_writer *w, const cbe_vector_record *r,
                                   const cbe_vector_report *report, double ceiling,
                                   const cbe_run_record *record)
{
    yyjson_mut_val *vector = cbe_json_new_object(w);
    put_report(w, vector, report, ceiling, record);
    cbe_json_put_count(w, vector, "evaluations", r->evaluations);
    cbe_json_put_count(w, vector, "sample_evaluations", r->sample_evaluations);
    cbe_json_put_count(w, vector, "starts", r->starts);
    cbe_json_put_string(w, vector, "start", cbe_start_kind_name(r->start));
    cbe_json_put(w, vector, "starts_by_kind", kinds_json(w, r));
    cbe_json_put_number(w, vector, "seconds", r->seconds);
    cbe_json_put_string(w, vector, "stop", cbe_stop_name(r->stop));
    cbe_json_put(w, vector, "maxima", maxima_json(w, r->n_maxima, r->maxima));
    cbe_json_put(w, vector, "sample_maxima", maxima_json(w, r->n_sample_maxima, r->sample_maxima));
    return vector;
}

static yyjson_mut_val *controls_json(cbe_json_writer *w, const cbe_layer_result *result,
                                     const cbe_run_record *record)
{
    yyjson_mut_val *controls = cbe_json_new_object(w);
    for (int i = 0; i < CBE_N_CONTROLS; i++) {
        yyjson_mut_val *one = cbe_json_new_object(w);
        put_report(w, one, &result->controls[i], result->ceiling, record);
        cbe_json_put(w, controls, cbe_control_name((cbe_control)i), one);
    }
    return controls;
}

static yyjson_mut_val *layer_json(cbe_json_writer *w, const cbe_layer_result *result,
                                  const cbe_run_record *record)
{
    const cbe_basis *b = &result->basis;
    yyjson_mut_val *layer = cbe_json_new_object(w), *vectors = cbe_json_new_list(w);
    char state[CBE_STATE_NAME], within[32] = "all";
    for (size_t j = 0; j < b->n_vectors; j++)
        cbe_json_append(
            w, vectors,
            vector_json(w, &b->records[j], &result->reports[j], result->ceiling, record));
    cbe_state_name(result->state, state);
    cbe_json_put_count(w, layer, "layer", result->layer);
    cbe_json_put_string(w, layer, "state", state);
    if (result->within) snprintf(within, sizeof within, "pc=%zu", result->within);
    cbe_json_put_string(w, layer, "within", within);
    cbe_json_put_number(w, layer, "ceiling", result->ceiling);
    cbe_json_put_number(w, layer, "covariance_trace", result->covariance_trace);
    cbe_json_put_number(w, layer, "seconds", result->seconds);
    cbe_json_put_number(w, layer, "search_seconds", result->search_seconds);
    cbe_json_put_flag(w, layer, "stopped_below_min_energy", b->below_min_energy);
    cbe_json_put(w, layer, "vectors", vectors);
    cbe_json_put(w, layer, "controls", controls_json(w, result, record));
    return layer;
}

static yyjson_mut_val *lens_json(cbe_json_writer *w, const cbe_run_record *record)
{
    yyjson_mut_val *lens = cbe_json_new_object(w);
    cbe_json_put_string(w, lens, "folder", "lens");
    cbe_json_put_string(w, lens, "sha256", record->lens_sha256);
    return lens;
}

cbe_status cbe_result_json(char **text, size_t n, const cbe_layer_result *results,
                           const cbe_run_record *record, cbe_error *err)
{
    cbe_json_writer writer = cbe_json_start(), *w = &writer;
    yyjson_mut_val *root = cbe_json_new_object(w), *options = cbe_json_new_object(w),
                   *layers = cbe_json_new_list(w);
    for (size_t i = 0; i < record->n_options; i++)
        cbe_json_put_string(w, options, record->options[i].name, record->options[i].value);
    for (size_t i = 0; i < n; i++) cbe_json_append(w, layers, layer_json(w, &results[i], record));
    cbe_json_put_string(w, root, "format", "causal basis");
    cbe_json_put_string(w, root, "version", CBE_VERSION);
    cbe_json_put(w, root, "inputs", inputs_json(w, record->inputs));
    cbe_json_put(w, root, "options", options);
    if (record->lens_sha256[0]) cbe_json_put(w, root, "lens", lens_json(w, record));
    cbe_json_put_count(w, root, "n_sequences", record->n_sequences);
    cbe_json_put_count(w, root, "context_length", record->context_length);
    cbe_json_put_count(w, root, "n_tokens", record->n_tokens);
    if (record->n_reported) cbe_json_put_count(w, root, "n_energy_tokens", record->n_reported);
    cbe_json_put_count(w, root, "n_held_out_sequences", record->n_held_out);
    cbe_json_put_count(w, root, "skip_positions", record->skip_positions);
    cbe_json_put_count(w, root, "hidden_size", record->hidden_size);
    cbe_json_put_count(w, root, "processes", record->n_processes * record->n_groups);
    cbe_json_put_count(w, root, "processes_of_a_layer", record->n_processes);
    cbe_json_put_string(w, root, "kernels", record->kernels);
    cbe_json_put_string(w, root, "logits", record->logits);
    cbe_json_put_number(w, root, "seconds", record->seconds);
    cbe_json_put(w, root, "layers", layers);
    *text = cbe_json_finish(w, root, true);
    return *text ? CBE_OK
                 : cbe_fail(err, CBE_ERR_NOMEM, -1, "the record of the run does not fit memory");
}
