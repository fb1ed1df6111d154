/* lens_eval_files.c - writing an evaluation of lenses as JSON, CSV and charts (lens/evaluate.h,
 * docs/lens-evaluation.md). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lens/evaluate.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "formats/json_memory.h"
#include "files/path.h"
#include "report/chart.h"
#include "report/csv.h"
#include "formats/json_values.h"

enum { TRANSFER_LINES = 7 };

static json_t *figures_json(size_t layer, const cbe_lens_figures *figures, double bits)
{
    char key[32];
    json_t *json = json_pack("{s:I}", "layer", (json_int_t)layer);
    bool whole = true;
    for (int m = 0; m < CBE_N_LENS_MEASURES; m++) {
        const char *name = cbe_lens_measure_name((cbe_lens_measure)m);
        whole &= json_object_set_new(json, name, cbe_json_of_number(figures->mean[m])) == 0;
        snprintf(key, sizeof key, "%s_error", name);
        whole &= json_object_set_new(json, key, cbe_json_of_number(figures->error[m])) == 0;
        if (m == CBE_LENS_TOP1) continue;
        snprintf(key, sizeof key, "%s_bits_per_byte", name);
        whole &= json_object_set_new(json, key, cbe_json_of_number(bits * figures->mean[m])) == 0;
    }
    if (whole) return json;
    json_decref(json);
    return NULL;
}

/* A measure of all pairs of layers as JSON; rows are the translators' layers. */
static json_t *matrix_json(const cbe_lens_eval *eval, size_t lens, cbe_lens_measure measure)
{
    const size_t n = eval->n_layers;
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array();
        for (size_t j = 0; j < n; j++)
            row = cbe_json_append(
                row, cbe_json_of_number(eval->transfer[lens][i * n + j].mean[measure]));
        rows = cbe_json_append(rows, row);
    }
    return rows;
}

static json_t *lens_json(const cbe_lens_eval *eval, size_t lens, double bits)
{
    json_t *layers = json_array(), *numbers = json_array();
    for (size_t i = 0; i < eval->n_layers; i++) {
        layers = cbe_json_append(
            layers, figures_json(eval->layers[i], &eval->figures[lens * eval->n_layers + i], bits));
        numbers = cbe_json_append(numbers, json_integer((json_int_t)eval->layers[i]));
    }
    if (!eval->transfer[lens]) {
        json_decref(numbers);
        return json_pack("{s:o, s:o}", "name", cbe_json_of_text(eval->names[lens]), "layers",
                         layers);
    }
    return json_pack("{s:o, s:o, s:{s:o, s:o, s:o}}", "name", cbe_json_of_text(eval->names[lens]),
                     "layers", layers, "transfer", "layers", numbers, "kl",
                     matrix_json(eval, lens, CBE_LENS_KL), "ce",
                     matrix_json(eval, lens, CBE_LENS_CE));
}

static cbe_status save_json(const cbe_lens_eval *eval, const cbe_lens_eval_record *record,
                            const char *folder, cbe_error *err)
{
    const double bits = cbe_lens_eval_bits_per_byte(eval);
    cbe_json_begin();
    json_t *lenses = json_array(), *texts = json_array();
    for (size_t i = 0; i < record->n_texts; i++)
        texts = cbe_json_append(texts, cbe_json_of_text(record->texts[i]));
    for (size_t i = 0; i < eval->n_lenses; i++)
        lenses = cbe_json_append(lenses, lens_json(eval, i, bits));
    json_t *root = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "format",
        "lens evaluation", "version", CBE_VERSION, "model", cbe_json_of_text(record->model),
        "texts", texts, "tokens", cbe_json_of_text(record->tokens), "n_sequences",
        (json_int_t)eval->n_sequences, "context_length", (json_int_t)eval->context_length,
        "skip_positions", (json_int_t)eval->skip_positions, "n_tokens", (json_int_t)eval->n_tokens,
        "n_labelled", (json_int_t)eval->n_labelled, "text_bytes",
        eval->text_bytes ? json_integer((json_int_t)eval->text_bytes) : json_null(),
        "bits_per_byte_of_a_nat", cbe_json_of_number(bits), "final",
        figures_json(eval->n_blocks, &eval->final, bits), "lenses", lenses);
    char *text = cbe_json_end(root, JSON_INDENT(2));
    if (!text)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "the evaluation's record does not fit memory");
    const cbe_status st = cbe_atomic_file_save_in(folder, "eval.json", text, strlen(text), err);
    free(text);
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
