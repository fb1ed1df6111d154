/*
 * Rough evaluations through a lens whose distributions are flat: energies and gradients are those
 * of a decoder that has the likeliest entries, and some of the others as often as there are entries
 * for each, by the float64 twin; and they are near the exact ones.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "objective/lens/objective.h"
#include "objective/lens/rules.h"
#include "ref/lens_ref.h"
#include "support/assert_close.h"
#include "support/random.h"

enum {
    N = 12,
    D = 8,
    V = 34000,
    M = 3,
    CLASSES = 4,
    PRIME = 7919,
    LIKELY = CBE_LENS_FLAT_LIKELY,
    OTHERS = CBE_LENS_FLAT_OTHERS,
    ROUGH = LIKELY + OTHERS
};

static cbe_error err;

typedef struct {
    float hidden[N * D], gamma[D], unembedding[V * D], bias[V];
    double v[M * D];
} data;

/* Mean probabilities must differ by more than float rounds, or twin and program would rank entries
 * differently: all states have one length and one first component, which alone tells entries of a
 * class apart, at even distances. There are CLASSES classes. */
static data *make_data(void)
{
    data *x = malloc(sizeof *x);
    float rows[CLASSES * D];
    cbe_test_random r = {17};
    for (size_t i = 0; i < N * D; i++)
        x->hidden[i] = i % D == 0 ? 2 : cbe_test_normal(&r) > 0 ? 1 : -1;
    for (size_t k = 0; k < D; k++) x->gamma[k] = 1;
    for (size_t i = 0; i < CLASSES * D; i++) rows[i] = (float)(0.5 * cbe_test_normal(&r));
    for (size_t t = 0; t < V; t++) {
        memcpy(x->unembedding + t * D, rows + t % CLASSES * D, D * sizeof *rows);
        x->unembedding[t * D] = (float)(2.5 * (double)(t * PRIME % V) / V);
        x->bias[t] = (float)(t % CLASSES) / 3;
    }
    for (size_t j = 0; j < M * D; j++) x->v[j] = cbe_test_normal(&r) / sqrt(D);
    return x;
}

typedef struct {
    double p;
    size_t entry;
} rank;

static int falling(const void *a, const void *b)
{
    const rank *x = a, *y = b;
    return x->p > y->p ? -1 : x->p < y->p;
}

/* Mean probabilities, the largest first. */
static rank *ranks_of(const cbe_decoder *decoder, const float *hidden)
{
    rank *ranks = calloc(V, sizeof *ranks);
    double *logits = malloc(V * sizeof *logits), state[D];
    for (size_t t = 0; t < V; t++) ranks[t].entry = t;
    for (size_t n = 0; n < N; n++) {
        double sum = 0;
        for (size_t k = 0; k < D; k++) state[k] = (double)hidden[n * D + k];
        cbe_lens_logits_ref(decoder, (cbe_translator){NULL, NULL}, state, logits);
        for (size_t t = 0; t < V; t++) sum += exp(logits[t]);
        for (size_t t = 0; t < V; t++) ranks[t].p += exp(logits[t]) / sum / N;
    }
    qsort(ranks, V, sizeof *ranks, falling);
    free(logits);
    return ranks;
}

static void compare(cbe_objective *objective, const cbe_decoder *decoder,
                    const cbe_lens_options *options, const data *x, double relative,
                    const char *what)
{
    double energy[M], grad[M * D], want_grad[D];
    cbe_assert_ok(cbe_objective_eval(objective, M, x->v, energy, grad, NULL, &err), &err);
    for (size_t j = 0; j < M; j++) {
        double largest = 0;
        const double want =
            cbe_lens_energy_ref(decoder, options, x->hidden, (cbe_translator){NULL, NULL}, NULL,
                                x->v + j * D, 0, NULL, want_grad);
        for (size_t k = 0; k < D; k++) largest = fmax(largest, fabs(want_grad[k]));
        cbe_assert_close(&energy[j], &want, 1, 1e-6, relative, "%s, energy %zu", what, j);
        cbe_assert_close(grad + j * D, want_grad, D, 10 * relative * largest, 0, "%s, gradient %zu",
                         what, j);
    }
}

/* @param biased  whether the decoder has logits' offsets of its own */
static void check(bool biased)
{
    data *x = make_data();
    const cbe_decoder decoder = {.hidden_size = D,
                                 .vocab_size = V,
                                 .norm = CBE_NORM_RMS,
                                 .norm_eps = 1e-5,
                                 .gamma = x->gamma,
                                 .unembedding = x->unembedding,
                                 .bias = biased ? x->bias : NULL};
    const cbe_lens_options options = {
        .n_tokens = N, .ablation = CBE_ABLATE_MEAN, .kind = CBE_LOSS_KL, .max_batch = M};
    rank *ranks = ranks_of(&decoder, x->hidden);
    double mass = 0;
    for (size_t i = 0; i < V / CBE_LENS_LIKELY_SHARE; i++) mass += ranks[i].p;
    assert_true(mass < 0.95);

    float *unembedding = malloc(ROUGH * D * sizeof *unembedding),
          *bias = malloc(ROUGH * sizeof *bias);
    for (size_t i = 0; i < ROUGH; i++) {
        const double step = (double)(V - LIKELY) / OTHERS;
        const size_t place =
            i < LIKELY ? i : LIKELY + (size_t)floor(((double)(i - LIKELY) + 0.5) * step);
        const size_t entry = ranks[place].entry;
        memcpy(unembedding + i * D, x->unembedding + entry * D, D * sizeof *unembedding);
        bias[i] = (float)((biased ? (double)x->bias[entry] : 0) + (i < LIKELY ? 0 : log(step)));
    }
    cbe_decoder few = decoder;
    few.vocab_size = ROUGH;
    few.unembedding = unembedding;
    few.bias = bias;

    cbe_objective *objective;
    cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
    for (int again = 0; again < 2; again++) {
        cbe_assert_ok(cbe_lens_objective_set_layer(objective, x->hidden,
                                                   (cbe_translator){NULL, NULL}, NULL, &err),
                      &err);
        compare(objective, &decoder, &options, x, 1e-5, "exact");
        assert_true(cbe_objective_set_rough(objective, true));
        compare(objective, &few, &options, x, 1e-5, "rough");
        compare(objective, &decoder, &options, x, 0.02, "rough beside exact");
        assert_false(cbe_objective_set_rough(objective, false));
        compare(objective, &decoder, &options, x, 1e-5, "exact again");
    }
    cbe_objective_free(objective);
    free(unembedding);
    free(bias);
    free(ranks);
    free(x);
}

static void rough__others_stand_for_the_rest(void **state)
{
    (void)state;
    check(false);
}

static void rough__others_keep_their_offsets(void **state)
{
    (void)state;
    check(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rough__others_stand_for_the_rest),
        cmocka_unit_test(rough__others_keep_their_offsets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
