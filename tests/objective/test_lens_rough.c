/*
 * Rough evaluations through a lens: energies and gradients are those of a decoder that has the
 * likely entries of the vocabulary alone, by the float64 twin; the exact ones stay exact, whatever
 * order a layer gives the vocabulary.
 */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "objective/lens/objective.h"
#include "ref/lens_ref.h"
#include "support/assert_close.h"
#include "support/random.h"

enum { N = 40, D = 12, V = 20000, M = 3, LIKELY = 4096, COMMON = 3000 };

static cbe_error err;

/* Two layers' states, and a vocabulary of which every layer gives probability to few entries,
 * others each. */
typedef struct {
    float hidden[2][N * D], gamma[D], beta[D], unembedding[V * D], bias[V];
    int64_t derangement[N], labels[N];
    double v[M * D];
} data;

static data *make_data(void)
{
    data *x = malloc(sizeof *x);
    cbe_test_random r = {11};
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < N * D; i++)
            x->hidden[l][i] = (float)((i % D == 0 ? (l ? 3 : -3) : 0) + cbe_test_normal(&r));
    for (size_t k = 0; k < D; k++) x->gamma[k] = (float)(1 + 0.2 * cbe_test_normal(&r));
    for (size_t k = 0; k < D; k++) x->beta[k] = (float)(0.1 * cbe_test_normal(&r));
    for (size_t i = 0; i < V * D; i++) x->unembedding[i] = (float)(0.6 * cbe_test_normal(&r));
    for (size_t t = 0; t < V; t++) {
        const bool common = t % (V / COMMON) == 0;
        x->bias[t] = (float)((common ? 4 : -3.5) + cbe_test_normal(&r));
        /* likely in one layer more than in the other */
        if (common) x->unembedding[t * D] = (float)(t % 4 < 2 ? 1.5 : -1.5);
    }
    for (size_t i = 0; i < N; i++) x->derangement[i] = (int64_t)((i + 7) % N);
    for (size_t i = 0; i < N; i++) x->labels[i] = (int64_t)(i * 31);
    for (size_t j = 0; j < M * D; j++) x->v[j] = cbe_test_normal(&r) / sqrt(D);
    return x;
}

