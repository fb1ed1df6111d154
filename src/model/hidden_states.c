/* hidden_states.c - see model/hidden_states.h. */
#include "model/hidden_states.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "core/fail.h"
#include "core/finite.h"
#include "core/memory.h"
#include "formats/array_file.h"
#include "files/unnamed_array.h"

enum { LAYER_NAME = 40 }; /* of hidden_states.<i> */

struct cbe_hidden_states {
    size_t first_sequence; /* of those that are kept: cbe_hidden_states_keep */
    size_t n_sequences, context_length, hidden_size, n_blocks, end;
    float **captured;          /* (end) of (B S, d) or NULL; NULL when read from a file */
    cbe_unnamed_array spilled; /* where captured states are, if not in memory */
    cbe_array_file *file;
    char (*names)[LAYER_NAME]; /* (end) tensor names, empty where there is none */
    int64_t *ids, *derangement;
    /* Where a mask leaves tokens out: those that are left, rising, and where each sequence's begin
     * among them. */
    size_t n_kept, *kept, *starts; /* (n_kept); (n_sequences + 1); NULL without a mask */
};

void cbe_hidden_states_close(cbe_hidden_states *states)
{
    if (!states) return;
    const bool in_memory = states->captured && !states->spilled.numbers;
    for (size_t i = 0; in_memory && i < states->end; i++) cbe_free(states->captured[i]);
    cbe_free(states->captured);
    cbe_unnamed_array_close(&states->spilled);
    cbe_array_file_close(states->file);
    cbe_free(states->kept);
    cbe_free(states->starts);
    cbe_free(states->names);
    cbe_free(states->ids);
    cbe_free(states->derangement);
    cbe_free(states);
}

static int64_t *copy_int64(const void *data, size_t n, const char *what, cbe_error *err)
{
    int64_t *copy = cbe_alloc(n, sizeof *copy, what, err);
    if (copy) memcpy(copy, data, n * sizeof *copy);
    return copy;
}

/* Capturing. */

/* Sequences, their ids and their derangement. */
static cbe_status take_tokens(cbe_hidden_states *s, const cbe_tokens *tokens, cbe_error *err)
{
    const size_t n = tokens->n_sequences * tokens->context_length;
    cbe_free(s->ids);
    cbe_free(s->derangement);
    s->n_sequences = tokens->n_sequences;
    s->context_length = tokens->context_length;
    s->ids = copy_int64(tokens->ids, n, "token ids", err);
    s->derangement =
        tokens->derangement ? copy_int64(tokens->derangement, n, "derangement", err) : NULL;
    return s->ids && (s->derangement || !tokens->derangement) ? CBE_OK : CBE_ERR_NOMEM;
}

typedef struct {
    float *const *captured;         /* into memory, or */
    cbe_safetensors_writer *writer; /* into a file, or */
    cbe_unnamed_array *spilled;     /* into one without a name: */
    const size_t *tensor;           /* index of each layer there, and of the logits */
    size_t logits_tensor, hidden_size, vocab_size, context_length;
    bool (*progress)(void *context, size_t done, size_t total);
    void *context;
} capture;

/* x: numbers of n tokens from `first` on, `width` each, that go to a file. A model whose weights
 * are finite may still overflow. */
static cbe_status check_finite(const capture *c, const char *what, size_t first, size_t n,
                               size_t width, const float *x, cbe_error *err)
{
    const size_t bad = cbe_first_not_finite(x, n * width), token = first + bad / width;
    if (bad == n * width) return CBE_OK;
    return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                    "%s: sequence %zu, position %zu holds %s: the model's numbers overflow float32 "
                    "with these weights; nothing is "
                    "written",
                    what, token / c->context_length, token % c->context_length,
                    isnan(x[bad]) ? "NaN" : "infinity");
}

static cbe_status take_hidden(void *context, size_t layer, size_t first, size_t n,
                              const float *hidden, cbe_error *err)
{
    const capture *c = context;
    const size_t d = c->hidden_size;
    if (c->writer) {
        char name[LAYER_NAME];
        snprintf(name, sizeof name, "hidden_states.%zu", layer);
        const cbe_status st = check_finite(c, name, first, n, d, hidden, err);
        if (st != CBE_OK) return st;
        return cbe_safetensors_writer_put(c->writer, c->tensor[layer], first * d, n * d, hidden,
                                          err);
    }
    if (c->spilled)
        return cbe_unnamed_array_put(c->spilled, c->tensor[layer], first * d, n * d, hidden, err);
    memcpy(c->captured[layer] + first * d, hidden, n * d * sizeof *hidden);
    return CBE_OK;
}

