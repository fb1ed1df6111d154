/* The covariance of a run's layer: of which tokens it is, what the objective does with it, and what
 * is refused. */
#include "extract/layer_objective.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbe/cbe.h"
#include "model/decoder.h"
#include "core/held_out.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/random.h"

enum { B = 8, S = 12, N = B * S, D = 10, V = 40, LAYER = 2 };

static cbe_error err;

typedef struct {
    float hidden[N * D], gamma[D], unembedding[V * D];
    cbe_decoder decoder;
    cbe_hidden_states *states;
    cbe_extraction_options options;
} fixture;

static void make(fixture *f, double spread)
{
    cbe_test_random r = {5};
    memset(f, 0, sizeof *f);
    for (size_t i = 0; i < N * D; i++)
        f->hidden[i] = (float)(2 + spread * cbe_test_normal(&r) / (double)(1 + i % D));
    for (size_t k = 0; k < D; k++) f->gamma[k] = 1;
    for (size_t i = 0; i < V * D; i++) f->unembedding[i] = (float)cbe_test_normal(&r);
    f->decoder = (cbe_decoder){.hidden_size = D,
                               .vocab_size = V,
                               .norm = CBE_NORM_RMS,
                               .norm_eps = 1e-5,
                               .gamma = f->gamma,
                               .unembedding = f->unembedding};
    cbe_assert_ok(cbe_hidden_states_create(&f->states, B, S, D, &err), &err);
    cbe_assert_ok(cbe_hidden_states_set(f->states, LAYER, f->hidden, false, &err), &err);
    cbe_extraction_options_init(&f->options);
}

static cbe_layer_objective *objective_of(const fixture *f)
{
    cbe_layer_objective *o = NULL;
    cbe_assert_ok(cbe_layer_objective_create(&o, f->states, &f->decoder, &f->options, &err), &err);
    return o;
}

/* Through a lens and in the whole model: bytes told, and memory that is refused. */
static void covariance__counts_in_memory(void **state)
{
    (void)state;
    static fixture f;
    make(&f, 1);
    char *path = cbe_golden_path("models/llama");
    cbe_model *model = open_model(path);
    free(path);
    const cbe_model_config *config = cbe_model_get_config(model);
    int64_t ids[B * S] = {0};
    for (size_t i = 0; i < B * S; i++) ids[i] = (int64_t)(i * i * 7 % config->vocab_size);
    const cbe_tokens tokens = {.n_sequences = B, .context_length = S, .ids = ids};
    bool layers[16] = {[1] = true};
    layers[config->n_layers] = true;
    cbe_hidden_states *states = NULL;
    cbe_assert_ok(cbe_hidden_states_capture(&states, model, &tokens, layers, NULL, NULL, &err),
                  &err);
    for (int whole = 0; whole < 2; whole++) {
        const cbe_hidden_states *of = whole ? states : f.states;
        const cbe_decoder *decoder = whole ? cbe_model_decoder(model) : &f.decoder;
        size_t bytes[2];
        f.options.model = whole ? model : NULL;
        f.options.memory = 0;
        for (int covariance = 0; covariance < 2; covariance++) {
            f.options.covariance = covariance;
            cbe_layer_objective *o = NULL;
            cbe_assert_ok(cbe_layer_objective_create(&o, of, decoder, &f.options, &err), &err);
            cbe_layer_objective_storage(o, &bytes[covariance]);
            cbe_layer_objective_free(o);
        }
        assert_int_equal(bytes[1] - bytes[0],
                         cbe_covariance_bytes(cbe_hidden_states_hidden_size(of)));
        /* The least that does: a little less is refused with the covariance, not without. */
        size_t low = 1, high = bytes[1];
        while (low + 1 < high) {
            cbe_layer_objective *o = NULL;
            f.options.memory = (low + high) / 2;
            const cbe_status st = cbe_layer_objective_create(&o, of, decoder, &f.options, &err);
            cbe_layer_objective_free(o);
            *(st == CBE_OK ? &high : &low) = f.options.memory;
        }
        cbe_layer_objective *o = NULL;
        f.options.memory = low;
        assert_int_equal(cbe_layer_objective_create(&o, of, decoder, &f.options, &err),
                         CBE_ERR_ARG);
        f.options.covariance = false;
        cbe_assert_ok(cbe_layer_objective_create(&o, of, decoder, &f.options, &err), &err);
        cbe_layer_objective_free(o);
    }
    cbe_hidden_states_close(states);
    cbe_hidden_states_close(f.states);
    cbe_model_close(model);
}

