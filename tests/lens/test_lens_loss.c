/* Loss of a lens and its gradient against PyTorch and finite differences; tokens drawn; steps of
 * optimizers. */
#include "lens/loss.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lens/optimizer.h"
#include "ref/lens_ref.h"
#include "support/assert_close.h"
#include "support/golden.h"

static const char *const cases[] = {"rmsnorm", "layernorm", "softcap"};
enum { N_CASES = sizeof cases / sizeof *cases };

typedef struct {
    cbe_decoder *decoder;
    cbe_safetensors *file;
    size_t n;
    float *hidden, *last, *weight, *bias;
    int64_t *labels;
} lens_case;

static lens_case open_case(const char *name)
{
    cbe_error err = {0};
    lens_case c = {0};
    char *path = cbe_golden_path("lens_loss/%s.safetensors", name);
    cbe_tensor labels;
    size_t count;
    cbe_assert_ok(cbe_decoder_read(&c.decoder, path, NULL, &err), &err);
    cbe_assert_ok(cbe_safetensors_open(&c.file, path, &err), &err);
    c.hidden = cbe_golden_floats(c.file, "hidden", &count);
    c.n = count / c.decoder->hidden_size;
    c.last = cbe_golden_floats(c.file, "last", NULL);
    c.weight = cbe_golden_floats(c.file, "A", NULL);
    c.bias = cbe_golden_floats(c.file, "b", NULL);
    cbe_assert_ok(cbe_safetensors_get(c.file, "labels", &labels, &err), &err);
    c.labels = malloc(c.n * sizeof *c.labels);
    memcpy(c.labels, labels.data, c.n * sizeof *c.labels);
    free(path);
    return c;
}

static void close_case(lens_case *c)
{
    cbe_decoder_free(c->decoder);
    cbe_safetensors_close(c->file);
    free(c->hidden);
    free(c->last);
    free(c->weight);
    free(c->bias);
    free(c->labels);
}

/* Loss and gradients by the library. */
static double run(const lens_case *c, cbe_loss kind, float *gradient, float *sampled, cbe_rng *rng)
{
    cbe_error err = {0};
    cbe_lens_target target;
    cbe_loss_room room;
    cbe_assert_ok(cbe_lens_target_create(&target, c->decoder, kind, c->n, &err), &err);
    cbe_assert_ok(cbe_loss_room_create(&room, c->decoder, c->n, &err), &err);
    cbe_lens_target_set(&target, c->decoder, c->n, c->last, c->labels);
    const double loss = cbe_lens_loss(c->decoder, &target, (cbe_translator){c->weight, c->bias},
                                      c->n, c->hidden, &room, gradient, sampled, rng);
    cbe_loss_room_free(&room);
    cbe_lens_target_free(&target);
    return loss;
}

static void close_to(const cbe_safetensors *file, const char *kind, const char *what,
                     const float *got, size_t n)
{
    char name[32];
    double most = 0;
    snprintf(name, sizeof name, "%s.%s", kind, what);
    float *want = cbe_golden_floats(file, name, NULL);
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)want[i]));
    cbe_assert_close_f32(got, want, n, 2e-6 * most, 0, "%s", name);
    free(want);
}

static void agrees_with_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++)
        for (int kind = 0; kind < CBE_N_LOSSES; kind++) {
            lens_case c = open_case(cases[i]);
            const size_t d = c.decoder->hidden_size;
            const char *name = cbe_loss_name((cbe_loss)kind);
            char loss_name[32];
            float *gradient = malloc(c.n * d * sizeof *gradient),
                  *by_bias = calloc(d, sizeof *by_bias),
                  *by_weight = calloc(d * d, sizeof *by_weight);
            snprintf(loss_name, sizeof loss_name, "%s.loss", name);
            float *want = cbe_golden_floats(c.file, loss_name, NULL);
            const double loss = run(&c, (cbe_loss)kind, gradient, NULL, NULL),
                         wanted = (double)*want;
            cbe_assert_close(&loss, &wanted, 1, 1e-6, 1e-6, "%s %s", cases[i], loss_name);
            close_to(c.file, name, "grad_x", gradient, c.n * d);
            for (size_t n = 0; n < c.n; n++)
                for (size_t o = 0; o < d; o++) {
                    by_bias[o] += gradient[n * d + o];
                    for (size_t k = 0; k < d; k++)
                        by_weight[o * d + k] += gradient[n * d + o] * c.hidden[n * d + k];
                }
            close_to(c.file, name, "grad_b", by_bias, d);
            close_to(c.file, name, "grad_A", by_weight, d * d);
            free(want);
            free(by_weight);
            free(by_bias);
            free(gradient);
            close_case(&c);
        }
}

