/* checkpoint_read.c - an interrupted run's checkpoint, checked as it is read
 * (checkpoint_state.h). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "extract/checkpoint_rows.h"
#include "extract/checkpoint_state.h"
#include "core/fail.h"
#include "core/memory.h"

/* Finds a float64 or int64 tensor of `columns` a row (0: of one dimension) and at most `most` rows.
 * *data is borrowed; NULL: there is no such tensor. */
static cbe_status find(const cbe_safetensors *file, const char *name, cbe_dtype dtype, size_t most,
                       size_t columns, size_t *rows, const void **data, cbe_error *err)
{
    cbe_tensor t;
    *data = NULL;
    *rows = 0;
    if (!cbe_safetensors_has(file, name)) return CBE_OK;
    const cbe_status st = cbe_safetensors_get(file, name, &t, err);
    if (st != CBE_OK) return st;
    if (t.dtype != dtype || t.n_dims != (columns ? 2 : 1) || (columns && t.dims[1] != columns) ||
        t.dims[0] > most || !t.dims[0])
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s' does not have the form of a checkpoint's",
                        cbe_safetensors_path(file), name);
    *rows = t.dims[0];
    *data = t.data;
    return CBE_OK;
}

/* Copies a float64 tensor of exactly n rows to memory of its own. */
static cbe_status copy_rows(const cbe_safetensors *file, const char *name, size_t n, size_t columns,
                            double **out, cbe_error *err)
{
    const void *data;
    size_t rows;
    const cbe_status st = find(file, name, CBE_F64, n, columns, &rows, &data, err);
    if (st != CBE_OK) return st;
    if (rows != n)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: tensor '%s' has %zu rows, must have %zu",
                        cbe_safetensors_path(file), name, rows, n);
    const size_t width = columns ? columns : 1;
    if (!(*out = cbe_alloc(n, width * sizeof **out, "checkpoint", err))) return CBE_ERR_NOMEM;
    memcpy(*out, data, n * width * sizeof **out);
    return CBE_OK;
}

/* Refuses vectors that are not finite: no run writes them. */
static cbe_status check_vectors(const cbe_checkpoint *c, const char *name, size_t n,
                                const double *vectors, cbe_error *err)
{
    for (size_t i = 0; i < n * c->hidden_size; i++)
        if (!isfinite(vectors[i]))
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: tensor '%s': vector %zu has NaN or infinity in it: the checkpoint "
                            "is damaged; remove it to begin again",
                            c->path, name, i / c->hidden_size);
    return CBE_OK;
}

/* Copies n vectors that not every layer has; without them *out stays as it is. */
static cbe_status copy_optional(const cbe_checkpoint *c, const cbe_safetensors *file, size_t layer,
                                const char *what, size_t n, double **out, cbe_error *err)
{
    char name[CBE_CHECKPOINT_NAME];
    snprintf(name, sizeof name, "layers.%zu.%s", layer, what);
    if (!cbe_safetensors_has(file, name)) return CBE_OK;
    const cbe_status st = n ? copy_rows(file, name, n, c->hidden_size, out, err)
                            : copy_rows(file, name, c->hidden_size, 0, out, err);
    return st == CBE_OK ? check_vectors(c, name, n ? n : 1, *out, err) : st;
}

static cbe_status copy_records(const cbe_safetensors *file, const char *name, size_t n,
                               cbe_vector_record **out, cbe_error *err)
{
    double *rows = NULL;
    cbe_status st = copy_rows(file, name, n, CBE_ROW_RECORD, &rows, err);
    if (st == CBE_OK && !(*out = cbe_alloc_zero(n, sizeof **out, "checkpoint", err)))
        st = CBE_ERR_NOMEM;
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        if (!cbe_record_of_row(rows + i * CBE_ROW_RECORD, &(*out)[i]))
            st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                          "%s: tensor '%s': row %zu is not a vector's record",
                          cbe_safetensors_path(file), name, i);
    cbe_free(rows);
    return st;
}