static void covariance__is_of_tokens_neither_skipped_nor_held_out(void **state)
{
    (void)state;
    static fixture f;
    make(&f, 1);
    f.options.covariance = true;
    f.options.skip_positions = 1;
    f.options.held_out = 0.25;
    cbe_layer_objective *o = objective_of(&f);
    cbe_objective *layer;
    cbe_assert_ok(cbe_layer_objective_set(o, LAYER, &layer, &err), &err);
    cbe_covariance_block blocks[B];
    size_t n = 0;
    for (size_t b = 0; b < B; b++)
        if (!cbe_is_held_out(b, 2, B))
            blocks[n++] = (cbe_covariance_block){S - 1, f.hidden + (b * S + 1) * D};
    assert_int_equal(n, 6);
    cbe_covariance *want = NULL;
    cbe_assert_ok(cbe_covariance_create(&want, D, n, blocks, NULL, &err), &err);
    const cbe_covariance *got = cbe_layer_objective_covariance(o);
    assert_non_null(got);
    assert_int_equal(got->n_tokens, want->n_tokens);
    assert_memory_equal(got->mean, want->mean, D * sizeof *got->mean);
    assert_memory_equal(got->values, want->values, D * sizeof *got->values);
    assert_memory_equal(got->components, want->components, D * D * sizeof *got->components);
    assert_true(cbe_metric_is_plain(cbe_layer_objective_metric(o)));
    cbe_covariance_free(want);
    cbe_layer_objective_free(o);
    f.options.covariance = false;
    o = objective_of(&f);
    cbe_assert_ok(cbe_layer_objective_set(o, LAYER, &layer, &err), &err);
    assert_null(cbe_layer_objective_covariance(o));
    cbe_layer_objective_free(o);
    cbe_hidden_states_close(f.states);
}

static void metric__is_that_of_the_layer(void **state)
{
    (void)state;
    static fixture f;
    make(&f, 1);
    f.options.metric = CBE_METRIC_COVARIANCE;
    f.options.ridge = 0.01;
    f.options.strength = 0.75;
    cbe_layer_objective *o = objective_of(&f);
    cbe_objective *layer, *lens = NULL;
    cbe_assert_ok(cbe_layer_objective_set(o, LAYER, &layer, &err), &err);
    cbe_covariance_block blocks[B];
    for (size_t b = 0; b < B; b++) blocks[b] = (cbe_covariance_block){S, f.hidden + b * S * D};
    cbe_covariance *c = NULL;
    cbe_assert_ok(cbe_covariance_create(&c, D, B, blocks, NULL, &err), &err);
    const cbe_metric metric = {c, 0.01, 0.75};
    const cbe_lens_options lens_options = {.n_tokens = N, .sequence_tokens = S};
    cbe_assert_ok(cbe_lens_objective_create(&lens, &f.decoder, &lens_options, &err), &err);
    cbe_assert_ok(cbe_lens_objective_set_layer(lens, f.hidden, (cbe_translator){0}, &metric, &err),
                  &err);
    double u[D], got, want, grad[D], want_grad[D];
    for (size_t k = 0; k < D; k++) u[k] = sin((double)k + 1);
    cbe_assert_ok(cbe_objective_eval(layer, 1, u, &got, grad, NULL, &err), &err);
    cbe_assert_ok(cbe_objective_eval(lens, 1, u, &want, want_grad, NULL, &err), &err);
    assert_memory_equal(&got, &want, sizeof got);
    assert_memory_equal(grad, want_grad, sizeof grad);
    cbe_objective_free(lens);
    cbe_covariance_free(c);
    cbe_layer_objective_free(o);
    cbe_hidden_states_close(f.states);
}