/* The loss as it is defined, in float64; its translated hidden states are moved by `step` in
 * component k of token n. */
static double plain_loss(const lens_case *c, cbe_loss kind, size_t token, size_t component,
                         double step)
{
    const size_t d = c->decoder->hidden_size, vocab = c->decoder->vocab_size;
    const cbe_translator none = {NULL, NULL};
    double x[64], h[64], lens[128], final[128], lse[2] = {0, 0}, loss = 0;
    for (size_t o = 0; o < d; o++) {
        h[o] = (double)c->last[token * d + o];
        x[o] = (double)c->hidden[token * d + o] + (double)c->bias[o] + (o == component ? step : 0);
        for (size_t k = 0; k < d; k++)
            x[o] += (double)c->weight[o * d + k] * (double)c->hidden[token * d + k];
    }
    cbe_lens_logits_ref(c->decoder, none, x, lens);
    cbe_lens_logits_ref(c->decoder, none, h, final);
    for (size_t t = 0; t < vocab; t++) {
        lse[0] += exp(lens[t]);
        lse[1] += exp(final[t]);
    }
    if (kind == CBE_LOSS_CE) return log(lse[0]) - lens[c->labels[token]];
    for (size_t t = 0; t < vocab; t++)
        loss += exp(final[t]) / lse[1] * ((final[t] - log(lse[1])) - (lens[t] - log(lse[0])));
    return loss;
}

static void agrees_with_finite_differences(void **state)
{
    (void)state;
    /* error step^2 times a third derivative of order 1, and 1e-16 / step */
    const double step = 1e-4;
    for (size_t i = 0; i < N_CASES; i++)
        for (int kind = 0; kind < CBE_N_LOSSES; kind++) {
            lens_case c = open_case(cases[i]);
            const size_t d = c.decoder->hidden_size;
            float *gradient = malloc(c.n * d * sizeof *gradient);
            double want = 0;
            const double loss = run(&c, (cbe_loss)kind, gradient, NULL, NULL);
            for (size_t n = 0; n < c.n; n++) {
                want += plain_loss(&c, (cbe_loss)kind, n, 0, 0);
                for (size_t k = 0; k < d; k++) {
                    const double difference = (plain_loss(&c, (cbe_loss)kind, n, k, step) -
                                               plain_loss(&c, (cbe_loss)kind, n, k, -step)) /
                                              (2 * step);
                    const double got = (double)gradient[n * d + k];
                    cbe_assert_close(&got, &difference, 1, 2e-6, 2e-6,
                                     "%s, token %zu, component %zu", cases[i], n, k);
                }
            }
            cbe_assert_close(&loss, &want, 1, 1e-5, 1e-6, "%s", cases[i]);
            free(gradient);
            close_case(&c);
        }
}

/* Tokens are drawn from q, so the gradient towards them has mean 0: checked in units of its
 * standard error. */
static void tokens_drawn_have_no_bias(void **state)
{
    (void)state;
    enum { DRAWS = 4000 };
    lens_case c = open_case("layernorm");
    const size_t d = c.decoder->hidden_size, size = c.n * d;
    float *gradient = malloc(size * sizeof *gradient), *sampled = malloc(size * sizeof *sampled);
    for (int kind = 0; kind < CBE_N_LOSSES; kind++) {
        double *sum = calloc(size, sizeof *sum), *squares = calloc(size, sizeof *squares);
        cbe_rng rng;
        cbe_rng_seed(&rng, 5);
        for (size_t draw = 0; draw < DRAWS; draw++) {
            run(&c, (cbe_loss)kind, gradient, sampled, &rng);
            for (size_t i = 0; i < size; i++) {
                sum[i] += (double)sampled[i];
                squares[i] += (double)sampled[i] * (double)sampled[i];
            }
        }
        for (size_t i = 0; i < size; i++) assert_true(fabs(sum[i]) <= 5 * sqrt(squares[i]));
        free(sum);
        free(squares);
    }
    free(gradient);
    free(sampled);
    close_case(&c);
}

/* Three steps with given gradients: PyTorch's SGD and Adam. A step's gradient is that of one token
 * whose hidden state is a unit vector: one column of G at a time would be needed, so d tokens have
 * g_n = column n times d, and h_n = e_n. */
