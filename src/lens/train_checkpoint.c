/*
 * train_checkpoint.c - a training's state in a safetensors file: the members that train_state.h
 * marks are tensors, and the metadata identify the run, each part under a name that errors can
 * give.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"
#include "files/sha256.h"
#include "lens/train_state.h"

enum {
    VALUE = 80,
    N_DIGESTS = sizeof((cbe_train_state *)0)->digests / CBE_SHA256_TEXT,
    N_KEYS = N_DIGESTS + 17,
    PER_LAYER = 8
};

/* Metadata: first the values that must agree, then the values from which a run continues. */
typedef struct {
    const char *keys[N_KEYS];
    char values[N_KEYS][VALUE];
    size_t n;
} record;

static void put(record *r, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void put(record *r, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    r->keys[r->n] = key;
    vsnprintf(r->values[r->n++], VALUE, format, args);
    va_end(args);
}

static void hash_floats(struct sha256_ctx *context, size_t n, const float *numbers)
{
    if (numbers) sha256_update(context, n * sizeof *numbers, (const uint8_t *)numbers);
}

/* Takes the digests of the model (its decoder and, if known, the digests of its files), of the
 * token ids and of the initial lens, once. */
static void take_digests(cbe_train_state *s)
{
    const cbe_decoder *decoder = s->decoder;
    const cbe_inputs *inputs = s->options->inputs;
    const size_t d = s->hidden_size;
    struct sha256_ctx context;
    if (s->digests[0][0]) return;
    sha256_init(&context);
    hash_floats(&context, decoder->vocab_size * d, decoder->unembedding);
    hash_floats(&context, d, decoder->gamma);
    hash_floats(&context, d, decoder->beta);
    hash_floats(&context, decoder->vocab_size, decoder->bias);
    for (size_t i = 0; inputs && i < inputs->n; i++)
        if (inputs->files[i].role == CBE_INPUT_MODEL)
            sha256_update(&context, CBE_SHA256_TEXT, (const uint8_t *)inputs->files[i].sha256);
    cbe_sha256_end(&context, s->digests[0]);
    cbe_sha256_bytes(s->ids, s->n_text * s->context_length * sizeof *s->ids, s->digests[1]);
    sha256_init(&context);
    for (size_t i = 0; s->init && i < s->n_layers; i++) {
        hash_floats(&context, d * d, s->init->weight[i]);
        if (s->init->bias) hash_floats(&context, d, s->init->bias[i]);
    }
    cbe_sha256_end(&context, s->digests[2]);
}

static void describe(record *r, cbe_train_state *s)
{
    static const char *const names[N_DIGESTS] = {"model", "text", "init"};
    const cbe_lens_train_options *o = s->options;
    *r = (record){.n = 0};
    take_digests(s);
    for (size_t i = 0; i < N_DIGESTS; i++) put(r, names[i], "%s", s->digests[i]);
    put(r, "version of cbe", "%s", CBE_VERSION);
    put(r, "context-length", "%zu", s->context_length);
    put(r, "loss", "%s", cbe_loss_name(o->loss));
    put(r, "start", "%s", cbe_lens_start_name(o->start));
    put(r, "optimizer", "%s", cbe_optimizer_name(o->optimizer));
    put(r, "rate", "%.17g", o->rate);
    put(r, "momentum", "%.17g", o->momentum);
    put(r, "damping", "%.17g", o->damping);
    put(r, "ridge", "%.17g", o->ridge);
    put(r, "positions", "%.17g", o->positions);
    put(r, "step-tokens", "%zu", o->step_tokens);
    put(r, "held-out", "%.17g", o->held_out);
    put(r, "held-out-tokens", "%zu", o->held_out_tokens);
    put(r, "seed", "%" PRIu64, o->seed);
}

/* A tensor of the file: its name, number of elements and memory. */
typedef struct {
    char name[64];
    cbe_dtype dtype;
    size_t count;
    void *data;
} part;

static void add_part(part *parts, size_t *n, cbe_dtype dtype, size_t count, void *data,
                     const char *format, ...) __attribute__((format(printf, 6, 7)));

static void add_part(part *parts, size_t *n, cbe_dtype dtype, size_t count, void *data,
                     const char *format, ...)
{
    if (!data) return;
    va_list args;
    va_start(args, format);
    part *p = &parts[(*n)++];
    vsnprintf(p->name, sizeof p->name, format, args);
    va_end(args);
    p->dtype = dtype;
    p->count = count;
    p->data = data;
}

/* Lists all tensors, in allocated memory; curvature weights are gathered in `weights`
 * (n_layers). */
static part *list_parts(const cbe_train_state *s, double *weights, double *scales, size_t *n,
                        cbe_error *err)
{
    const size_t d = s->hidden_size, rows = s->pool;
    part *parts =
        cbe_alloc(s->n_layers + 1, PER_LAYER * sizeof *parts, "parts of a checkpoint", err);
    *n = 0;
    if (!parts) return NULL;
    for (size_t i = 0; i < s->n_layers; i++) {
        cbe_lens_optimizer *o = &s->optimizers[i];
        add_part(parts, n, CBE_F32, d * d, s->lens->weight[i], "%zu.weight", i);
        add_part(parts, n, CBE_F32, d, s->lens->bias[i], "%zu.bias", i);
        add_part(parts, n, CBE_F32, (d + 1) * d, o->momentum, "%zu.momentum", i);
        add_part(parts, n, CBE_F32, (d + 1) * d, o->second, "%zu.second", i);
        add_part(parts, n, CBE_F32, d * d, o->inverse, "%zu.inverse", i);
        add_part(parts, n, CBE_F32, d, o->mean, "%zu.mean", i);
        add_part(parts, n, CBE_F64, d * d, o->curvature, "%zu.curvature", i);
        add_part(parts, n, CBE_F32, rows * d, s->rows[i], "%zu.pending", i);
    }
    add_part(parts, n, CBE_F32, rows * d, s->rows[s->n_layers], "%zu.pending", s->n_layers);
    add_part(parts, n, CBE_I64, rows, s->labels, "labels");
    add_part(parts, n, CBE_F64, s->n_steps * s->n_layers, s->losses, "losses");
    add_part(parts, n, CBE_F64, s->n_layers, s->logit, "logit");
    add_part(parts, n, CBE_F64, s->n_layers, s->start, "start");
    add_part(parts, n, CBE_F64, s->n_layers, weights, "curvature_weights");
    add_part(parts, n, CBE_F64, s->n_layers, scales, "bias_scales");
    return parts;
}

cbe_status cbe_train_checkpoint_save(cbe_train_state *s, cbe_error *err)
{
    record r;
    size_t n = 0;
    describe(&r, s);
    put(&r, "step", "%zu", s->step);
    put(&r, "next-sequence", "%zu", s->next_sequence);
    put(&r, "pending", "%zu", s->pending);
    const char *metadata[2 * N_KEYS];
    for (size_t i = 0; i < r.n; i++) {
        metadata[2 * i] = r.keys[i];
        metadata[2 * i + 1] = r.values[i];
    }
    double *numbers = cbe_alloc(s->n_layers, 2 * sizeof *numbers, "numbers of a checkpoint", err);
    part *parts = numbers ? list_parts(s, numbers, numbers + s->n_layers, &n, err) : NULL;
    cbe_tensor_spec *specs =
        parts ? cbe_alloc(n, sizeof *specs, "tensors of a checkpoint", err) : NULL;
    cbe_safetensors_writer *writer = NULL;
    cbe_status st = specs ? CBE_OK : CBE_ERR_NOMEM;
    if (st != CBE_OK) goto done;
    for (size_t i = 0; i < s->n_layers; i++) {
        numbers[i] = s->optimizers[i].curvature_weight;
        numbers[s->n_layers + i] = s->optimizers[i].bias_scale;
    }
    for (size_t i = 0; i < n; i++)
        specs[i] = (cbe_tensor_spec){parts[i].name, parts[i].dtype, 1, {parts[i].count}};
    st = cbe_folder_mark_check_file(&s->folder, s->options->checkpoint, err);
    if (st == CBE_OK)
        st = cbe_safetensors_writer_create(&writer, s->options->checkpoint, n, specs, r.n, metadata,
                                           err);
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        st = cbe_safetensors_writer_put(writer, i, 0, parts[i].count, parts[i].data, err);
    if (st == CBE_OK) {
        st = cbe_safetensors_writer_commit(writer, err);
        writer = NULL;
    }
done:
    cbe_safetensors_writer_abandon(writer);
    cbe_free(specs);
    cbe_free(parts);
    cbe_free(numbers);
    return st;
}

static cbe_status compare(const cbe_safetensors *file, const record *r, cbe_error *err)
{
    for (size_t i = 0; i < r->n; i++) {
        const char *value = cbe_safetensors_metadata(file, r->keys[i]);
        if (!value)
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            i == 0 ? "%s: not a checkpoint of cbe lens train: it has no '%s'"
                                   : "%s: a checkpoint of another version of cbe: it has no '%s'; "
                                     "leave out " CBE_OPTION("resume"),
                            cbe_safetensors_path(file), r->keys[i]);
        if (strcmp(value, r->values[i]) == 0) continue;
        const bool hash = i < N_DIGESTS; /* digests are not shown: they tell a reader nothing */
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: the checkpoint is of another run: its %s is %s%s%s%s; give the same "
                        "again, or leave out " CBE_OPTION("resume"),
                        cbe_safetensors_path(file), r->keys[i], hash ? "another" : value,
                        hash ? "" : ", not ", hash ? "" : r->values[i], "");
    }
    return CBE_OK;
}