static cbe_status take_logits(void *context, size_t first, size_t n, const float *logits,
                              cbe_error *err)
{
    const capture *c = context;
    const cbe_status st = check_finite(c, "logits", first, n, c->vocab_size, logits, err);
    if (st != CBE_OK) return st;
    return cbe_safetensors_writer_put(c->writer, c->logits_tensor, first * c->vocab_size,
                                      n * c->vocab_size, logits, err);
}

static bool take_progress(void *context, size_t done, size_t total)
{
    const capture *c = context;
    return !c->progress || c->progress(c->context, done, total);
}

/* Of the model's last layers[i] that is set on, and the tokens; states themselves are to be
 * captured. */
static cbe_status begin_capture(cbe_hidden_states **out, const cbe_model *model,
                                const cbe_tokens *tokens, const bool *layers, size_t *size,
                                cbe_error *err)
{
    const cbe_model_config *config = cbe_model_get_config(model);
    const size_t n = tokens->n_sequences * tokens->context_length, d = config->hidden_size;
    if (!cbe_mul_size(n, d, size))
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "%zu tokens of %zu numbers do not fit memory", n,
                        d);
    cbe_hidden_states *s = cbe_alloc_zero(1, sizeof *s, "hidden states", err);
    if (!s) return CBE_ERR_NOMEM;
    s->hidden_size = d;
    s->n_blocks = config->n_layers;
    for (size_t i = 0; i <= config->n_layers; i++)
        if (layers[i]) s->end = i + 1;
    s->captured = cbe_alloc_zero(s->end, sizeof *s->captured, "hidden states", err);
    const cbe_status st = s->captured ? take_tokens(s, tokens, err) : CBE_ERR_NOMEM;
    if (st != CBE_OK)
        cbe_hidden_states_close(s);
    else
        *out = s;
    return st;
}

cbe_status cbe_hidden_states_capture(cbe_hidden_states **out, const cbe_model *model,
                                     const cbe_tokens *tokens, const bool *layers,
                                     bool (*progress)(void *context, size_t done, size_t total),
                                     void *context, cbe_error *err)
{
    const cbe_model_config *config = cbe_model_get_config(model);
    size_t size;
    cbe_hidden_states *s = NULL;
    cbe_status st = begin_capture(&s, model, tokens, layers, &size, err);
    if (st != CBE_OK) return st;
    st = CBE_ERR_NOMEM;
    for (size_t i = 0; i < s->end; i++)
        if (layers[i] && !(s->captured[i] = cbe_alloc(size, sizeof(float), "hidden states", err)))
            goto done;
    capture c = {.captured = s->captured,
                 .hidden_size = config->hidden_size,
                 .context_length = tokens->context_length,
                 .progress = progress,
                 .context = context};
    const cbe_forward_sink sink = {layers, take_hidden, NULL, &c, take_progress};
    st = cbe_model_forward(model, tokens->n_sequences, tokens->context_length, tokens->ids, &sink,
                           err);
    if (st != CBE_OK) goto done;
    *out = s;
    return CBE_OK;
done:
    cbe_hidden_states_close(s);
    return st;
}

