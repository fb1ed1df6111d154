/* capture.c - see capture.h. */
#include "support/capture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/golden.h"

cbe_status take_hidden(void *context, size_t layer, size_t first, size_t n_tokens,
                       const float *hidden, cbe_error *err)
{
    capture *c = context;
    (void)err;
    assert_true(layer <= c->n_layers && first + n_tokens <= c->n_tokens);
    memcpy(c->hidden + (layer * c->n_tokens + first) * c->hidden_size, hidden,
           n_tokens * c->hidden_size * sizeof(float));
    return ++c->hidden_calls == c->stop_after ? c->answer : CBE_OK;
}

cbe_status take_logits(void *context, size_t first, size_t n_tokens, const float *logits,
                       cbe_error *err)
{
    capture *c = context;
    (void)err;
    assert_int_equal(first, c->next_logit);
    c->next_logit += n_tokens;
    assert_true(c->next_logit <= c->n_tokens);
    memcpy(c->logits + first * c->vocab_size, logits, n_tokens * c->vocab_size * sizeof(float));
    return ++c->logit_calls == c->stop_after ? c->answer : CBE_OK;
}

bool take_progress(void *context, size_t done, size_t total)
{
    capture *c = context;
    assert_true(done > c->last_done && done <= total);
    c->last_done = done;
    c->total = total;
    return ++c->progress_calls != c->stop_after;
}

void capture_init(capture *c, const cbe_model *model, size_t n_tokens)
{
    const cbe_model_config *config = cbe_model_get_config(model);
    *c = (capture){.n_tokens = n_tokens,
                   .hidden_size = config->hidden_size,
                   .vocab_size = config->vocab_size,
                   .n_layers = config->n_layers};
    c->hidden = calloc((config->n_layers + 1) * n_tokens * config->hidden_size, sizeof(float));
    c->logits = calloc(n_tokens * config->vocab_size, sizeof(float));
    c->layers = malloc((config->n_layers + 1) * sizeof(bool));
    assert_true(c->hidden && c->logits && c->layers);
    for (size_t i = 0; i <= config->n_layers; i++) c->layers[i] = true;
}

void capture_free(capture *c)
{
    free(c->hidden);
    free(c->logits);
    free(c->layers);
}

cbe_forward_sink sink_of(capture *c)
{
    return (cbe_forward_sink){
        .layers = c->layers, .hidden = take_hidden, .logits = take_logits, .context = c};
}

double largest(const float *x, size_t n)
{
    double top = 0;
    for (size_t i = 0; i < n; i++) top = fmax(top, fabs((double)x[i]));
    return top;
}

cbe_model *open_model(const char *path)
{
    cbe_error err;
    cbe_model *model = NULL;
    cbe_assert_ok(cbe_model_open(&model, path, &err), &err);
    return model;
}

cbe_safetensors *open_golden(const char *path)
{
    cbe_error err;
    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    return file;
}

void capture_run(capture *c, const cbe_model *model, size_t n_sequences, size_t context_length,
                 const int64_t *ids)
{
    cbe_error err;
    capture_init(c, model, n_sequences * context_length);
    const cbe_forward_sink sink = sink_of(c);
    cbe_assert_ok(cbe_model_forward(model, n_sequences, context_length, ids, &sink, &err), &err);
    assert_int_equal(c->next_logit, c->n_tokens);
}

void compare_with_golden(const cbe_model *model, const char *golden_path, const char *prefix,
                         double hidden_tolerance, double logit_tolerance)
{
    cbe_safetensors *golden = open_golden(golden_path);
    size_t n_sequences, context_length, count;
    int64_t *ids = cbe_golden_ids(golden, "input_ids", &n_sequences, &context_length);
    capture got;
    capture_run(&got, model, n_sequences, context_length, ids);

    char name[64];
    const size_t layer_size = got.n_tokens * got.hidden_size;
    for (size_t i = 0; i <= got.n_layers; i++) {
        snprintf(name, sizeof name, "%shidden_states.%zu", prefix, i);
        if (!cbe_safetensors_has(golden, name)) continue;
        float *want = cbe_golden_floats(golden, name, &count);
        assert_int_equal(count, layer_size);
        cbe_assert_close_f32(got.hidden + i * layer_size, want, count,
                             hidden_tolerance * largest(want, count), 0, "%s %s", golden_path,
                             name);
        free(want);
    }
    snprintf(name, sizeof name, "%slogits", prefix);
    float *want = cbe_golden_floats(golden, name, &count);
    assert_int_equal(count, got.n_tokens * got.vocab_size);
    cbe_assert_close_f32(got.logits, want, count, logit_tolerance, 0, "%s %s", golden_path, name);
    free(want);
    free(ids);
    capture_free(&got);
    cbe_safetensors_close(golden);
}