static cbe_decoder decoder_of(data *x, cbe_norm norm, double cap)
{
    return (cbe_decoder){D, V, norm, 1e-5, cap, x->gamma, x->beta, x->unembedding, x->bias};
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

static int rising_entry(const void *a, const void *b)
{
    const rank *x = a, *y = b;
    return x->entry < y->entry ? -1 : x->entry > y->entry;
}

/* The decoder without all but the LIKELY entries of the largest mean probability; its memory is the
 * caller's. */
static cbe_decoder likely_decoder(const cbe_decoder *whole, const float *hidden, float *unembedding,
                                  float *bias)
{
    static rank ranks[V];
    static double logits[V];
    double state[D], mass = 0;
    for (size_t t = 0; t < V; t++) ranks[t] = (rank){0, t};
    for (size_t n = 0; n < N; n++) {
        double sum = 0, top = -HUGE_VAL;
        for (size_t k = 0; k < D; k++) state[k] = (double)hidden[n * D + k];
        cbe_lens_logits_ref(whole, (cbe_translator){NULL, NULL}, state, logits);
        for (size_t t = 0; t < V; t++) top = fmax(top, logits[t]);
        for (size_t t = 0; t < V; t++) sum += exp(logits[t] - top);
        for (size_t t = 0; t < V; t++) ranks[t].p += exp(logits[t] - top) / sum / N;
    }
    qsort(ranks, V, sizeof *ranks, falling);
    for (size_t i = 0; i < LIKELY; i++) mass += ranks[i].p;
    assert_true(mass > 0.99 && mass < 0.9999); /* what is left out shows */
    qsort(ranks, LIKELY, sizeof *ranks, rising_entry);
    for (size_t i = 0; i < LIKELY; i++) {
        memcpy(unembedding + i * D, whole->unembedding + ranks[i].entry * D,
               D * sizeof *unembedding);
        bias[i] = whole->bias[ranks[i].entry];
    }
    cbe_decoder few = *whole;
    few.vocab_size = LIKELY;
    few.unembedding = unembedding;
    few.bias = bias;
    return few;
}

static void compare(cbe_objective *objective, const cbe_decoder *decoder,
                    const cbe_lens_options *options, const float *hidden, const cbe_metric *metric,
                    const double *v, double relative, const char *what)
{
    double energy[M], grad[M * D], want_grad[D];
    cbe_assert_ok(cbe_objective_eval(objective, M, v, energy, grad, NULL, &err), &err);
    for (size_t j = 0; j < M; j++) {
        double largest = 0;
        const double want =
            cbe_lens_energy_ref(decoder, options, hidden, (cbe_translator){NULL, NULL}, metric,
                                v + j * D, 0, NULL, want_grad);
        for (size_t k = 0; k < D; k++) largest = fmax(largest, fabs(want_grad[k]));
        cbe_assert_close(&energy[j], &want, 1, 1e-6, relative, "%s, energy %zu, norm %d, cap %g",
                         what, j, (int)decoder->norm, decoder->logit_softcap);
        cbe_assert_close(grad + j * D, want_grad, D, 10 * relative * largest, 0, "%s, gradient %zu",
                         what, j);
    }
}

static void rough__energies_are_those_of_the_likely_entries(void **state)
{
    (void)state;
    data *x = make_data();
    float *unembedding = malloc(LIKELY * D * sizeof *unembedding),
          *bias = malloc(LIKELY * sizeof *bias);
    static const int variants[] = {0, 3, 5, 6}; /* bits: norm, cap, ablation */
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        const int variant = variants[i];
        const cbe_metric half = {.strength = 0.5}, *metric = i % 2 ? &half : NULL;
        const cbe_decoder decoder =
            decoder_of(x, variant & 1 ? CBE_NORM_LAYER : CBE_NORM_RMS, variant & 2 ? 30 : 0);
        const cbe_lens_options options = {.n_tokens = N,
                                          .ablation =
                                              variant & 4 ? CBE_ABLATE_RESAMPLE : CBE_ABLATE_MEAN,
                                          .kind = CBE_LOSS_KL,
                                          .derangement = x->derangement,
                                          .max_batch = M,
                                          .storage = (cbe_logit_storage)(i % CBE_N_LOGIT_STORAGES)};
        const double relative = options.storage == CBE_LOGITS_FLOAT16 ? 1e-3 : 1e-5;
        cbe_objective *objective;
        cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
        for (size_t layer = 0; layer < 3; layer++) { /* the first again at the end */
            const float *hidden = x->hidden[layer % 2];
            const cbe_decoder few = likely_decoder(&decoder, hidden, unembedding, bias);
            cbe_assert_ok(cbe_lens_objective_set_layer(objective, hidden,
                                                       (cbe_translator){NULL, NULL}, metric, &err),
                          &err);
            compare(objective, &decoder, &options, hidden, metric, x->v, relative,
                    "exact at first");
            assert_true(cbe_objective_set_rough(objective, true));
            compare(objective, &few, &options, hidden, metric, x->v, relative, "rough");
            assert_false(cbe_objective_set_rough(objective, false));
            compare(objective, &decoder, &options, hidden, metric, x->v, relative, "exact again");
            cbe_objective_set_rough(objective, true);
        }
        cbe_objective_free(objective);
    }
    free(unembedding);
    free(bias);
    free(x);
}

