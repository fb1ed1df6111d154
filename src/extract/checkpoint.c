/*
 * checkpoint.c - what an extraction has found so far in a safetensors file; see
 * extract/checkpoint.h.
 *
 * Metadata: what the run is of, each part by a name that an error can give. Tensors, all float64
 * but where said:
 *
 *   layers.<i>.vectors [n, d], .records [n, R], .reports [n, 5], .times [3]
 *     layers that are done
 *   points.<i>.vectors [n, d], .records [n, R], .random [4] int64,
 *     .runner_ups [m, d], .runner_up_energies [m], .runner_up_kinds [m] int64
 *     layers in work, after n vectors: one, or one of each group of processes
 *
 * A record is a row of numbers in the order of its fields: counts are exact in them.
 */
#include "extract/checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "extract/group_messages.h"
#include "extract/run_identity.h"
#include "formats/safetensors.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"

enum {
    SINGLE = 9, /* fields of a record that are not lists */
    RECORD = SINGLE + 2 * CBE_MAXIMA_LISTED + 2 * CBE_N_START_KINDS,
    REPORT = 5,
    TIMES = 3,
    PER_LAYER = 4,
    PER_POINT = 6,
    NAME = 48
};
static const double COUNT_MOST = 9007199254740992.0; /* 2^53 */
/* FORM: of the metadata */
static const char FORMAT[] = "causal basis extraction, unfinished", FORM[] = "2";
static const char format_key[] = "format", form_key[] = "form of the record",
                  version_key[] = "version of cbe";

struct cbe_checkpoint {
    char *path;
    cbe_folder_mark folder;                  /* of path, when the run began */
    size_t n_layers, n_vectors, hidden_size; /* layers of the run; k, d */
    cbe_run_identity identity;
    size_t n_done;
    const cbe_layer_result **done; /* (n_layers), borrowed */
    size_t n_loaded;
    /* (n_layers): read and not yet taken; basis.n_vectors is 0 in those that were */
    cbe_layer_result *loaded;
    size_t *layers; /* (n_layers) of the run */
    /* (n_layers): where they stood, read or heard of, unless they are done */
    cbe_stored_point *points;
    cbe_processes *run; /* not NULL: rank 0 of these writes, and is told */
};

/* Not the options that say where and how fast, nor the paths of inputs, which are known by their
 * content. */
static bool matters(const char *option)
{
    static const char *const others[] = {"output", "threads", "memory",        "resume",
                                         "text",   "tokens",  "hidden-states", "decoder",
                                         "init",   "model",   "divide"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(option, others[i]) == 0) return false;
    return true;
}

/* Options by which a result is decided on; a lens that lies in files is known by them. */
static cbe_status describe_options(cbe_run_identity *out, const cbe_run_record *record,
                                   cbe_error *err)
{
    static const char tuned[] = "tuned=";
    cbe_run_option *options =
        cbe_alloc(record->n_options, sizeof *options, "record of the run", err);
    if (!options) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < record->n_options; i++) {
        options[i] = record->options[i];
        if (strcmp(options[i].name, "lens") == 0 &&
            strncmp(options[i].value, tuned, strlen(tuned)) == 0)
            options[i].value = "tuned";
    }
    const cbe_status st =
        cbe_run_identity_add_options(out, record->n_options, options, matters, err);
    cbe_free(options);
    return st;
}

/* A list of layers may be too long for its option's value. */
static cbe_status describe_layers(cbe_run_identity *out, size_t n, const size_t *layers,
                                  cbe_error *err)
{
    enum { DIGITS = 22 };
    size_t used = 0;
    char *list = cbe_alloc(n + 1, DIGITS, "record of the run", err);
    if (!list) return CBE_ERR_NOMEM;
    list[0] = 0;
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(list + used, DIGITS, "%s%zu", i ? "," : "", layers[i]);
    const cbe_status st = cbe_run_identity_add(out, "list of layers", list, err);
    cbe_free(list);
    return st;
}

