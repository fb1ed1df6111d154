/* ablation_files.c - writing effects of ablations as JSON, CSV and charts (ablate/ablation.h,
 * docs/ablation.md). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ablate/ablation.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "files/path.h"
#include "report/chart.h"
#include "report/csv.h"
#include "formats/json_writer.h"

static yyjson_mut_val *effects_json(cbe_json_writer *w, size_t rank, const cbe_effects *effects)
{
    yyjson_mut_val *json = cbe_json_new_object(w);
    cbe_json_put_count(w, json, "rank", rank);
    for (int e = 0; e < CBE_N_EFFECTS; e++) {
        char key[32];
        const char *name = cbe_effect_name((cbe_effect)e);
        cbe_json_put_number(w, json, name, effects->mean[e]);
        snprintf(key, sizeof key, "%s_error", name);
        cbe_json_put_number(w, json, key, effects->error[e]);
    }
    return json;
}

static yyjson_mut_val *layer_json(cbe_json_writer *w, const cbe_layer_ablation *layer)
{
    yyjson_mut_val *json = cbe_json_new_object(w);
    char state[CBE_STATE_NAME];
    cbe_state_name(layer->state, state);
    cbe_json_put_count(w, json, "layer", layer->layer);
    cbe_json_put_string(w, json, "state", state);
    cbe_json_put_string(w, json, "metric", layer->oblique ? "covariance" : "euclidean");
    for (int s = 0; s < CBE_N_SPANS; s++) {
        yyjson_mut_val *ranks = cbe_json_new_list(w);
        for (size_t r = 0; r < layer->n_ranks; r++)
            cbe_json_append(
                w, ranks, effects_json(w, r + 1, &layer->effects[(size_t)s * layer->n_ranks + r]));
        cbe_json_put(w, json, cbe_span_name((cbe_span_kind)s), ranks);
    }
    return json;
}

static cbe_status save_json(const char *folder, size_t n, const cbe_layer_ablation *layers,
                            const cbe_ablation_record *r, cbe_error *err)
{
    char seed[24]; /* a string, since seeds exceed the integers of JSON readers */
    snprintf(seed, sizeof seed, "%" PRIu64, r->seed);
    cbe_json_writer writer = cbe_json_start(), *w = &writer;
    yyjson_mut_val *root = cbe_json_new_object(w), *list = cbe_json_new_list(w);
    for (size_t i = 0; i < n; i++) cbe_json_append(w, list, layer_json(w, &layers[i]));
    cbe_json_put_string(w, root, "format", "subspace ablation");
    cbe_json_put_string(w, root, "version", CBE_VERSION);
    cbe_json_put_string(w, root, "model", r->model);
    cbe_json_put_string(w, root, "basis", r->basis);
    cbe_json_put(w, root, "texts", cbe_json_new_strings(w, r->texts, r->n_texts));
    cbe_json_put_string(w, root, "tokens", r->tokens);
    cbe_json_put_string(w, root, "site", cbe_site_name(r->site));
    cbe_json_put_string(w, root, "ablation", cbe_ablation_name(r->ablation));
    cbe_json_put_string(w, root, "scope", cbe_scope_name(r->scope));
    cbe_json_put_number(w, root, "strength", r->strength);
    cbe_json_put_string(w, root, "metric", r->metric);
    cbe_json_put_string(w, root, "seed", seed);
    cbe_json_put_count(w, root, "n_sequences", r->n_sequences);
    cbe_json_put_count(w, root, "context_length", r->context_length);
    cbe_json_put_count(w, root, "skip_positions", r->skip_positions);
    cbe_json_put_count(w, root, "n_tokens", r->n_tokens);
    cbe_json_put_count(w, root, "n_labelled", r->n_labelled);
    cbe_json_put(w, root, "layers", list);
    char *text = cbe_json_finish(w, root, true);
    if (!text)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "the record of the ablations does not fit memory");
    const cbe_status st = cbe_atomic_file_save_in(folder, "ablate.json", text, strlen(text), err);
    cbe_free(text);
    return st;
}