/* Reads a count of at most `most` from the metadata. */
static cbe_status read_count(const cbe_safetensors *file, const char *key, size_t most, size_t *out,
                             cbe_error *err)
{
    const char *text = cbe_safetensors_metadata(file, key);
    char *end = NULL;
    const unsigned long long value =
        text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || *end || value > most)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: '%s' is %.40s, must be a number up to %zu",
                        cbe_safetensors_path(file), key, text ? text : "missing", most);
    *out = (size_t)value;
    return CBE_OK;
}

static cbe_status read_part(const cbe_safetensors *file, const part *p, cbe_error *err)
{
    cbe_tensor tensor;
    cbe_status st = cbe_safetensors_get(file, p->name, &tensor, err);
    if (st == CBE_OK)
        st = cbe_tensor_expect(&tensor, cbe_safetensors_path(file), 1, &p->count, err);
    if (st != CBE_OK) return st;
    if (tensor.dtype != p->dtype)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s' is of another type than a checkpoint's",
                        cbe_safetensors_path(file), p->name);
    const size_t size = p->dtype == CBE_F32 ? sizeof(float) : sizeof(double);
    memcpy(p->data, tensor.data, p->count * size);
    return CBE_OK;
}

cbe_status cbe_train_checkpoint_load(cbe_train_state *s, bool *found, cbe_error *err)
{
    cbe_path_kind kind;
    cbe_safetensors *file = NULL;
    record r;
    size_t n = 0, step, next, pending;
    double *numbers = NULL;
    part *parts = NULL;
    cbe_status st;
    *found = false;
    if ((st = cbe_path_look(s->options->checkpoint, &kind, err)) != CBE_OK) return st;
    if (!(*found = kind != CBE_PATH_NOTHING)) return CBE_OK;
    describe(&r, s);
    if ((st = cbe_safetensors_open(&file, s->options->checkpoint, err)) != CBE_OK) goto done;
    if ((st = compare(file, &r, err)) != CBE_OK) goto done;
    if ((st = read_count(file, "step", s->n_steps, &step, err)) != CBE_OK) goto done;
    if ((st = read_count(file, "next-sequence", s->n_sequences, &next, err)) != CBE_OK) goto done;
    if ((st = read_count(file, "pending", s->pool - 1, &pending, err)) != CBE_OK) goto done;
    st = CBE_ERR_NOMEM;
    if (!(numbers = cbe_alloc(s->n_layers, 2 * sizeof *numbers, "numbers of a checkpoint", err)))
        goto done;
    if (!(parts = list_parts(s, numbers, numbers + s->n_layers, &n, err))) goto done;
    st = CBE_OK;
    for (size_t i = 0; i < n && st == CBE_OK; i++) st = read_part(file, &parts[i], err);
    for (size_t i = 0; i < s->pool && st == CBE_OK; i++)
        if (s->labels[i] < 0 || (uint64_t)s->labels[i] >= s->decoder->vocab_size)
            st = cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: label %zu is not a token of the model",
                          s->options->checkpoint, i);
    if (st != CBE_OK) goto done;
    for (size_t i = 0; i < s->n_layers; i++) {
        s->optimizers[i].curvature_weight = numbers[i];
        s->optimizers[i].bias_scale = numbers[s->n_layers + i];
    }
    s->step = step;
    s->next_sequence = next;
    s->pending = pending;
done:
    cbe_free(parts);
    cbe_free(numbers);
    cbe_safetensors_close(file);
    return st;
}