static void steps_are_pytorchs(void **state)
{
    (void)state;
    enum { D = 16 };
    static const double rates[] = {0.3, 0.2, 0.1};
    static const cbe_optimizer_kind kinds[] = {CBE_OPTIMIZER_SGD, CBE_OPTIMIZER_ADAM};
    cbe_error err = {0};
    cbe_safetensors *file = NULL;
    char *path = cbe_golden_path("lens_loss/steps.safetensors");
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    for (size_t which = 0; which < 2; which++) {
        cbe_lens_train_options options;
        cbe_lens_train_options_init(&options);
        options.optimizer = kinds[which];
        options.momentum = 0.9;
        cbe_lens_optimizer optimizer;
        cbe_optimizer_room room;
        cbe_assert_ok(cbe_lens_optimizer_create(&optimizer, &options, D, &err), &err);
        cbe_assert_ok(cbe_optimizer_room_create(&room, D, D + 1, &err), &err);
        float *parameters = cbe_golden_floats(file, "start", NULL);
        for (size_t step = 0; step < 3; step++) {
            char name[32];
            snprintf(name, sizeof name, "gradient.%zu", step);
            float *g = cbe_golden_floats(file, name, NULL), hidden[(D + 1) * D] = {0},
                  gradient[(D + 1) * D];
            double weights[D + 1];
            for (size_t n = 0; n <= D; n++) weights[n] = 1;
            /* Token D has a hidden state of 0 and brings the bias's gradient to what it should
             * be. */
            for (size_t o = 0; o < D; o++) {
                double columns = 0;
                for (size_t n = 0; n < D; n++) {
                    gradient[n * D + o] = (D + 1) * g[o * D + n];
                    columns += (double)gradient[n * D + o];
                }
                gradient[D * D + o] = (float)((D + 1) * (double)g[D * D + o] - columns);
            }
            for (size_t n = 0; n < D; n++) hidden[n * D + n] = 1;
            assert_true(cbe_lens_optimizer_step(&optimizer, &options, step, rates[step], D + 1,
                                                hidden, weights, gradient, NULL, &room, parameters,
                                                parameters + D * D));
            free(g);
        }
        float *want = cbe_golden_floats(file, cbe_optimizer_name(kinds[which]), NULL);
        cbe_assert_close_f32(parameters, want, (D + 1) * D, 1e-5, 1e-5, "%s",
                             cbe_optimizer_name(kinds[which]));
        free(want);
        free(parameters);
        cbe_optimizer_room_free(&room);
        cbe_lens_optimizer_free(&optimizer);
    }
    cbe_safetensors_close(file);
    free(path);
}

/* What all biases have in common, 10^9, changes neither loss nor gradient; and no divergence is
 * below 0, as that of the model from itself. */
static void knows_no_common_bias(void **state)
{
    (void)state;
    for (int kind = 0; kind < CBE_N_LOSSES; kind++) {
        lens_case c = open_case("layernorm");
        const size_t d = c.decoder->hidden_size, vocab = c.decoder->vocab_size;
        float *gradient = malloc(2 * c.n * d * sizeof *gradient);
        assert_true(gradient && c.decoder->bias);
        memset(c.decoder->bias, 0, vocab * sizeof(float));
        const double want = run(&c, (cbe_loss)kind, gradient, NULL, NULL);
        for (size_t t = 0; t < vocab; t++) c.decoder->bias[t] = 1e9f;
        const double got = run(&c, (cbe_loss)kind, gradient + c.n * d, NULL, NULL);
        assert_true(got == want);
        assert_memory_equal(gradient, gradient + c.n * d, c.n * d * sizeof *gradient);
        memcpy(c.hidden, c.last, c.n * d * sizeof *c.hidden);
        memset(c.weight, 0, d * d * sizeof *c.weight);
        memset(c.bias, 0, d * sizeof *c.bias);
        if (kind == CBE_LOSS_KL) {
            const double itself = run(&c, CBE_LOSS_KL, NULL, NULL, NULL);
            assert_true(itself >= 0 && itself < 1e-5);
        }
        free(gradient);
        close_case(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_pytorch),
        cmocka_unit_test(agrees_with_finite_differences),
        cmocka_unit_test(tokens_drawn_have_no_bias),
        cmocka_unit_test(steps_are_pytorchs),
        cmocka_unit_test(knows_no_common_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