cbe_status cbe_hidden_states_spill(cbe_hidden_states **out, const char *folder,
                                   const cbe_model *model, const cbe_tokens *tokens,
                                   const bool *layers,
                                   bool (*progress)(void *context, size_t done, size_t total),
                                   void *context, cbe_error *err)
{
    const cbe_model_config *config = cbe_model_get_config(model);
    size_t size, n = 0, *place = NULL;
    cbe_hidden_states *s = NULL;
    cbe_status st = begin_capture(&s, model, tokens, layers, &size, err);
    if (st != CBE_OK) return st;
    st = CBE_ERR_NOMEM;
    if (!(place = cbe_alloc(s->end, sizeof *place, "hidden states", err))) goto done;
    for (size_t i = 0; i < s->end; i++) place[i] = layers[i] ? n++ : 0;
    cbe_unnamed_array file;
    if ((st = cbe_unnamed_array_open(&file, folder, n, size, err)) != CBE_OK) goto done;
    capture c = {.spilled = &file,
                 .tensor = place,
                 .hidden_size = config->hidden_size,
                 .progress = progress,
                 .context = context};
    const cbe_forward_sink sink = {layers, take_hidden, NULL, &c, take_progress};
    st = cbe_model_forward(model, tokens->n_sequences, tokens->context_length, tokens->ids, &sink,
                           err);
    if (st == CBE_OK) st = cbe_unnamed_array_map(&file, err);
    if (st != CBE_OK) {
        cbe_unnamed_array_close(&file);
        goto done;
    }
    s->spilled = file;
    for (size_t i = 0; i < s->end; i++)
        s->captured[i] = layers[i] ? file.numbers + place[i] * size : NULL;
    *out = s;
    s = NULL;
done:
    cbe_free(place);
    cbe_hidden_states_close(s);
    return st;
}

cbe_status cbe_hidden_states_trade(cbe_hidden_states *s, const cbe_processes *processes,
                                   const size_t *first, const cbe_tokens *tokens, size_t from,
                                   const bool *keep, cbe_error *err)
{
    const size_t size = cbe_processes_size(processes), length = s->context_length,
                 n = tokens->n_sequences * length, d = s->hidden_size;
    size_t *firsts = cbe_alloc(size + 1, sizeof *firsts, "sequences of others", err);
    size_t *wanted = cbe_alloc(n, sizeof *wanted, "sequences of others", err);
    cbe_status st = firsts && wanted ? take_tokens(s, tokens, err) : CBE_ERR_NOMEM;
    if ((st = cbe_processes_agree(processes, st, err)) != CBE_OK) goto done;
    for (size_t r = 0; r <= size; r++) firsts[r] = first[r] * length;
    for (size_t i = 0; i < n; i++) wanted[i] = from * length + i;
    for (size_t i = 0; i < s->end && st == CBE_OK; i++) {
        if (!s->captured[i]) continue;
        float *kept = keep[i] ? cbe_alloc(n, d * sizeof *kept, "hidden states", err) : NULL;
        st = cbe_processes_agree(processes, keep[i] && !kept ? CBE_ERR_NOMEM : CBE_OK, err);
        if (st == CBE_OK)
            st = cbe_processes_fetch_rows(processes, firsts, d, s->captured[i], keep[i] ? n : 0,
                                          wanted, kept, err);
        cbe_free(s->captured[i]);
        s->captured[i] = kept;
    }
    while (s->end > 0 && !s->captured[s->end - 1]) s->end--;
done:
    cbe_free(firsts);
    cbe_free(wanted);
    return st;
}