/* Reads a layer that is done; without one *result stays as it is. */
static cbe_status load_layer(const cbe_checkpoint *c, const cbe_safetensors *file, size_t layer,
                             cbe_layer_result *result, cbe_error *err)
{
    char name[CBE_CHECKPOINT_NAME];
    const void *data;
    size_t n;
    double *reports = NULL, *controls = NULL, *numbers = NULL;
    snprintf(name, sizeof name, "layers.%zu.vectors", layer);
    cbe_status st = find(file, name, CBE_F64, c->n_vectors, c->hidden_size, &n, &data, err);
    if (st != CBE_OK || !data) return st;
    result->layer = layer;
    result->basis.hidden_size = c->hidden_size;
    st = copy_rows(file, name, n, c->hidden_size, &result->basis.vectors, err);
    if (st == CBE_OK) st = check_vectors(c, name, n, result->basis.vectors, err);
    snprintf(name, sizeof name, "layers.%zu.records", layer);
    if (st == CBE_OK) st = copy_records(file, name, n, &result->basis.records, err);
    snprintf(name, sizeof name, "layers.%zu.reports", layer);
    if (st == CBE_OK) st = copy_rows(file, name, n, CBE_ROW_REPORT, &reports, err);
    snprintf(name, sizeof name, "layers.%zu.controls", layer);
    if (st == CBE_OK) st = copy_rows(file, name, CBE_N_CONTROLS, CBE_ROW_REPORT, &controls, err);
    snprintf(name, sizeof name, "layers.%zu.numbers", layer);
    if (st == CBE_OK) st = copy_rows(file, name, CBE_ROW_LAYER, 0, &numbers, err);
    if (st == CBE_OK && !cbe_layer_of_row(numbers, result))
        st = cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: tensor '%s' is not a layer's",
                      cbe_safetensors_path(file), name);
    if (st == CBE_OK) st = copy_optional(c, file, layer, "mean", 0, &result->mean, err);
    if (st == CBE_OK) st = copy_optional(c, file, layer, "read", n, &result->read, err);
    if (st == CBE_OK) st = copy_optional(c, file, layer, "write", n, &result->write, err);
    if (st == CBE_OK && !result->read != !result->write)
        st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                      "%s: layer %zu has one of the tensors read and write without the other: the "
                      "checkpoint is damaged; remove it to begin again",
                      c->path, layer);
    if (st == CBE_OK &&
        !(result->reports = cbe_alloc(n, sizeof *result->reports, "checkpoint", err)))
        st = CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        for (size_t i = 0; i < n; i++)
            cbe_report_of_row(reports + i * CBE_ROW_REPORT, &result->reports[i]);
        for (size_t i = 0; i < CBE_N_CONTROLS; i++)
            cbe_report_of_row(controls + i * CBE_ROW_REPORT, &result->controls[i]);
        result->basis.n_vectors = n;
    }
    cbe_free(reports);
    cbe_free(controls);
    cbe_free(numbers);
    return st;
}

/* Writes points.<layer>.WHAT to name. */
static void name_point(char name[CBE_CHECKPOINT_NAME], size_t layer, const char *what)
{
    snprintf(name, CBE_CHECKPOINT_NAME, "points.%zu.%s", layer, what);
}

/* Copies a tensor of a point, of exactly n rows, to an array. */
static cbe_status fill_rows(const cbe_safetensors *file, size_t layer, const char *what, size_t n,
                            size_t columns, double *to, cbe_error *err)
{
    char name[CBE_CHECKPOINT_NAME];
    double *rows = NULL;
    name_point(name, layer, what);
    const cbe_status st = copy_rows(file, name, n, columns, &rows, err);
    if (st == CBE_OK) memcpy(to, rows, n * (columns ? columns : 1) * sizeof *to);
    cbe_free(rows);
    return st;
}

