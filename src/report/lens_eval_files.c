/* lens_eval_files.c - writing an evaluation of lenses as JSON, CSV and charts (lens/evaluate.h,
 * docs/lens-evaluation.md). */
#include <stdio.h>
#include <string.h>

#include "lens/evaluate.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "files/path.h"
#include "report/chart.h"
#include "report/csv.h"
#include "formats/json_writer.h"

enum { TRANSFER_LINES = 7 };

static yyjson_mut_val *figures_json(cbe_json_writer *w, size_t layer,
                                    const cbe_lens_figures *figures, double bits)
{
    char key[32];
    yyjson_mut_val *json = cbe_json_new_object(w);
    cbe_json_put_count(w, json, "layer", layer);
    for (int m = 0; m < CBE_N_LENS_MEASURES; m++) {
        const char *name = cbe_lens_measure_name((cbe_lens_measure)m);
        cbe_json_put_number(w, json, name, figures->mean[m]);
        snprintf(key, sizeof key, "%s_error", name);
        cbe_json_put_number(w, json, key, figures->error[m]);
        if (m == CBE_LENS_TOP1) continue;
        snprintf(key, sizeof key, "%s_bits_per_byte", name);
        cbe_json_put_number(w, json, key, bits * figures->mean[m]);
    }
    return json;
}

/* A measure of all pairs of layers as JSON; rows are the translators' layers. */
static yyjson_mut_val *matrix_json(cbe_json_writer *w, const cbe_lens_eval *eval, size_t lens,
                                   cbe_lens_measure measure)
{
    const size_t n = eval->n_layers;
    yyjson_mut_val *rows = cbe_json_new_list(w);
    for (size_t i = 0; i < n; i++) {
        yyjson_mut_val *row = cbe_json_new_list(w);
        for (size_t j = 0; j < n; j++)
            cbe_json_append(w, row,
                            cbe_json_new_number(w, eval->transfer[lens][i * n + j].mean[measure]));
        cbe_json_append(w, rows, row);
    }
    return rows;
}

static yyjson_mut_val *lens_json(cbe_json_writer *w, const cbe_lens_eval *eval, size_t lens,
                                 double bits)
{
    yyjson_mut_val *json = cbe_json_new_object(w), *layers = cbe_json_new_list(w);
    for (size_t i = 0; i < eval->n_layers; i++)
        cbe_json_append(
            w, layers,
            figures_json(w, eval->layers[i], &eval->figures[lens * eval->n_layers + i], bits));
    cbe_json_put_string(w, json, "name", eval->names[lens]);
    cbe_json_put(w, json, "layers", layers);
    if (!eval->transfer[lens]) return json;
    yyjson_mut_val *transfer = cbe_json_new_object(w), *numbers = cbe_json_new_list(w);
    for (size_t i = 0; i < eval->n_layers; i++)
        cbe_json_append(w, numbers, cbe_json_new_count(w, eval->layers[i]));
    cbe_json_put(w, transfer, "layers", numbers);
    cbe_json_put(w, transfer, "kl", matrix_json(w, eval, lens, CBE_LENS_KL));
    cbe_json_put(w, transfer, "ce", matrix_json(w, eval, lens, CBE_LENS_CE));
    cbe_json_put(w, json, "transfer", transfer);
    return json;
}

