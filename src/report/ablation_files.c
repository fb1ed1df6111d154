/* ablation_files.c - writing effects of ablations as JSON, CSV and charts (ablate/ablation.h,
 * docs/ablation.md). */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ablate/ablation.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "formats/json_memory.h"
#include "files/path.h"
#include "report/chart.h"
#include "report/csv.h"
#include "formats/json_values.h"

static json_t *effects_json(size_t rank, const cbe_effects *effects)
{
    json_t *json = json_pack("{s:I}", "rank", (json_int_t)rank);
    bool whole = true;
    for (int e = 0; e < CBE_N_EFFECTS; e++) {
        char key[32];
        const char *name = cbe_effect_name((cbe_effect)e);
        whole &= json_object_set_new(json, name, cbe_json_of_number(effects->mean[e])) == 0;
        snprintf(key, sizeof key, "%s_error", name);
        whole &= json_object_set_new(json, key, cbe_json_of_number(effects->error[e])) == 0;
    }
    if (whole) return json;
    json_decref(json);
    return NULL;
}

static json_t *layer_json(const cbe_layer_ablation *layer)
{
    json_t *json = json_pack("{s:I}", "layer", (json_int_t)layer->layer);
    bool whole = true;
    for (int s = 0; s < CBE_N_SPANS; s++) {
        json_t *ranks = json_array();
        for (size_t r = 0; r < layer->n_ranks; r++)
            ranks = cbe_json_append(
                ranks, effects_json(r + 1, &layer->effects[(size_t)s * layer->n_ranks + r]));
        whole &= json_object_set_new(json, cbe_span_name((cbe_span_kind)s), ranks) == 0;
    }
    if (whole) return json;
    json_decref(json);
    return NULL;
}

static cbe_status save_json(const char *folder, size_t n, const cbe_layer_ablation *layers,
                            const cbe_ablation_record *r, cbe_error *err)
{
    char seed[24]; /* a string, since seeds exceed the integers of JSON readers */
    snprintf(seed, sizeof seed, "%" PRIu64, r->seed);
    cbe_json_begin();
    json_t *list = json_array(), *texts = json_array();
    for (size_t i = 0; i < n; i++) list = cbe_json_append(list, layer_json(&layers[i]));
    for (size_t i = 0; i < r->n_texts; i++)
        texts = cbe_json_append(texts, cbe_json_of_text(r->texts[i]));
    json_t *root = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "format",
        "subspace ablation", "version", CBE_VERSION, "model", cbe_json_of_text(r->model), "basis",
        cbe_json_of_text(r->basis), "texts", texts, "tokens", cbe_json_of_text(r->tokens), "site",
        cbe_site_name(r->site), "ablation", cbe_ablation_name(r->ablation), "seed", seed,
        "n_sequences", (json_int_t)r->n_sequences, "context_length", (json_int_t)r->context_length,
        "skip_positions", (json_int_t)r->skip_positions, "n_tokens", (json_int_t)r->n_tokens,
        "n_labelled", (json_int_t)r->n_labelled, "layers", list);
    char *text = cbe_json_end(root, JSON_INDENT(2));
    if (!text)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "the record of the ablations does not fit memory");
    const cbe_status st = cbe_atomic_file_save_in(folder, "ablate.json", text, strlen(text), err);
    free(text);
    return st;
}

static cbe_status save_csv(const char *folder, size_t n, const cbe_layer_ablation *layers,
                           cbe_error *err)
{
    cbe_byte_buffer csv = {0};
    cbe_status st = cbe_csv_print(&csv, err, "layer,span,rank");
    for (int e = 0; e < CBE_N_EFFECTS && st == CBE_OK; e++) {
        const char *name = cbe_effect_name((cbe_effect)e);
        st = cbe_csv_print(&csv, err, ",%s,%s_error", name, name);
    }
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
    char title[64], name[48];
    cbe_series series[CBE_N_SPANS];
    snprintf(title, sizeof title, "Vectors taken out of layer %zu", layer->layer);
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