static cbe_status load_kinds(const cbe_safetensors *file, size_t layer, cbe_stored_point *p,
                             cbe_error *err)
{
    char name[CBE_CHECKPOINT_NAME];
    const void *data;
    const size_t m = p->view.n_runner_ups;
    size_t rows;
    name_point(name, layer, "runner_up_kinds");
    const cbe_status st = find(file, name, CBE_I64, m, 0, &rows, &data, err);
    for (size_t i = 0; i < m && st == CBE_OK; i++) {
        int64_t kind = -1;
        /* The data lie in a file, at any alignment. */
        if (rows == m) memcpy(&kind, (const char *)data + i * sizeof kind, sizeof kind);
        if (kind < 0 || kind >= CBE_N_START_KINDS)
            return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s[%zu] is no kind of start",
                            cbe_safetensors_path(file), name, i);
        p->kinds[i] = (cbe_start_kind)kind;
    }
    return st;
}

static bool is_zero(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    size_t i = 0;
    while (i < size && bytes[i] == 0) i++;
    return i == size;
}

/* Reads where a layer stood; without a point *p stays as it is. */
static cbe_status load_point(const cbe_checkpoint *c, const cbe_safetensors *file, size_t layer,
                             cbe_stored_point *p, cbe_error *err)
{
    char name[CBE_CHECKPOINT_NAME];
    const void *vectors, *runner_ups, *random = NULL;
    size_t n, m = 0, words = 0;
    cbe_vector_record *records = NULL;
    name_point(name, layer, "vectors");
    cbe_status st = find(file, name, CBE_F64, c->n_vectors, c->hidden_size, &n, &vectors, err);
    if (st != CBE_OK || !vectors) return st;
    name_point(name, layer, "runner_ups");
    st = find(file, name, CBE_F64, CBE_RUNNER_UPS_MOST, c->hidden_size, &m, &runner_ups, err);
    name_point(name, layer, "random");
    if (st == CBE_OK) st = find(file, name, CBE_I64, 4, 0, &words, &random, err);
    if (st == CBE_OK && words != 4)
        st = cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s must be 4 numbers", c->path, name);
    /* The generator would give only zeros from there. */
    if (st == CBE_OK && is_zero(random, words * sizeof(int64_t)))
        st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                      "%s: %s is all zeros: the checkpoint is damaged; remove it to begin again",
                      c->path, name);
    name_point(name, layer, "records");
    if (st == CBE_OK) st = copy_records(file, name, n, &records, err);
    if (st == CBE_OK) st = cbe_stored_point_make(p, c->hidden_size, n, m, err);
    if (st == CBE_OK) {
        memcpy(p->vectors, vectors, n * c->hidden_size * sizeof *p->vectors);
        memcpy(p->records, records, n * sizeof *records);
        memcpy(p->view.random, random, sizeof p->view.random);
        if (m) memcpy(p->runner_ups, runner_ups, m * c->hidden_size * sizeof *p->runner_ups);
        name_point(name, layer, "vectors");
        st = check_vectors(c, name, n, p->vectors, err);
        name_point(name, layer, "runner_ups");
        if (m && st == CBE_OK) st = check_vectors(c, name, m, p->runner_ups, err);
        if (m && st == CBE_OK)
            st = fill_rows(file, layer, "runner_up_energies", m, 0, p->energies, err);
        if (m && st == CBE_OK) st = load_kinds(file, layer, p, err);
    }
    cbe_free(records);
    return st;
}

cbe_status cbe_checkpoint_load(cbe_checkpoint *c, size_t *n_done, size_t *n_vectors, cbe_error *err)
{
    cbe_path_kind kind;
    cbe_safetensors *file = NULL;
    *n_done = *n_vectors = 0;
    cbe_status st = cbe_path_look(c->path, &kind, err);
    if (st != CBE_OK || kind == CBE_PATH_NOTHING) return st;
    st = cbe_safetensors_open(&file, c->path, err);
    if (st == CBE_OK) st = cbe_checkpoint_compare(c, file, err);
    for (size_t i = 0; i < c->n_layers && st == CBE_OK; i++) {
        st = load_layer(c, file, c->layers[i], &c->loaded[i], err);
        *n_done += st == CBE_OK && c->loaded[i].basis.n_vectors > 0;
        if (st == CBE_OK) st = load_point(c, file, c->layers[i], &c->points[i], err);
        if (st == CBE_OK) *n_vectors += c->points[i].view.n_vectors;
    }
    cbe_safetensors_close(file);
    return st;
}