cbe_status cbe_hidden_states_save(const char *path, const cbe_model *model,
                                  const cbe_tokens *tokens, const bool *layers, bool with_logits,
                                  bool (*progress)(void *context, size_t done, size_t total),
                                  void *context, cbe_error *err)
{
    const cbe_model_config *config = cbe_model_get_config(model);
    const size_t n_layers = config->n_layers + 1, b = tokens->n_sequences,
                 s = tokens->context_length;
    const size_t d = config->hidden_size, v = config->vocab_size;
    cbe_status st = CBE_ERR_NOMEM;
    cbe_safetensors_writer *writer = NULL;
    cbe_tensor_spec *specs = cbe_alloc_zero(n_layers + 3, sizeof *specs, "hidden states", err);
    char(*names)[LAYER_NAME] = cbe_alloc(n_layers, sizeof *names, "hidden states", err);
    size_t *tensor = cbe_alloc(n_layers, sizeof *tensor, "hidden states", err);
    if (!specs || !names || !tensor) goto done;
    size_t n = 0;
    const size_t ids = n;
    specs[n++] = (cbe_tensor_spec){"input_ids", CBE_I64, 2, {b, s}};
    const size_t derangement = n;
    if (tokens->derangement) specs[n++] = (cbe_tensor_spec){"derangement", CBE_I64, 1, {b * s}};
    for (size_t i = 0; i < n_layers; i++) {
        tensor[i] = n;
        if (!layers[i]) continue;
        snprintf(names[i], sizeof names[i], "hidden_states.%zu", i);
        specs[n++] = (cbe_tensor_spec){names[i], CBE_F32, 3, {b, s, d}};
    }
    const size_t logits = n;
    if (with_logits) specs[n++] = (cbe_tensor_spec){"logits", CBE_F32, 3, {b, s, v}};
    char blocks[24];
    snprintf(blocks, sizeof blocks, "%zu", config->n_layers);
    const char *metadata[] = {"n_layers", blocks};
    if ((st = cbe_safetensors_writer_create(&writer, path, n, specs, 1, metadata, err)) != CBE_OK)
        goto done;
    if ((st = cbe_safetensors_writer_put(writer, ids, 0, b * s, tokens->ids, err)) != CBE_OK)
        goto done;
    if (tokens->derangement &&
        (st = cbe_safetensors_writer_put(writer, derangement, 0, b * s, tokens->derangement,
                                         err)) != CBE_OK)
        goto done;
    capture c = {.writer = writer,
                 .tensor = tensor,
                 .logits_tensor = logits,
                 .hidden_size = d,
                 .vocab_size = v,
                 .context_length = s,
                 .progress = progress,
                 .context = context};
    const cbe_forward_sink sink = {layers, take_hidden, with_logits ? take_logits : NULL, &c,
                                   take_progress};
    st = cbe_model_forward(model, b, s, tokens->ids, &sink, err);
    if (st == CBE_OK) {
        st = cbe_safetensors_writer_commit(writer, err);
        writer = NULL;
    }
done:
    cbe_safetensors_writer_abandon(writer);
    cbe_free(specs);
    cbe_free(names);
    cbe_free(tensor);
    return st;
}

/* Reading. */

static cbe_status read_shape(cbe_hidden_states *s, const char *path, cbe_error *err)
{
    size_t first = s->end;
    for (size_t i = 0; i < s->end; i++) {
        if (!s->names[i][0]) continue;
        cbe_tensor t;
        const cbe_status st = cbe_array_file_describe(s->file, s->names[i], &t, err);
        if (st != CBE_OK) return st;
        if (t.n_dims < 2 || t.n_dims > 3 || t.n_elements == 0)
            return cbe_fail(err, CBE_ERR_SHAPE, -1,
                            "%s: tensor '%s' has %zu dimensions and %zu elements; hidden states "
                            "are (B, S, d) or (N, d)",
                            path, s->names[i], t.n_dims, t.n_elements);
        const size_t b = t.n_dims == 3 ? t.dims[0] : 1, c = t.dims[t.n_dims - 2],
                     d = t.dims[t.n_dims - 1];
        if (first == s->end) {
            first = i;
            s->n_sequences = b;
            s->context_length = c;
            s->hidden_size = d;
        } else if (b != s->n_sequences || c != s->context_length || d != s->hidden_size) {
            return cbe_fail(err, CBE_ERR_SHAPE, -1,
                            "%s: tensors '%s' and '%s' have different shapes", path,
                            s->names[first], s->names[i]);
        }
    }
    if (first == s->end)
        return cbe_fail(
            err, CBE_ERR_FORMAT, -1,
            "%s: no tensor is called hidden_states.<layer>; make the file with cbe capture", path);
    return CBE_OK;
}

static cbe_status read_ids(cbe_hidden_states *s, const char *path, cbe_error *err)
{
    const size_t n = s->n_sequences * s->context_length;
    cbe_tensor t;
    if (!cbe_array_file_has(s->file, "input_ids")) return CBE_OK;
    const cbe_status st = cbe_array_file_integers(s->file, "input_ids", &t, &s->ids, err);
    if (st != CBE_OK) return st;
    if (t.n_dims < 1 || t.n_dims > 2 || t.n_elements != n ||
        (s->n_sequences > 1 && (t.n_dims != 2 || t.dims[0] != s->n_sequences)))
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: input_ids must be int64, one for each of the %zu hidden states", path,
                        n);
    if (t.n_dims == 2) {
        s->n_sequences = t.dims[0];
        s->context_length = t.dims[1];
    }
    return CBE_OK;
}