static cbe_status save_json(const cbe_lens_eval *eval, const cbe_lens_eval_record *record,
                            const char *folder, cbe_error *err)
{
    const double bits = cbe_lens_eval_bits_per_byte(eval);
    cbe_json_writer writer = cbe_json_start(), *w = &writer;
    yyjson_mut_val *root = cbe_json_new_object(w), *lenses = cbe_json_new_list(w);
    for (size_t i = 0; i < eval->n_lenses; i++)
        cbe_json_append(w, lenses, lens_json(w, eval, i, bits));
    cbe_json_put_string(w, root, "format", "lens evaluation");
    cbe_json_put_string(w, root, "version", CBE_VERSION);
    cbe_json_put_string(w, root, "model", record->model);
    cbe_json_put(w, root, "texts", cbe_json_new_strings(w, record->texts, record->n_texts));
    cbe_json_put_string(w, root, "tokens", record->tokens);
    cbe_json_put_count(w, root, "n_sequences", eval->n_sequences);
    cbe_json_put_count(w, root, "context_length", eval->context_length);
    cbe_json_put_count(w, root, "skip_positions", eval->skip_positions);
    cbe_json_put_count(w, root, "n_tokens", eval->n_tokens);
    cbe_json_put_count(w, root, "n_labelled", eval->n_labelled);
    if (eval->text_bytes)
        cbe_json_put_count(w, root, "text_bytes", eval->text_bytes);
    else
        cbe_json_put_string(w, root, "text_bytes", NULL);
    cbe_json_put_number(w, root, "bits_per_byte_of_a_nat", bits);
    cbe_json_put(w, root, "final", figures_json(w, eval->n_blocks, &eval->final, bits));
    cbe_json_put(w, root, "lenses", lenses);
    char *text = cbe_json_finish(w, root, true);
    if (!text)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "the evaluation's record does not fit memory");
    const cbe_status st = cbe_atomic_file_save_in(folder, "eval.json", text, strlen(text), err);
    cbe_free(text);
    return st;
}

static cbe_status put_row(cbe_byte_buffer *csv, const char *lens, size_t layer,
                          const cbe_lens_figures *figures, double bits, cbe_error *err)
{
    cbe_status st = cbe_csv_text(csv, lens, err);
    if (st == CBE_OK) st = cbe_csv_print(csv, err, ",%zu", layer);
    for (int m = 0; m < CBE_N_LENS_MEASURES && st == CBE_OK; m++) {
        st = cbe_csv_number(csv, figures->mean[m], err);
        if (st == CBE_OK) st = cbe_csv_number(csv, figures->error[m], err);
        if (st == CBE_OK && m != CBE_LENS_TOP1)
            st = cbe_csv_number(csv, bits * figures->mean[m], err);
    }
    return st == CBE_OK ? cbe_csv_print(csv, err, "\n") : st;
}

static cbe_status save_csv(const cbe_lens_eval *eval, const char *folder, cbe_error *err)
{
    cbe_byte_buffer csv = {0};
    const double bits = cbe_lens_eval_bits_per_byte(eval);
    cbe_status st = cbe_csv_print(&csv, err,
                                  "lens,layer,ce,ce_error,ce_bits_per_byte,kl,kl_error,kl_bits_per_"
                                  "byte,entropy,entropy_error,"
                                  "entropy_bits_per_byte,top1,top1_error\n");
    for (size_t l = 0; l < eval->n_lenses; l++)
        for (size_t i = 0; i < eval->n_layers && st == CBE_OK; i++)
            st = put_row(&csv, eval->names[l], eval->layers[i],
                         &eval->figures[l * eval->n_layers + i], bits, err);
    if (st == CBE_OK) st = put_row(&csv, "final", eval->n_blocks, &eval->final, bits, err);
    if (st == CBE_OK) st = cbe_atomic_file_save_in(folder, "eval.csv", csv.bytes, csv.size, err);
    cbe_free(csv.bytes);
    return st;
}

static cbe_status save_transfer_csv(const cbe_lens_eval *eval, const char *folder, cbe_error *err)
{
    cbe_byte_buffer csv = {0};
    const size_t n = eval->n_layers;
    bool any = false;
    cbe_status st = cbe_csv_print(&csv, err, "lens,lens_layer,state_layer,kl,ce\n");
    for (size_t l = 0; l < eval->n_lenses; l++)
        for (size_t i = 0; i < n * n && eval->transfer[l] && st == CBE_OK; i++) {
            const cbe_lens_figures *figures = &eval->transfer[l][i];
            any = true;
            if ((st = cbe_csv_text(&csv, eval->names[l], err)) == CBE_OK)
                st = cbe_csv_print(&csv, err, ",%zu,%zu,%.9g,%.9g\n", eval->layers[i / n],
                                   eval->layers[i % n], figures->mean[CBE_LENS_KL],
                                   figures->mean[CBE_LENS_CE]);
        }
    if (st == CBE_OK && any)
        st = cbe_atomic_file_save_in(folder, "transfer.csv", csv.bytes, csv.size, err);
    cbe_free(csv.bytes);
    return st;
}