static void within__more_than_states_span_is_refused(void **state)
{
    (void)state;
    static fixture f;
    cbe_layer_objective *o = NULL;
    make(&f, 1);
    f.options.within = D + 1;
    assert_int_equal(cbe_layer_objective_create(&o, f.states, &f.decoder, &f.options, &err),
                     CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "states have 10 dimensions"));
    f.options.within = 7;
    f.options.skip_positions = S - 1; /* 8 tokens, 2 of them held out */
    f.options.held_out = 0.25;
    assert_int_equal(cbe_layer_objective_create(&o, f.states, &f.decoder, &f.options, &err),
                     CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "6 tokens are searched, which span 5 dimensions"));
    assert_null(o);
    /* The last four entries are the same in all states. */
    f.options.skip_positions = 0;
    f.options.held_out = 0;
    for (size_t i = 0; i < N * D; i++)
        if (i % D >= 6) f.hidden[i] = 1.5f;
    cbe_hidden_states_close(f.states);
    cbe_assert_ok(cbe_hidden_states_create(&f.states, B, S, D, &err), &err);
    cbe_assert_ok(cbe_hidden_states_set(f.states, LAYER, f.hidden, false, &err), &err);
    cbe_objective *layer;
    o = objective_of(&f);
    assert_int_equal(cbe_layer_objective_set(o, LAYER, &layer, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "layer 2 vary in 6 dimensions alone"));
    cbe_layer_objective_free(o);
    f.options.within = 6;
    o = objective_of(&f);
    cbe_assert_ok(cbe_layer_objective_set(o, LAYER, &layer, &err), &err);
    cbe_layer_objective_free(o);
    cbe_hidden_states_close(f.states);
}

/* Auto, of `vary` entries that vary: a half of them, if that is two for each vector. */
static void check_auto(size_t n_vectors, size_t vary, size_t want)
{
    static fixture f;
    cbe_objective *layer;
    make(&f, 1);
    for (size_t i = 0; i < N * D; i++)
        if (i % D >= vary) f.hidden[i] = 1.5f;
    cbe_hidden_states_close(f.states);
    cbe_assert_ok(cbe_hidden_states_create(&f.states, B, S, D, &err), &err);
    cbe_assert_ok(cbe_hidden_states_set(f.states, LAYER, f.hidden, false, &err), &err);
    f.options.within = CBE_WITHIN_AUTO;
    f.options.search.n_vectors = n_vectors;
    cbe_layer_objective *o = objective_of(&f);
    assert_int_equal(cbe_layer_objective_within(o), cbe_within_auto(n_vectors, D));
    cbe_assert_ok(cbe_layer_objective_set(o, LAYER, &layer, &err), &err);
    assert_int_equal(cbe_layer_objective_within(o), want);
    cbe_layer_objective_free(o);
    cbe_hidden_states_close(f.states);
}

static void within__auto_follows_what_layers_vary_in(void **state)
{
    (void)state;
    check_auto(2, D, 5);
    check_auto(3, D, 0);
    check_auto(2, 8, 4);
    check_auto(2, 7, 0);
    check_auto(1, 4, 2);
    check_auto(1, 0, 0);
    check_auto(0, D, 0);
    /* Many dimensions: 64, and two for each of many vectors. */
    assert_int_equal(cbe_within_auto(8, 576), 64);
    assert_int_equal(cbe_within_auto(40, 576), 80);
    assert_int_equal(cbe_within_auto(144, 576), 288);
    assert_int_equal(cbe_within_auto(145, 576), 0);
    assert_int_equal(cbe_within_auto(8, 100), 50);
    assert_int_equal(cbe_within_auto(SIZE_MAX, SIZE_MAX), 0);
}

static void metric__of_states_that_do_not_vary_is_refused(void **state)
{
    (void)state;
    static fixture f;
    make(&f, 0);
    f.options.metric = CBE_METRIC_COVARIANCE;
    cbe_layer_objective *o = objective_of(&f);
    cbe_objective *layer;
    assert_int_equal(cbe_layer_objective_set(o, LAYER, &layer, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "do not vary"));
    cbe_layer_objective_free(o);
    cbe_hidden_states_close(f.states);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covariance__counts_in_memory),
        cmocka_unit_test(covariance__is_of_tokens_neither_skipped_nor_held_out),
        cmocka_unit_test(metric__is_that_of_the_layer),
        cmocka_unit_test(within__more_than_states_span_is_refused),
        cmocka_unit_test(within__auto_follows_what_layers_vary_in),
        cmocka_unit_test(metric__of_states_that_do_not_vary_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