/* attention_mask, or mask: tokens whose entry is 0 are left out. */
static cbe_status read_mask(cbe_hidden_states *s, const char *path, cbe_error *err)
{
    const char *name = cbe_array_file_has(s->file, "attention_mask") ? "attention_mask" : "mask";
    const size_t n = s->n_sequences * s->context_length;
    int64_t *mask = NULL;
    size_t n_kept = 0;
    cbe_tensor t;
    if (!cbe_array_file_has(s->file, name)) return CBE_OK;
    cbe_status st = cbe_array_file_integers(s->file, name, &t, &mask, err);
    if (st != CBE_OK) return st;
    if (t.n_dims < 1 || t.n_dims > 2 || t.n_elements != n ||
        (t.n_dims == 2 && s->n_sequences > 1 && t.dims[0] != s->n_sequences)) {
        st =
            cbe_fail(err, CBE_ERR_SHAPE, -1,
                     "%s: %s must have one entry for each of the %zu hidden states", path, name, n);
        goto done;
    }
    if (t.n_dims == 2) {
        s->n_sequences = t.dims[0];
        s->context_length = t.dims[1];
    }
    for (size_t i = 0; i < n; i++) n_kept += mask[i] != 0;
    if (n_kept == n) goto done;
    if (n_kept == 0) {
        st = cbe_fail(err, CBE_ERR_ARG, -1, "%s: %s leaves out every token", path, name);
        goto done;
    }
    s->kept = cbe_alloc(n_kept, sizeof *s->kept, "mask", err);
    s->starts = cbe_alloc(s->n_sequences + 1, sizeof *s->starts, "mask", err);
    if (!s->kept || !s->starts) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        if (i % s->context_length == 0) s->starts[i / s->context_length] = s->n_kept;
        if (mask[i]) s->kept[s->n_kept++] = i;
    }
    s->starts[s->n_sequences] = s->n_kept;
done:
    cbe_free(mask);
    return st;
}

/* Of all tokens, or of those that a mask leaves. */
static cbe_status read_derangement(cbe_hidden_states *s, const char *path, cbe_error *err)
{
    const size_t n = s->n_sequences * s->context_length, n_left = s->kept ? s->n_kept : n;
    cbe_tensor t;
    if (!cbe_array_file_has(s->file, "derangement")) return CBE_OK;
    const cbe_status st = cbe_array_file_integers(s->file, "derangement", &t, &s->derangement, err);
    if (st != CBE_OK) return st;
    if (t.n_elements != n && t.n_elements != n_left)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: derangement must be int64, one for each of the %zu hidden states",
                        path, n_left);
    if (t.n_elements == n_left) return CBE_OK;
    cbe_free(s->derangement); /* one of tokens that are left out cannot be used */
    s->derangement = NULL;
    return CBE_OK;
}

/* i of hidden_states.<i>, or -1; four digits are more than any model has. */
static long layer_of(const char *name)
{
    static const char prefix[] = "hidden_states.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return -1;
    const char *digits = name + sizeof prefix - 1;
    const size_t length = strlen(digits);
    if (length == 0 || length > 4 || strspn(digits, "0123456789") != length) return -1;
    if (length > 1 && digits[0] == '0') return -1;
    return strtol(digits, NULL, 10);
}

/* What the only array of a .npy file is: hidden_states.<i> when the file is called so, else
 * hidden_states.0. */
static void name_single(char name[LAYER_NAME], const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const size_t length = strlen(base);
    snprintf(name, LAYER_NAME, "%.*s", length > 4 && length < LAYER_NAME ? (int)(length - 4) : 0,
             base);
    if (layer_of(name) < 0) snprintf(name, LAYER_NAME, "hidden_states.0");
}