static void rough__of_a_sample_is_the_mean_over_its_tokens(void **state)
{
    (void)state;
    data *x = make_data();
    const cbe_decoder decoder = decoder_of(x, CBE_NORM_RMS, 0);
    const cbe_lens_options options = {.n_tokens = N, .max_batch = M};
    cbe_objective *objective;
    double energy[M], sample[M], per_token[M * N];
    cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
    cbe_assert_ok(cbe_lens_objective_set_layer(objective, x->hidden[0],
                                               (cbe_translator){NULL, NULL}, NULL, &err),
                  &err);
    cbe_objective_set_rough(objective, true);
    cbe_assert_ok(cbe_objective_eval(objective, M, x->v, energy, NULL, per_token, &err), &err);
    cbe_objective_set_sample(objective, N / 4); /* is as rough as before */
    cbe_assert_ok(cbe_objective_eval(objective, M, x->v, sample, NULL, NULL, &err), &err);
    for (size_t j = 0; j < M; j++) {
        double want = 0;
        for (size_t i = 0; i < N / 4; i++) want += per_token[j * N + 4 * i] / (N / 4);
        cbe_assert_close(&sample[j], &want, 1, 1e-12, 1e-9, "direction %zu", j);
    }
    cbe_objective_free(objective);
    free(x);
}

static void rough__has_the_same_bits_for_any_threads_and_layers_before(void **state)
{
    (void)state;
    data *x = make_data();
    const cbe_decoder decoder = decoder_of(x, CBE_NORM_RMS, 0);
    const cbe_lens_options options = {.n_tokens = N, .max_batch = M};
    double energy[3][2 * M], grad[3][2 * M * D];
    const int before = omp_get_max_threads();
    for (int run = 0; run < 3; run++) {
        cbe_objective *objective;
        omp_set_num_threads(run == 1 ? 3 : 1);
        cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
        if (run == 2)
            cbe_assert_ok(cbe_lens_objective_set_layer(objective, x->hidden[1],
                                                       (cbe_translator){NULL, NULL}, NULL, &err),
                          &err);
        cbe_assert_ok(cbe_lens_objective_set_layer(objective, x->hidden[0],
                                                   (cbe_translator){NULL, NULL}, NULL, &err),
                      &err);
        for (int rough = 0; rough < 2; rough++) {
            cbe_objective_set_rough(objective, rough);
            cbe_assert_ok(cbe_objective_eval(objective, M, x->v, energy[run] + rough * M,
                                             grad[run] + rough * M * D, NULL, &err),
                          &err);
        }
        cbe_objective_free(objective);
    }
    omp_set_num_threads(before);
    for (int run = 1; run < 3; run++) {
        assert_memory_equal(energy[run], energy[0], sizeof *energy);
        assert_memory_equal(grad[run], grad[0], sizeof *grad);
    }
    free(x);
}

/* With ce, with a small vocabulary, and where a quarter of a large one has too little: exact ones
 * stay in force. */
static void rough__is_refused_where_it_cannot_be(void **state)
{
    (void)state;
    data *x = make_data();
    for (int variant = 0; variant < 3; variant++) {
        cbe_decoder decoder = decoder_of(x, CBE_NORM_RMS, 0);
        const cbe_lens_options options = {.n_tokens = N,
                                          .kind = variant == 0 ? CBE_LOSS_CE : CBE_LOSS_KL,
                                          .labels = x->labels,
                                          .max_batch = M};
        if (variant == 1) decoder.vocab_size = 4 * LIKELY - 1;
        for (size_t t = 0; variant == 2 && t < V; t++) x->bias[t] = 0;
        cbe_objective *objective;
        cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
        cbe_assert_ok(cbe_lens_objective_set_layer(objective, x->hidden[0],
                                                   (cbe_translator){NULL, NULL}, NULL, &err),
                      &err);
        assert_false(cbe_objective_set_rough(objective, true));
        compare(objective, &decoder, &options, x->hidden[0], NULL, x->v, 1e-5, "exact");
        cbe_objective_free(objective);
    }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rough__energies_are_those_of_the_likely_entries),
        cmocka_unit_test(rough__of_a_sample_is_the_mean_over_its_tokens),
        cmocka_unit_test(rough__has_the_same_bits_for_any_threads_and_layers_before),
        cmocka_unit_test(rough__is_refused_where_it_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