/* Draws divergences over layers, with a line for each lens. */
static cbe_status save_chart(const cbe_lens_eval *eval, const char *folder, cbe_error *err)
{
    const size_t n = eval->n_layers;
    cbe_status st = CBE_ERR_NOMEM;
    char *path = cbe_path_join(folder, "eval.svg", err);
    cbe_series *series = cbe_alloc(eval->n_lenses, sizeof *series, "chart", err);
    double *x = cbe_alloc(n, sizeof *x, "chart", err),
           *y = cbe_alloc(eval->n_lenses, n * sizeof *y, "chart", err);
    if (!path || !series || !x || !y) goto done;
    for (size_t i = 0; i < n; i++) x[i] = (double)eval->layers[i];
    for (size_t l = 0; l < eval->n_lenses; l++) {
        for (size_t i = 0; i < n; i++) y[l * n + i] = eval->figures[l * n + i].mean[CBE_LENS_KL];
        series[l] = (cbe_series){eval->names[l], n, x, y + l * n};
    }
    const cbe_chart chart = {.title = "Divergence of the model's output from the lens's",
                             .x_label = "layer",
                             .y_label = "KL(final || lens), nats a token",
                             .log_y = true,
                             .n_series = eval->n_lenses,
                             .series = series};
    st = cbe_chart_save(&chart, path, err);
done:
    cbe_free(path);
    cbe_free(series);
    cbe_free(x);
    cbe_free(y);
    return st;
}

/* Draws divergences over layers of hidden states, for translators of some layers, evenly spread. */
static cbe_status save_transfer_chart(const cbe_lens_eval *eval, size_t lens, const char *file,
                                      const char *folder, cbe_error *err)
{
    const size_t n = eval->n_layers, lines = n < TRANSFER_LINES ? n : TRANSFER_LINES;
    cbe_status st = CBE_ERR_NOMEM;
    char labels[TRANSFER_LINES][48];
    cbe_series series[TRANSFER_LINES];
    char *path = cbe_path_join(folder, file, err);
    double *x = cbe_alloc(n, sizeof *x, "chart", err),
           *y = cbe_alloc(lines, n * sizeof *y, "chart", err);
    if (!path || !x || !y) goto done;
    for (size_t i = 0; i < n; i++) x[i] = (double)eval->layers[i];
    for (size_t k = 0; k < lines; k++) {
        const size_t row = lines > 1 ? k * (n - 1) / (lines - 1) : 0;
        for (size_t i = 0; i < n; i++)
            y[k * n + i] = eval->transfer[lens][row * n + i].mean[CBE_LENS_KL];
        snprintf(labels[k], sizeof labels[k], "translator %zu", eval->layers[row]);
        series[k] = (cbe_series){labels[k], n, x, y + k * n};
    }
    const cbe_chart chart = {.title = eval->names[lens],
                             .x_label = "layer of the hidden states",
                             .y_label = "KL(final || lens), nats a token",
                             .log_y = true,
                             .n_series = lines,
                             .series = series};
    st = cbe_chart_save(&chart, path, err);
done:
    cbe_free(path);
    cbe_free(x);
    cbe_free(y);
    return st;
}

cbe_status cbe_lens_eval_save(const cbe_lens_eval *eval, const cbe_lens_eval_record *record,
                              const char *folder, cbe_error *err)
{
    cbe_status st = save_csv(eval, folder, err);
    if (st == CBE_OK) st = save_transfer_csv(eval, folder, err);
    if (st == CBE_OK) st = save_chart(eval, folder, err);
    char file[48] = "transfer.svg";
    for (size_t i = 0, n = 1; i < eval->n_lenses && st == CBE_OK; i++) {
        if (!eval->transfer[i]) continue;
        st = save_transfer_chart(eval, i, file, folder, err);
        snprintf(file, sizeof file, "transfer-%zu.svg", ++n);
    }
    return st == CBE_OK ? save_json(eval, record, folder, err) : st;
}