static cbe_status describe(cbe_run_identity *out, const cbe_run_record *record, size_t n_layers,
                           const size_t *layers, cbe_error *err)
{
    const struct {
        const char *key, *text; /* text NULL: the count */
        size_t count;
    } plain[] = {{format_key, FORMAT, 0},
                 {form_key, FORM, 0},
                 {version_key, CBE_VERSION, 0},
                 {"instruction set", record->kernels, 0},
                 {"keeping of logits", record->logits, 0},
                 {"number of tokens", NULL, record->n_tokens},
                 /* which decides on the order of sums */
                 {"number of processes of a layer", NULL, record->n_processes},
                 {"number of texts", NULL, record->n_texts}};
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < sizeof plain / sizeof *plain && st == CBE_OK; i++)
        st = plain[i].text ? cbe_run_identity_add(out, plain[i].key, plain[i].text, err)
                           : cbe_run_identity_add_count(out, plain[i].key, plain[i].count, err);
    if (st == CBE_OK) st = describe_options(out, record, err);
    if (st == CBE_OK) st = describe_layers(out, n_layers, layers, err);
    return st == CBE_OK ? cbe_run_identity_add_inputs(out, record->inputs, err) : st;
}

void cbe_checkpoint_free(cbe_checkpoint *c)
{
    if (!c) return;
    cbe_run_identity_free(&c->identity);
    cbe_layer_results_free(c->loaded ? c->n_layers : 0, c->loaded);
    for (size_t i = 0; c->points && i < c->n_layers; i++) cbe_stored_point_free(&c->points[i]);
    void *owned[] = {c->path, c->done, c->loaded, c->layers, c->points, c};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
}

cbe_status cbe_checkpoint_create(cbe_checkpoint **out, const char *path,
                                 const cbe_run_record *record, size_t n_layers,
                                 const size_t *layers, size_t n_vectors, cbe_processes *run,
                                 cbe_error *err)
{
    cbe_checkpoint *c = cbe_alloc_zero(1, sizeof *c, "checkpoint", err);
    if (!c) return CBE_ERR_NOMEM;
    c->n_layers = n_layers;
    c->hidden_size = record->hidden_size;
    c->n_vectors = n_vectors ? n_vectors : record->hidden_size;
    c->path = cbe_copy_string(path, strlen(path), err);
    if (c->path) c->folder = cbe_folder_mark_of_file(c->path);
    c->done = cbe_alloc_zero(n_layers, sizeof *c->done, "checkpoint", err);
    c->loaded = cbe_alloc_zero(n_layers, sizeof *c->loaded, "checkpoint", err);
    c->layers = cbe_alloc(n_layers, sizeof *c->layers, "checkpoint", err);
    c->points = cbe_alloc_zero(n_layers, sizeof *c->points, "checkpoint", err);
    c->run = cbe_processes_rank(run) > 0 ? run : NULL;
    cbe_status st =
        c->path && c->done && c->loaded && c->layers && c->points ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) memcpy(c->layers, layers, n_layers * sizeof *layers);
    if (st == CBE_OK && !c->run) st = describe(&c->identity, record, n_layers, layers, err);
    if (st != CBE_OK) {
        cbe_checkpoint_free(c);
        return st;
    }
    *out = c;
    return CBE_OK;
}

/* Records as rows of numbers, and back. */

static void record_to_row(const cbe_vector_record *r, double *row)
{
    const double single[SINGLE] = {r->energy,
                                   (double)r->evaluations,
                                   (double)r->sample_evaluations,
                                   (double)r->starts,
                                   r->seconds,
                                   (double)r->stop,
                                   (double)r->n_maxima,
                                   (double)r->n_sample_maxima,
                                   (double)r->start};
    memcpy(row, single, sizeof single);
    row += SINGLE;
    memcpy(row, r->maxima, sizeof r->maxima);
    memcpy(row + CBE_MAXIMA_LISTED, r->sample_maxima, sizeof r->sample_maxima);
    row += 2 * CBE_MAXIMA_LISTED;
    for (size_t i = 0; i < CBE_N_START_KINDS; i++) {
        row[2 * i] = (double)r->by_kind[i].starts;
        row[2 * i + 1] = r->by_kind[i].energy;
    }
}

