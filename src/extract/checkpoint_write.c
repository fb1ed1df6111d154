/* checkpoint_write.c - a checkpoint's file, replaced as a whole (checkpoint_state.h). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "extract/checkpoint_rows.h"
#include "extract/checkpoint_state.h"
#include "core/memory.h"

enum { PER_LAYER = 8, PER_POINT = 6 /* tensors */ };

/* A tensor of the file. `made`: owned, `data` if it was made for the file. */
typedef struct {
    char name[CBE_CHECKPOINT_NAME];
    cbe_dtype dtype;
    size_t n_dims, dims[2];
    const void *data;
    double *made;
} part;

static void add_part(part *parts, size_t *n, cbe_dtype dtype, size_t rows, size_t columns,
                     const void *data, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

/* Adds a part; columns 0: of one dimension. A part without rows is left out. */
static void add_part(part *parts, size_t *n, cbe_dtype dtype, size_t rows, size_t columns,
                     const void *data, const char *format, ...)
{
    if (rows == 0) return;
    part *p = &parts[(*n)++];
    *p = (part){.dtype = dtype, .n_dims = columns ? 2 : 1, .dims = {rows, columns}, .data = data};
    va_list args;
    va_start(args, format);
    vsnprintf(p->name, sizeof p->name, format, args);
    va_end(args);
}

static double *record_rows(size_t n, const cbe_vector_record *records, cbe_error *err)
{
    double *rows = cbe_alloc(n, CBE_ROW_RECORD * sizeof *rows, "checkpoint", err);
    for (size_t i = 0; rows && i < n; i++)
        cbe_row_of_record(&records[i], rows + i * CBE_ROW_RECORD);
    return rows;
}

static double *report_rows(size_t n, const cbe_vector_report *reports, cbe_error *err)
{
    double *rows = cbe_alloc(n, CBE_ROW_REPORT * sizeof *rows, "checkpoint", err);
    for (size_t i = 0; rows && i < n; i++)
        cbe_row_of_report(&reports[i], rows + i * CBE_ROW_REPORT);
    return rows;
}

static double *layer_row(const cbe_layer_result *result, cbe_error *err)
{
    double *row = cbe_alloc(CBE_ROW_LAYER, sizeof *row, "checkpoint", err);
    if (row) cbe_row_of_layer(result, row);
    return row;
}

/* Adds the part PREFIX.WHAT, of numbers made for it, which it then owns. */
static cbe_status add_made(part *parts, size_t *n, size_t rows, size_t columns, double *made,
                           const char *prefix, const char *what)
{
    if (!made) return CBE_ERR_NOMEM;
    add_part(parts, n, CBE_F64, rows, columns, made, "%s.%s", prefix, what);
    parts[*n - 1].made = made;
    return CBE_OK;
}

static cbe_status list_layer(part *parts, size_t *n, const cbe_layer_result *result, cbe_error *err)
{
    const cbe_basis *b = &result->basis;
    char layer[CBE_CHECKPOINT_NAME / 2];
    snprintf(layer, sizeof layer, "layers.%zu", result->layer);
    add_part(parts, n, CBE_F64, b->n_vectors, b->hidden_size, b->vectors, "%s.vectors", layer);
    cbe_status st = add_made(parts, n, b->n_vectors, CBE_ROW_RECORD,
                             record_rows(b->n_vectors, b->records, err), layer, "records");
    if (st == CBE_OK)
        st = add_made(parts, n, b->n_vectors, CBE_ROW_REPORT,
                      report_rows(b->n_vectors, result->reports, err), layer, "reports");
    if (st == CBE_OK)
        st = add_made(parts, n, CBE_N_CONTROLS, CBE_ROW_REPORT,
                      report_rows(CBE_N_CONTROLS, result->controls, err), layer, "controls");
    if (st == CBE_OK)
        st = add_made(parts, n, CBE_ROW_LAYER, 0, layer_row(result, err), layer, "numbers");
    add_part(parts, n, CBE_F64, result->mean ? b->hidden_size : 0, 0, result->mean, "%s.mean",
             layer);
    add_part(parts, n, CBE_F64, result->read ? b->n_vectors : 0, b->hidden_size, result->read,
             "%s.read", layer);
    add_part(parts, n, CBE_F64, result->write ? b->n_vectors : 0, b->hidden_size, result->write,
             "%s.write", layer);
    return st;
}

/* Numbers of a point in the types of the file. */
typedef struct {
    int64_t random[4], kinds[CBE_RUNNER_UPS_MOST];
} point_numbers;

static cbe_status list_point(part *parts, size_t *n, size_t layer, const cbe_search_point *point,
                             point_numbers *made, cbe_error *err)
{
    char prefix[CBE_CHECKPOINT_NAME / 2];
    snprintf(prefix, sizeof prefix, "points.%zu", layer);
    memcpy(made->random, point->random, sizeof point->random);
    for (size_t i = 0; i < point->n_runner_ups; i++) made->kinds[i] = point->runner_up_kinds[i];
    add_part(parts, n, CBE_F64, point->n_vectors, point->hidden_size, point->vectors, "%s.vectors",
             prefix);
    const cbe_status st =
        add_made(parts, n, point->n_vectors, CBE_ROW_RECORD,
                 record_rows(point->n_vectors, point->records, err), prefix, "records");
    if (st != CBE_OK) return st;
    add_part(parts, n, CBE_I64, 4, 0, made->random, "%s.random", prefix);
    add_part(parts, n, CBE_F64, point->n_runner_ups, point->hidden_size, point->runner_ups,
             "%s.runner_ups", prefix);
    add_part(parts, n, CBE_F64, point->n_runner_ups, 0, point->runner_up_energies,
             "%s.runner_up_energies", prefix);
    add_part(parts, n, CBE_I64, point->n_runner_ups, 0, made->kinds, "%s.runner_up_kinds", prefix);
    return CBE_OK;
}

static cbe_status write_parts(const cbe_checkpoint *c, size_t n, const part *parts, cbe_error *err)
{
    cbe_safetensors_writer *writer = NULL;
    const size_t n_pairs = c->identity.n;
    const char **metadata = cbe_alloc(n_pairs, 2 * sizeof *metadata, "checkpoint", err);
    cbe_tensor_spec *specs = cbe_alloc(n + 1, sizeof *specs, "checkpoint", err);
    cbe_status st = metadata && specs ? CBE_OK : CBE_ERR_NOMEM;
    if (st != CBE_OK) goto done;
    for (size_t i = 0; i < 2 * n_pairs; i++) metadata[i] = c->identity.texts[i];
    for (size_t i = 0; i < n; i++)
        specs[i] = (cbe_tensor_spec){
            parts[i].name, parts[i].dtype, parts[i].n_dims, {parts[i].dims[0], parts[i].dims[1]}};
    st = cbe_folder_mark_check_file(&c->folder, c->path, err);
    if (st == CBE_OK)
        st = cbe_safetensors_writer_create(&writer, c->path, n, specs, n_pairs, metadata, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        st = cbe_safetensors_writer_put(
            writer, i, 0, parts[i].dims[0] * (parts[i].n_dims == 2 ? parts[i].dims[1] : 1),
            parts[i].data, err);
    if (st == CBE_OK) {
        st = cbe_safetensors_writer_commit(writer, err);
        writer = NULL;
    }
done:
    cbe_safetensors_writer_abandon(writer);
    cbe_free(metadata);
    cbe_free(specs);
    return st;
}

cbe_status cbe_checkpoint_save(const cbe_checkpoint *c, size_t layer, const cbe_search_point *point,
                               cbe_error *err)
{
    size_t n = 0;
    part *parts = cbe_alloc_zero(PER_LAYER * c->n_done + PER_POINT * c->n_layers, sizeof *parts,
                                 "checkpoint", err);
    point_numbers *made = cbe_alloc(c->n_layers, sizeof *made, "checkpoint", err);
    cbe_status st = parts && made ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < c->n_done && st == CBE_OK; i++)
        st = list_layer(parts, &n, c->done[i], err);
    for (size_t i = 0; i < c->n_layers && st == CBE_OK; i++) {
        const cbe_search_point *at = point && c->layers[i] == layer ? point : &c->points[i].view;
        if (at->n_vectors) st = list_point(parts, &n, c->layers[i], at, &made[i], err);
    }
    if (st == CBE_OK) st = write_parts(c, n, parts, err);
    for (size_t i = 0; i < n; i++) cbe_free(parts[i].made);
    cbe_free(parts);
    cbe_free(made);
    return st;
}
