/* hidden_states_capture.c - capturing hidden states of a model's forward pass: into memory, into a
 * file without a name, or into a hidden-state file; see model/hidden_states.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/finite.h"
#include "core/memory.h"
#include "formats/safetensors.h"
#include "model/hidden_states_private.h"

typedef struct {
    float *const *captured;         /* set to capture into memory */
    cbe_safetensors_writer *writer; /* set to write a hidden-state file */
    cbe_unnamed_array *spilled;     /* set to write a file without a name */
    const size_t *tensor;           /* index in the file of each layer, and of the logits */
    size_t logits_tensor, hidden_size, vocab_size, context_length;
    bool (*progress)(void *context, size_t done, size_t total);
    void *context;
} capture;

/* Checks x (n, width), of tokens from `first` on, before it goes to a file: a model with finite
 * weights may still overflow. */
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
        char name[CBE_LAYER_NAME];
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

/* Makes *out with the model's sizes and the tokens, ready for states to be captured. */
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
    const cbe_status st =
        s->captured ? cbe_hidden_states_take_tokens(s, tokens, err) : CBE_ERR_NOMEM;
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
    char(*names)[CBE_LAYER_NAME] = cbe_alloc(n_layers, sizeof *names, "hidden states", err);
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