/* false: not a count below `end`. */
static bool to_count(double x, double end, size_t *out)
{
    if (!(x >= 0 && x < end) || x != floor(x)) return false;
    *out = (size_t)x;
    return true;
}

static bool row_to_record(const double *row, cbe_vector_record *r)
{
    size_t stop, start;
    *r = (cbe_vector_record){.energy = row[0], .seconds = row[4]};
    bool right = to_count(row[1], COUNT_MOST, &r->evaluations) &&
                 to_count(row[2], COUNT_MOST, &r->sample_evaluations) &&
                 to_count(row[3], COUNT_MOST, &r->starts) && to_count(row[5], CBE_N_STOPS, &stop) &&
                 to_count(row[6], COUNT_MOST, &r->n_maxima) &&
                 to_count(row[7], COUNT_MOST, &r->n_sample_maxima) &&
                 to_count(row[8], CBE_N_START_KINDS, &start);
    if (!right) return false;
    r->stop = (cbe_stop)stop;
    r->start = (cbe_start_kind)start;
    row += SINGLE;
    memcpy(r->maxima, row, sizeof r->maxima);
    memcpy(r->sample_maxima, row + CBE_MAXIMA_LISTED, sizeof r->sample_maxima);
    row += 2 * CBE_MAXIMA_LISTED;
    for (size_t i = 0; i < CBE_N_START_KINDS; i++) {
        right = right && to_count(row[2 * i], COUNT_MOST, &r->by_kind[i].starts);
        r->by_kind[i].energy = row[2 * i + 1];
    }
    return right;
}

/* Writing. */

/* A tensor of the file; its rows of numbers are owned where `made`. */
typedef struct {
    char name[NAME];
    cbe_dtype dtype;
    size_t n_dims, dims[2];
    const void *data;
    double *made;
} part;

static void add_part(part *parts, size_t *n, cbe_dtype dtype, size_t rows, size_t columns,
                     const void *data, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

/* columns 0: one dimension. A part without rows is left out. */
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
    double *rows = cbe_alloc(n, RECORD * sizeof *rows, "checkpoint", err);
    for (size_t i = 0; rows && i < n; i++) record_to_row(&records[i], rows + i * RECORD);
    return rows;
}

static double *report_rows(size_t n, const cbe_vector_report *reports, cbe_error *err)
{
    double *rows = cbe_alloc(n, REPORT * sizeof *rows, "checkpoint", err);
    for (size_t i = 0; rows && i < n; i++) {
        const cbe_vector_report *r = &reports[i];
        const double row[REPORT] = {r->standard_error, r->held_out_energy, r->held_out_error,
                                    r->optimal_energy, r->optimal_constant};
        memcpy(rows + i * REPORT, row, sizeof row);
    }
    return rows;
}

static double *times_row(const cbe_layer_result *result, cbe_error *err)
{
    double *row = cbe_alloc(TIMES, sizeof *row, "checkpoint", err);
    const double times[TIMES] = {result->search_seconds, result->seconds,
                                 result->basis.below_min_energy ? 1 : 0};
    if (row) memcpy(row, times, sizeof times);
    return row;
}

/* Adds a part, PREFIX.WHAT, of numbers made for it. */
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
    char layer[NAME / 2];
    snprintf(layer, sizeof layer, "layers.%zu", result->layer);
    add_part(parts, n, CBE_F64, b->n_vectors, b->hidden_size, b->vectors, "%s.vectors", layer);
    cbe_status st = add_made(parts, n, b->n_vectors, RECORD,
                             record_rows(b->n_vectors, b->records, err), layer, "records");
    if (st == CBE_OK)
        st = add_made(parts, n, b->n_vectors, REPORT,
                      report_rows(b->n_vectors, result->reports, err), layer, "reports");
    if (st == CBE_OK) st = add_made(parts, n, TIMES, 0, times_row(result, err), layer, "times");
    return st;
}

/* Numbers of a point that are made for the file. */
typedef struct {
    int64_t random[4], kinds[CBE_RUNNER_UPS_MOST];
} point_numbers;

