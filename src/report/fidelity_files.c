/* fidelity_files.c - writing what a lens tells of the model's directions as JSON, CSV and a chart
 * (fidelity/fidelity.h, docs/lens-fidelity.md). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "fidelity/fidelity.h"
#include "files/atomic_file.h"
#include "files/path.h"
#include "formats/json_writer.h"
#include "report/chart.h"
#include "report/csv.h"

static void put_estimate(cbe_json_writer *w, yyjson_mut_val *json, const char *key,
                         const cbe_estimate *estimate)
{
    char error[40];
    snprintf(error, sizeof error, "%s_error", key);
    cbe_json_put_number(w, json, key, estimate->mean);
    cbe_json_put_number(w, json, error, estimate->error);
}

static yyjson_mut_val *influence_json(cbe_json_writer *w, const cbe_influence *influence)
{
    yyjson_mut_val *json = cbe_json_new_object(w);
    cbe_json_put_count(w, json, "n", influence->n);
    cbe_json_put_number(w, json, "spearman", influence->spearman);
    cbe_json_put_number(w, json, "low", influence->low);
    cbe_json_put_number(w, json, "high", influence->high);
    return json;
}

/* Both measures of the directions that count. */
static yyjson_mut_val *measures_json(cbe_json_writer *w, const cbe_layer_fidelity *layer,
                                     size_t keep)
{
    yyjson_mut_val *json = cbe_json_new_object(w);
    cbe_json_put_count(w, json, "rank", layer->rank[keep]);
    for (size_t scope = 0; scope < CBE_N_SCOPES; scope++) {
        yyjson_mut_val *of_scope = cbe_json_new_object(w), *lists = cbe_json_new_object(w);
        for (size_t list = 0; list < CBE_N_LISTS; list++)
            cbe_json_put(w, lists, cbe_direction_list_name((cbe_direction_list)list),
                         influence_json(w, &layer->influence[keep][scope][list]));
        cbe_json_put(w, of_scope, "influence", lists);
        put_estimate(w, of_scope, "alignment", &layer->alignment[keep][scope]);
        cbe_json_put(w, json, cbe_scope_name((cbe_scope)scope), of_scope);
    }
    return json;
}

static yyjson_mut_val *layer_json(cbe_json_writer *w, const cbe_layer_fidelity *layer)
{
    char state[40];
    yyjson_mut_val *json = cbe_json_new_object(w), *directions = cbe_json_new_list(w);
    snprintf(state, sizeof state, "hidden_states.%zu", layer->state);
    cbe_json_put_count(w, json, "layer", layer->layer);
    cbe_json_put_string(w, json, "state", state);
    cbe_json_put(w, json, "all_directions", measures_json(w, layer, CBE_KEEP_ALL));
    cbe_json_put(w, json, "kappa_below_10", measures_json(w, layer, CBE_KEEP_BELOW));
    for (size_t i = 0; i < layer->n_directions; i++) {
        const cbe_direction *d = &layer->directions[i];
        yyjson_mut_val *entry = cbe_json_new_object(w);
        cbe_json_put_string(w, entry, "list", cbe_direction_list_name(d->list));
        cbe_json_put_number(w, entry, "kappa", d->kappa);
        put_estimate(w, entry, "lens", &d->lens);
        for (size_t scope = 0; scope < CBE_N_SCOPES; scope++)
            put_estimate(w, entry, cbe_scope_name((cbe_scope)scope), &d->model[scope]);
        cbe_json_append(w, directions, entry);
    }
    cbe_json_put(w, json, "directions", directions);
    return json;
}

static cbe_status save_json(const char *folder, size_t n, const cbe_layer_fidelity *layers,
                            const cbe_fidelity_record *r, cbe_error *err)
{
    char seed[24]; /* a string, since seeds exceed the integers of JSON readers */
    snprintf(seed, sizeof seed, "%" PRIu64, r->seed);
    cbe_json_writer writer = cbe_json_start(), *w = &writer;
    yyjson_mut_val *root = cbe_json_new_object(w), *list = cbe_json_new_list(w);
    for (size_t i = 0; i < n; i++) cbe_json_append(w, list, layer_json(w, &layers[i]));
    cbe_json_put_string(w, root, "format", "lens fidelity");
    cbe_json_put_string(w, root, "version", CBE_VERSION);
    cbe_json_put_string(w, root, "model", r->model);
    cbe_json_put_string(w, root, "lens", r->lens);
    cbe_json_put_string(w, root, "basis", r->basis);
    cbe_json_put(w, root, "texts", cbe_json_new_strings(w, r->texts, r->n_texts));
    cbe_json_put_string(w, root, "tokens", r->tokens);
    cbe_json_put_string(w, root, "site", cbe_site_name(r->site));
    cbe_json_put_string(w, root, "ablation", cbe_ablation_name(r->ablation));
    cbe_json_put_string(w, root, "metric", r->metric);
    cbe_json_put_string(w, root, "seed", seed);
    cbe_json_put_count(w, root, "directions", r->n_directions);
    cbe_json_put_count(w, root, "n_sequences", r->n_sequences);
    cbe_json_put_count(w, root, "context_length", r->context_length);
    cbe_json_put_count(w, root, "skip_positions", r->skip_positions);
    cbe_json_put_count(w, root, "n_tokens", r->n_tokens);
    cbe_json_put(w, root, "layers", list);
    char *text = cbe_json_finish(w, root, true);
    if (!text)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "the record of the comparison does not fit memory");
    const cbe_status st = cbe_atomic_file_save_in(folder, "fidelity.json", text, strlen(text), err);
    cbe_free(text);
    return st;
}