static cbe_status save_csv(const char *folder, size_t n, const cbe_layer_ablation *layers,
                           cbe_error *err)
{
    char state[CBE_STATE_NAME];
    cbe_byte_buffer csv = {0};
    cbe_status st = cbe_csv_print(&csv, err, "layer,span,rank");
    for (int e = 0; e < CBE_N_EFFECTS && st == CBE_OK; e++) {
        const char *name = cbe_effect_name((cbe_effect)e);
        st = cbe_csv_print(&csv, err, ",%s,%s_error", name, name);
    }
    if (st == CBE_OK) st = cbe_csv_print(&csv, err, ",state");
    for (size_t i = 0; i < n; i++)
        for (size_t v = 0; v < CBE_N_SPANS * layers[i].n_ranks && st == CBE_OK; v++) {
            const size_t ranks = layers[i].n_ranks;
            const cbe_effects *effects = &layers[i].effects[v];
            st = cbe_csv_print(&csv, err, "\n%zu,%s,%zu", layers[i].layer,
                               cbe_span_name((cbe_span_kind)(v / ranks)), v % ranks + 1);
            for (int e = 0; e < CBE_N_EFFECTS && st == CBE_OK; e++) {
                st = cbe_csv_number(&csv, effects->mean[e], err);
                if (st == CBE_OK) st = cbe_csv_number(&csv, effects->error[e], err);
            }
            cbe_state_name(layers[i].state, state);
            if (st == CBE_OK) st = cbe_csv_print(&csv, err, ",%s", state);
        }
    if (st == CBE_OK) st = cbe_csv_print(&csv, err, "\n");
    if (st == CBE_OK) st = cbe_atomic_file_save_in(folder, "ablate.csv", csv.bytes, csv.size, err);
    cbe_free(csv.bytes);
    return st;
}

/* Draws divergences over ranks, with a line for each span. */
static cbe_status save_chart(const char *folder, const cbe_layer_ablation *layer, cbe_error *err)
{
    const size_t n = layer->n_ranks;
    char title[96], name[48], state[CBE_STATE_NAME];
    cbe_series series[CBE_N_SPANS];
    cbe_state_name(layer->state, state);
    snprintf(title, sizeof title, "Vectors taken out of layer %zu (%s)", layer->layer, state);
    snprintf(name, sizeof name, "ablate-%zu.svg", layer->layer);
    char *path = cbe_path_join(folder, name, err);
    double *x = cbe_alloc(n, sizeof *x, "chart", err),
           *y = cbe_alloc(CBE_N_SPANS, n * sizeof *y, "chart", err);
    cbe_status st = path && x && y ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t s = 0; s < CBE_N_SPANS && st == CBE_OK; s++) {
        for (size_t r = 0; r < n; r++) {
            x[r] = (double)(r + 1);
            y[s * n + r] = layer->effects[s * n + r].mean[CBE_EFFECT_KL];
        }
        series[s] = (cbe_series){cbe_span_name((cbe_span_kind)s), n, x, y + s * n};
    }
    const cbe_chart chart = {.title = title,
                             .x_label = "rank",
                             .y_label = "KL(clean || ablated), nats a token",
                             .log_y = true,
                             .n_series = CBE_N_SPANS,
                             .series = series};
    if (st == CBE_OK) st = cbe_chart_save(&chart, path, err);
    cbe_free(path);
    cbe_free(x);
    cbe_free(y);
    return st;
}

cbe_status cbe_ablation_save(const char *folder, size_t n, const cbe_layer_ablation *layers,
                             const cbe_ablation_record *record, cbe_error *err)
{
    cbe_status st = save_csv(folder, n, layers, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++) st = save_chart(folder, &layers[i], err);
    return st == CBE_OK ? save_json(folder, n, layers, record, err) : st;
}