static cbe_status list_point(part *parts, size_t *n, size_t layer, const cbe_search_point *point,
                             point_numbers *made, cbe_error *err)
{
    char prefix[NAME / 2];
    snprintf(prefix, sizeof prefix, "points.%zu", layer);
    memcpy(made->random, point->random, sizeof point->random);
    for (size_t i = 0; i < point->n_runner_ups; i++) made->kinds[i] = point->runner_up_kinds[i];
    add_part(parts, n, CBE_F64, point->n_vectors, point->hidden_size, point->vectors, "%s.vectors",
             prefix);
    const cbe_status st =
        add_made(parts, n, point->n_vectors, RECORD,
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

/* Writes the file. @param point not NULL: of that layer, in place of the one that is stored */
static cbe_status save(const cbe_checkpoint *c, size_t layer, const cbe_search_point *point,
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

static cbe_stored_point *point_of(const cbe_checkpoint *c, size_t layer)
{
    for (size_t i = 0; i < c->n_layers; i++)
        if (c->layers[i] == layer) return &c->points[i];
    return NULL;
}

cbe_status cbe_checkpoint_found(const cbe_checkpoint *c, size_t layer,
                                const cbe_search_point *point, cbe_error *err)
{
    return c->run ? cbe_tell_point(c->run, layer, point, err) : save(c, layer, point, err);
}

cbe_status cbe_checkpoint_heard(cbe_checkpoint *c, size_t layer, cbe_stored_point *point,
                                cbe_error *err)
{
    cbe_stored_point *place = point_of(c, layer);
    if (!place)
        return cbe_fail(err, CBE_ERR_INTERNAL, -1, "heard of layer %zu, which is not in the run",
                        layer);
    cbe_stored_point_free(place);
    *place = *point;
    *point = (cbe_stored_point){0};
    return save(c, 0, NULL, err);
}

cbe_status cbe_checkpoint_done(cbe_checkpoint *c, const cbe_layer_result *result, cbe_error *err)
{
    if (c->run) return cbe_tell_result(c->run, result, err);
    cbe_stored_point *place = point_of(c, result->layer);
    if (place) cbe_stored_point_free(place);
    c->done[c->n_done++] = result;
    return save(c, 0, NULL, err);
}

/* Reading. */

static const char *look_up(const void *file, const char *key)
{
    return cbe_safetensors_metadata(file, key);
}

/* Every process that searches reads the file; the one that writes it knows what the run is. */
static cbe_status compare(const cbe_checkpoint *c, const cbe_safetensors *file, cbe_error *err)
{
    const char *path = cbe_safetensors_path(file),
               *format = cbe_safetensors_metadata(file, format_key);
    const char *form = cbe_safetensors_metadata(file, form_key),
               *version = cbe_safetensors_metadata(file, version_key);
    const cbe_run_words words = {path, "the run that was interrupted had", "now", "has changed",
                                 "give the same again, or leave out " CBE_OPTION("resume")};
    if (c->run) return CBE_OK;
    if (!format || strcmp(format, FORMAT) != 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: not a checkpoint of cbe extract", path);
    if (version && strcmp(version, CBE_VERSION) != 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: %s another version of cbe: %s, now %s; %s", path,
                        words.who, version, CBE_VERSION, words.advice);
    if (!form || strcmp(form, FORM) != 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: the record of its run has the form of an earlier cbe, which cannot be "
                        "compared; leave out " CBE_OPTION("resume"),
                        path);
    return cbe_run_identity_compare(&c->identity, look_up, file, &words, err);
}

/* A float64 or int64 tensor of `columns` a row (0: one dimension) and at most `most` rows; *data is
 * borrowed, NULL where there is none. */
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

/* As find, a copy in memory of its own, of exactly n rows. */
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

/* Vectors' numbers are finite in whatever was written by a run. */
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

static cbe_status copy_records(const cbe_safetensors *file, const char *name, size_t n,
                               cbe_vector_record **out, cbe_error *err)
{
    double *rows = NULL;
    cbe_status st = copy_rows(file, name, n, RECORD, &rows, err);
    if (st == CBE_OK && !(*out = cbe_alloc_zero(n, sizeof **out, "checkpoint", err)))
        st = CBE_ERR_NOMEM;
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        if (!row_to_record(rows + i * RECORD, &(*out)[i]))
            st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                          "%s: tensor '%s': row %zu is not a vector's record",
                          cbe_safetensors_path(file), name, i);
    cbe_free(rows);
    return st;
}

/* A layer that is done; none leaves *result as it is. */
static cbe_status load_layer(const cbe_checkpoint *c, const cbe_safetensors *file, size_t layer,
                             cbe_layer_result *result, cbe_error *err)
{
    char name[NAME];
    const void *data;
    size_t n;
    double *reports = NULL, *times = NULL;
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
    if (st == CBE_OK) st = copy_rows(file, name, n, REPORT, &reports, err);
    snprintf(name, sizeof name, "layers.%zu.times", layer);
    if (st == CBE_OK) st = copy_rows(file, name, TIMES, 0, &times, err);
    if (st == CBE_OK &&
        !(result->reports = cbe_alloc(n, sizeof *result->reports, "checkpoint", err)))
        st = CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        for (size_t i = 0; i < n; i++) {
            const double *row = reports + i * REPORT;
            result->reports[i] = (cbe_vector_report){row[0], row[1], row[2], row[3], row[4]};
        }
        result->basis.n_vectors = n;
        result->basis.below_min_energy = times[2] != 0;
        result->search_seconds = times[0];
        result->seconds = times[1];
    }
    cbe_free(reports);
    cbe_free(times);
    return st;
}

/* points.<layer>.WHAT into name. */
static void name_point(char name[NAME], size_t layer, const char *what)
{
    snprintf(name, NAME, "points.%zu.%s", layer, what);
}

/* A tensor of a point into an array of exactly n rows. */
static cbe_status fill_rows(const cbe_safetensors *file, size_t layer, const char *what, size_t n,
                            size_t columns, double *to, cbe_error *err)
{
    char name[NAME];
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
    char name[NAME];
    const void *data;
    const size_t m = p->view.n_runner_ups;
    size_t rows;
    name_point(name, layer, "runner_up_kinds");
    const cbe_status st = find(file, name, CBE_I64, m, 0, &rows, &data, err);
    for (size_t i = 0; i < m && st == CBE_OK; i++) {
        int64_t kind = -1;
        /* of a file, so of any alignment */
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

/* Where a layer stood; none leaves *p as it is. */
static cbe_status load_point(const cbe_checkpoint *c, const cbe_safetensors *file, size_t layer,
                             cbe_stored_point *p, cbe_error *err)
{
    char name[NAME];
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
    /* from there only zeros would follow */
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
    if (st == CBE_OK) st = compare(c, file, err);
    for (size_t i = 0; i < c->n_layers && st == CBE_OK; i++) {
        st = load_layer(c, file, c->layers[i], &c->loaded[i], err);
        *n_done += st == CBE_OK && c->loaded[i].basis.n_vectors > 0;
        if (st == CBE_OK) st = load_point(c, file, c->layers[i], &c->points[i], err);
        if (st == CBE_OK) *n_vectors += c->points[i].view.n_vectors;
    }
    cbe_safetensors_close(file);
    return st;
}

bool cbe_checkpoint_take(cbe_checkpoint *c, size_t layer, cbe_layer_result *result)
{
    for (size_t i = 0; i < c->n_layers; i++) {
        if (c->loaded[i].layer != layer || c->loaded[i].basis.n_vectors == 0) continue;
        *result = c->loaded[i];
        c->loaded[i] = (cbe_layer_result){0};
        c->done[c->n_done++] = result;
        return true;
    }
    return false;
}

const cbe_search_point *cbe_checkpoint_point(const cbe_checkpoint *c, size_t layer)
{
    const cbe_stored_point *p = point_of(c, layer);
    return p && p->view.n_vectors ? &p->view : NULL;
}

cbe_status cbe_checkpoint_remove(cbe_checkpoint *c, cbe_error *err)
{
    if (remove(c->path) == 0) return CBE_OK;
    return cbe_fail(err, cbe_status_of_errno(errno), -1,
                    "%s: the checkpoint of a run that is done cannot be removed: %s", c->path,
                    strerror(errno));
}