/* A row: the alignment is that of the basis's span, and stands in its rows alone. */
static cbe_status csv_row(cbe_byte_buffer *csv, const cbe_layer_fidelity *layer, size_t keep,
                          size_t scope, size_t list, cbe_error *err)
{
    const cbe_influence *influence = &layer->influence[keep][scope][list];
    const cbe_estimate *alignment = &layer->alignment[keep][scope];
    const double numbers[] = {influence->spearman, influence->low, influence->high};
    cbe_status st = cbe_csv_print(csv, err, "\n%zu,hidden_states.%zu,%s,%s,%s,%zu", layer->layer,
                                  layer->state, cbe_scope_name((cbe_scope)scope),
                                  keep == CBE_KEEP_ALL ? "all" : "kappa_below_10",
                                  cbe_direction_list_name((cbe_direction_list)list), influence->n);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && st == CBE_OK; i++)
        st = cbe_csv_number(csv, numbers[i], err);
    if (st == CBE_OK && list != CBE_LIST_BASIS) return cbe_csv_print(csv, err, ",,,");
    if (st == CBE_OK) st = cbe_csv_print(csv, err, ",%zu", layer->rank[keep]);
    if (st == CBE_OK) st = cbe_csv_number(csv, alignment->mean, err);
    return st == CBE_OK ? cbe_csv_number(csv, alignment->error, err) : st;
}

static cbe_status save_csv(const char *folder, size_t n, const cbe_layer_fidelity *layers,
                           cbe_error *err)
{
    cbe_byte_buffer csv = {0};
    cbe_status st = cbe_csv_print(&csv, err,
                                  "layer,state,scope,directions,list,n,spearman,low,high,rank,"
                                  "alignment,alignment_error");
    for (size_t i = 0; i < n; i++)
        for (size_t keep = 0; keep < CBE_N_KEEPS; keep++)
            for (size_t scope = 0; scope < CBE_N_SCOPES; scope++)
                for (size_t list = 0; list < CBE_N_LISTS && st == CBE_OK; list++)
                    st = csv_row(&csv, &layers[i], keep, scope, list, err);
    if (st == CBE_OK) st = cbe_csv_print(&csv, err, "\n");
    if (st == CBE_OK)
        st = cbe_atomic_file_save_in(folder, "fidelity.csv", csv.bytes, csv.size, err);
    cbe_free(csv.bytes);
    return st;
}

/* Draws both measures over states, a line for each scope. */
static cbe_status save_chart(const char *folder, size_t n, const cbe_layer_fidelity *layers,
                             cbe_error *err)
{
    static const char *const names[] = {"Spearman, all tokens", "Spearman, own token",
                                        "alignment, all tokens", "alignment, own token"};
    enum { N_SERIES = sizeof names / sizeof *names };
    _Static_assert(N_SERIES == 2 * CBE_N_SCOPES, "both measures in each scope");
    cbe_series series[N_SERIES];
    char *path = cbe_path_join(folder, "fidelity.svg", err);
    double *x = cbe_alloc(n, sizeof *x, "chart", err),
           *y = cbe_alloc(n, N_SERIES * sizeof *y, "chart", err);
    cbe_status st = path && x && y ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t s = 0; s < N_SERIES && st == CBE_OK; s++) {
        const size_t scope = s % CBE_N_SCOPES;
        for (size_t i = 0; i < n; i++) {
            const cbe_layer_fidelity *layer = &layers[i];
            x[i] = (double)layer->state;
            y[s * n + i] = s < CBE_N_SCOPES
                               ? layer->influence[CBE_KEEP_ALL][scope][CBE_LIST_TOGETHER].spearman
                               : layer->alignment[CBE_KEEP_ALL][scope].mean;
        }
        series[s] = (cbe_series){names[s], n, x, y + s * n};
    }
    const cbe_chart chart = {.title = "What the lens tells of the model's directions",
                             .x_label = "hidden_states",
                             .y_label = "1: the lens is right",
                             .n_series = N_SERIES,
                             .series = series};
    if (st == CBE_OK) st = cbe_chart_save(&chart, path, err);
    cbe_free(path);
    cbe_free(x);
    cbe_free(y);
    return st;
}

cbe_status cbe_fidelity_save(const char *folder, size_t n, const cbe_layer_fidelity *layers,
                             const cbe_fidelity_record *record, cbe_error *err)
{
    cbe_status st = save_csv(folder, n, layers, err);
    if (st == CBE_OK) st = save_chart(folder, n, layers, err);
    return st == CBE_OK ? save_json(folder, n, layers, record, err) : st;
}