cbe_status cbe_hidden_states_open(cbe_hidden_states **out, const char *path, cbe_error *err)
{
    char single[LAYER_NAME];
    cbe_hidden_states *s = cbe_alloc_zero(1, sizeof *s, "hidden states", err);
    if (!s) return CBE_ERR_NOMEM;
    name_single(single, path);
    cbe_status st = cbe_array_file_open(&s->file, path, single, err);
    if (st != CBE_OK) goto done;
    const size_t n = cbe_array_file_count(s->file);
    for (size_t i = 0; i < n; i++) {
        const long layer = layer_of(cbe_array_file_name(s->file, i));
        if (layer >= 0 && (size_t)layer + 1 > s->end) s->end = (size_t)layer + 1;
    }
    if (!(s->names = cbe_alloc_zero(s->end, sizeof *s->names, "hidden states", err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        const char *name = cbe_array_file_name(s->file, i);
        const long layer = layer_of(name);
        if (layer >= 0) snprintf(s->names[layer], sizeof s->names[layer], "%s", name);
    }
    const char *blocks = cbe_array_file_metadata(s->file, "n_layers");
    if (blocks) s->n_blocks = (size_t)strtoull(blocks, NULL, 10);
    if ((st = read_shape(s, path, err)) != CBE_OK) goto done;
    if ((st = read_ids(s, path, err)) != CBE_OK) goto done;
    if ((st = read_mask(s, path, err)) != CBE_OK) goto done;
    if ((st = read_derangement(s, path, err)) != CBE_OK) goto done;
    *out = s;
    return CBE_OK;
done:
    cbe_hidden_states_close(s);
    return st;
}

cbe_status cbe_hidden_states_note(const cbe_hidden_states *states, cbe_inputs *inputs,
                                  cbe_error *err)
{
    return states->file ? cbe_array_file_note(states->file, inputs, CBE_INPUT_HIDDEN_STATES, err)
                        : CBE_OK;
}

size_t cbe_hidden_states_n_sequences(const cbe_hidden_states *states)
{
    return states->n_sequences;
}

size_t cbe_hidden_states_context_length(const cbe_hidden_states *states)
{
    return states->context_length;
}

size_t cbe_hidden_states_hidden_size(const cbe_hidden_states *states)
{
    return states->hidden_size;
}

size_t cbe_hidden_states_end(const cbe_hidden_states *states)
{
    return states->end;
}

size_t cbe_hidden_states_n_blocks(const cbe_hidden_states *states)
{
    return states->n_blocks;
}

bool cbe_hidden_states_has(const cbe_hidden_states *states, size_t layer)
{
    if (layer >= states->end) return false;
    return states->captured ? states->captured[layer] != NULL : states->names[layer][0] != 0;
}

const int64_t *cbe_hidden_states_ids(const cbe_hidden_states *states)
{
    return states->ids ? states->ids + states->first_sequence * states->context_length : NULL;
}

const int64_t *cbe_hidden_states_derangement(const cbe_hidden_states *states)
{
    return states->derangement;
}

void cbe_hidden_states_keep(cbe_hidden_states *states, size_t first, size_t n)
{
    states->first_sequence += first;
    states->n_sequences = n;
}

/* Tokens that are left of sequence `i` of those kept: *first, and how many. With a mask they are
 * numbers of `kept`. */
static size_t left_of(const cbe_hidden_states *states, size_t i, size_t skip, size_t *first)
{
    const size_t s = states->context_length, b = states->first_sequence + i;
    const size_t begin = states->kept ? states->starts[b] : b * s;
    const size_t count = states->kept ? states->starts[b + 1] - begin : s;
    *first = begin + skip;
    return skip < count ? count - skip : 0;
}

static size_t token_of(const cbe_hidden_states *states, size_t i)
{
    return states->kept ? states->kept[i] : i;
}

size_t cbe_hidden_states_n_tokens(const cbe_hidden_states *states, size_t skip)
{
    size_t n = 0, first;
    if (!states->kept)
        return skip < states->context_length ? states->n_sequences * (states->context_length - skip)
                                             : 0;
    for (size_t b = 0; b < states->n_sequences; b++) n += left_of(states, b, skip, &first);
    return n;
}

/* Copies tokens one after the other, wherever they lie. */
typedef struct {
    const float *captured;    /* (B S, d), or */
    cbe_array_reader *reader; /* which stands at token `at` */
    size_t at, hidden_size;
} token_source;

static cbe_status copy_tokens(token_source *from, size_t token, size_t count, float *to,
                              cbe_error *err)
{
    const size_t d = from->hidden_size;
    cbe_status st = CBE_OK;
    if (from->captured) {
        memcpy(to, from->captured + token * d, count * d * sizeof *to);
        return CBE_OK;
    }
    if (token > from->at)
        st = cbe_array_reader_next(from->reader, (token - from->at) * d, NULL, err);
    if (st == CBE_OK) st = cbe_array_reader_next(from->reader, count * d, to, err);
    from->at = token + count;
    return st;
}

cbe_status cbe_hidden_states_read(const cbe_hidden_states *states, size_t layer, size_t skip,
                                  float *out, cbe_error *err)
{
    const size_t s = states->context_length, d = states->hidden_size;
    const char *path = states->file ? cbe_array_file_path(states->file) : "",
               *colon = states->file ? ": " : "";
    token_source from = {.hidden_size = d};
    cbe_status st = CBE_OK;
    if (!cbe_hidden_states_has(states, layer))
        return cbe_fail(err, CBE_ERR_ARG, -1, "there is no hidden_states.%zu%s%s", layer,
                        states->file ? " in " : "", path);
    if (cbe_hidden_states_n_tokens(states, skip) == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "skipping %zu positions leaves nothing of sequences of %zu", skip, s);
    if (states->file)
        st = cbe_array_reader_open(&from.reader, states->file, states->names[layer], err);
    else
        from.captured = states->captured[layer];
    for (size_t b = 0; b < states->n_sequences && st == CBE_OK; b++) {
        size_t first, n = left_of(states, b, skip, &first);
        for (size_t i = 0, run; i < n && st == CBE_OK; i += run, out += run * d) {
            /* Neighbours at once. */
            const size_t token = token_of(states, first + i);
            for (run = 1; i + run < n && token_of(states, first + i + run) == token + run;) run++;
            st = copy_tokens(&from, token, run, out, err);
            for (size_t k = 0; k < run * d && st == CBE_OK; k++)
                if (!isfinite(out[k]))
                    st = cbe_fail(
                        err, CBE_ERR_NUMERIC, -1,
                        "%s%shidden_states.%zu: sequence %zu, position %zu holds %g; hidden states "
                        "must be "
                        "finite%s",
                        path, colon, layer, (token + k / d) / s, (token + k / d) % s,
                        (double)out[k],
                        states->file ? ""
                                     : ": the model's numbers overflow float32 with these weights");
        }
    }
    cbe_array_reader_close(from.reader);
    return st;
}

cbe_status cbe_hidden_states_labels(const cbe_hidden_states *states, size_t skip, int64_t *out,
                                    cbe_error *err)
{
    const size_t s = states->context_length;
    if (!states->ids)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "objective ce needs the next tokens: the hidden-state file has no input_ids");
    for (size_t b = 0; b < states->n_sequences; b++) {
        size_t first;
        const size_t n = left_of(states, b, skip, &first);
        for (size_t i = 0; i < n; i++) {
            const size_t token = token_of(states, first + i), next = token + 1;
            const bool labelled =
                next % s != 0 &&
                (!states->kept || (i + 1 < n && states->kept[first + i + 1] == next));
            *out++ = labelled ? states->ids[next] : -1;
        }
    }
    return CBE_OK;
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median(float *x, size_t n)
{
    qsort(x, n, sizeof *x, compare_floats);
    return n % 2 ? (double)x[n / 2] : ((double)x[n / 2 - 1] + (double)x[n / 2]) / 2;
}

cbe_status cbe_hidden_states_first_norm_ratio(const cbe_hidden_states *states, size_t layer,
                                              double *ratio, cbe_error *err)
{
    const size_t d = states->hidden_size, b = states->n_sequences,
                 n = cbe_hidden_states_n_tokens(states, 0);
    float *hidden = cbe_alloc(n * d, sizeof *hidden, "hidden states", err);
    float *norms = cbe_alloc(n + b, sizeof *norms, "norms", err);
    cbe_status st =
        hidden && norms ? cbe_hidden_states_read(states, layer, 0, hidden, err) : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        float *firsts = norms + n;
        size_t n_firsts = 0;
        for (size_t i = 0; i < n; i++) {
            double norm2 = 0;
            for (size_t k = 0; k < d; k++)
                norm2 += (double)hidden[i * d + k] * (double)hidden[i * d + k];
            norms[i] = (float)sqrt(norm2);
        }
        for (size_t k = 0, at = 0; k < b; k++) {
            size_t first;
            const size_t count = left_of(states, k, 0, &first);
            if (count > 0) firsts[n_firsts++] = norms[at];
            at += count;
        }
        const double all = median(norms, n), at_first = median(firsts, n_firsts);
        *ratio = all > 0 ? at_first / all : at_first > 0 ? HUGE_VAL : 1;
    }
    cbe_free(hidden);
    cbe_free(norms);
    return st;
}
