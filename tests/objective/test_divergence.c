/* Final norm, unembedding, cap, softmax and loss in one, against their definition in float64 and
 * its differences. */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "objective/divergence.h"
#include "core/memory.h"
#include "support/random.h"

/* Three chunks of the vocabulary and a part; two panels of rows and more. */
enum { D = 24, V = 6500, ROWS = 1100, CHECKED = 3, PARTS = 6 /* of a gradient */ };

static cbe_error err;

typedef struct {
    cbe_decoder decoder;
    cbe_loss kind;
    int64_t labels[ROWS];
    float *clean, *ablated; /* (ROWS, D) */
} problem;

static float *random_floats(size_t n, uint64_t seed, double scale)
{
    cbe_test_random r = {seed};
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (float)(scale * cbe_test_normal(&r));
    return x;
}

/* sharp: logits of hundreds, so that the largest rises by more than exp can bear from chunk to
 * chunk. */
static void make(problem *p, cbe_norm norm, double cap, bool bias, cbe_loss kind, bool sharp)
{
    *p = (problem){.kind = kind,
                   .decoder = {.hidden_size = D,
                               .vocab_size = V,
                               .norm = norm,
                               .norm_eps = 1e-5,
                               .logit_softcap = cap}};
    p->decoder.gamma = random_floats(D, 1, sharp ? 40 : 0.5);
    p->decoder.beta = norm == CBE_NORM_LAYER ? random_floats(D, 2, 0.5) : NULL;
    p->decoder.unembedding = random_floats(V * D, 3, 1);
    p->decoder.bias = bias ? random_floats(V, 4, 1) : NULL;
    p->clean = random_floats(ROWS * D, 5, 3);
    p->ablated = random_floats(ROWS * D, 6, 1);
    for (size_t i = 0; i < ROWS * D; i++) p->ablated[i] += p->clean[i];
    for (size_t i = 0; i < ROWS; i++) p->labels[i] = (int64_t)(i * 6007 % V);
    p->labels[0] = V - 1;
}

static void destroy(problem *p)
{
    float *owned[] = {p->decoder.gamma, p->decoder.beta, p->decoder.unembedding,
                      p->decoder.bias,  p->clean,        p->ablated};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

/* log softmax of a row, as it reads. */
static void log_probs(const cbe_decoder *o, const double *h, double *out)
{
    double mean = 0, square = 0, top = -INFINITY, sum = 0;
    for (size_t k = 0; k < D && o->norm == CBE_NORM_LAYER; k++) mean += h[k] / D;
    for (size_t k = 0; k < D; k++) square += (h[k] - mean) * (h[k] - mean) / D;
    for (size_t t = 0; t < V; t++) {
        out[t] = o->bias ? (double)o->bias[t] : 0;
        for (size_t k = 0; k < D; k++)
            out[t] += (double)o->unembedding[t * D + k] *
                      ((h[k] - mean) / sqrt(square + o->norm_eps) * (double)o->gamma[k] +
                       (o->beta ? (double)o->beta[k] : 0));
        if (o->logit_softcap > 0) out[t] = o->logit_softcap * tanh(out[t] / o->logit_softcap);
        top = fmax(top, out[t]);
    }
    for (size_t t = 0; t < V; t++) sum += exp(out[t] - top);
    for (size_t t = 0; t < V; t++) out[t] -= top + log(sum);
}

static double plain(const problem *p, size_t row, const double *ablated)
{
    static double log_p[V], log_q[V];
    double clean[D], sum = 0;
    for (size_t k = 0; k < D; k++) clean[k] = (double)p->clean[row * D + k];
    log_probs(&p->decoder, clean, log_p);
    log_probs(&p->decoder, ablated, log_q);
    if (p->kind == CBE_LOSS_CE) return log_p[p->labels[row]] - log_q[p->labels[row]];
    for (size_t t = 0; t < V; t++) sum += exp(log_p[t]) * (log_p[t] - log_q[t]);
    return sum;
}

/* Rows are given in reverse, at places of their own. */
static void evaluate(const problem *p, double *energy, float *grad)
{
    cbe_divergence *o = NULL;
    cbe_divergence_item items[ROWS];
    for (size_t i = 0; i < ROWS; i++) items[i] = (cbe_divergence_item){i, i};
    cbe_assert_ok(cbe_divergence_create(&o, &p->decoder, p->kind, ROWS, p->labels, &err), &err);
    cbe_memory_fail_after(0);
    cbe_assert_ok(cbe_divergence_set_clean(o, items, p->clean, &err), &err);
    for (size_t i = 0; i < ROWS; i++) items[i] = (cbe_divergence_item){ROWS - 1 - i, ROWS - 1 - i};
    cbe_divergence_eval(o, ROWS, items, p->ablated, energy, grad);
    cbe_memory_fail_after(-1);
    cbe_divergence_free(o);
}

static void compare(cbe_norm norm, double cap, bool bias, cbe_loss kind, bool sharp)
{
    problem p;
    make(&p, norm, cap, bias, kind, sharp);
    double *energy = malloc(2 * ROWS * sizeof *energy), *alone = energy + ROWS;
    float *grad = malloc(ROWS * D * sizeof *grad);
    assert_true(energy && grad);
    evaluate(&p, energy, grad);
    evaluate(&p, alone, NULL);
    assert_memory_equal(energy, alone, ROWS * sizeof *energy);
    /* of two logits, of 900 at most where they are sharp, which float32 rounds */
    const double size = sharp ? 1800 : 8;
    for (size_t i = 0; i < CHECKED; i++) {
        const size_t row = i * (ROWS - 1) / (CHECKED - 1);
        double h[D], want_grad[PARTS], got_grad[PARTS], top = 0;
        for (size_t k = 0; k < D; k++) h[k] = (double)p.ablated[row * D + k];
        const double want = plain(&p, row, h);
        for (size_t k = 0; k < PARTS; k++) {
            double side[2];
            for (int s = 0; s < 2; s++) {
                h[k] += s ? -2e-4 : 1e-4;
                side[s] = plain(&p, row, h);
            }
            h[k] += 1e-4;
            want_grad[k] = (side[0] - side[1]) / 2e-4;
            got_grad[k] = (double)grad[row * D + k];
            top = fmax(top, fabs(want_grad[k]));
        }
        cbe_assert_close(&energy[ROWS - 1 - row], &want, 1, 5e-7 * size, 1e-6, "energy of row %zu",
                         row);
        /* Differences of 1e-4 are off by the third derivative, a sharp softmax's is large. */
        cbe_assert_close(got_grad, want_grad, PARTS, (sharp ? 1e-3 : 1e-5) * top + 1e-12, 0,
                         "gradient of row %zu", row);
    }
    free(energy);
    free(grad);
    destroy(&p);
}

static void divergence__matches_its_definition(void **state)
{
    (void)state;
    for (int kind = 0; kind < CBE_N_LOSSES; kind++) {
        compare(CBE_NORM_RMS, 0, false, (cbe_loss)kind, false);
        compare(CBE_NORM_LAYER, 0, true, (cbe_loss)kind, false);
        compare(CBE_NORM_RMS, 6, false, (cbe_loss)kind, false);
        compare(CBE_NORM_LAYER, 3, true, (cbe_loss)kind, false);
    }
}

static void divergence__bears_logits_of_hundreds(void **state)
{
    (void)state;
    compare(CBE_NORM_RMS, 0, false, CBE_LOSS_KL, true);
    compare(CBE_NORM_RMS, 0, true, CBE_LOSS_CE, true);
}

/* Energies stay what they are; cross-entropies and tokens on top are those of the definition. */
static void divergence__measures_rows(void **state)
{
    (void)state;
    static double log_q[V];
    static cbe_divergence_measure measures[ROWS];
    for (int capped = 0; capped < 2; capped++) {
        problem p;
        make(&p, CBE_NORM_LAYER, capped ? 6 : 0, true, CBE_LOSS_KL, false);
        double *energy = malloc(2 * ROWS * sizeof *energy), *alone = energy + ROWS;
        cbe_divergence *o = NULL;
        cbe_divergence_item items[ROWS];
        assert_non_null(energy);
        for (size_t i = 0; i < ROWS; i++) items[i] = (cbe_divergence_item){i, i};
        p.labels[ROWS - 1] = -1;
        /* The largest logit twice, in different chunks, equal to the bit whatever the order of a
         * BLAS's sums: it is the bias alone. */
        memset(p.decoder.unembedding + 4500 * D, 0, D * sizeof(float));
        memset(p.decoder.unembedding + 1234 * D, 0, D * sizeof(float));
        p.decoder.bias[1234] = p.decoder.bias[4500] = 60;
        cbe_assert_ok(cbe_divergence_create(&o, &p.decoder, p.kind, ROWS, NULL, &err), &err);
        cbe_memory_fail_after(0);
        cbe_assert_ok(cbe_divergence_set_clean(o, items, p.clean, &err), &err);
        cbe_divergence_eval(o, ROWS, items, p.ablated, alone, NULL);
        cbe_divergence_measure_rows(o, ROWS, items, p.ablated, p.labels, energy, measures);
        cbe_memory_fail_after(-1);
        assert_memory_equal(energy, alone, ROWS * sizeof *energy);
        for (size_t i = 0; i < ROWS; i++) assert_int_equal(measures[i].top, 1234);
        assert_true(isnan(measures[ROWS - 1].ce));

        p.decoder.bias[1234] = p.decoder.bias[4500] = 0;
        cbe_assert_ok(cbe_divergence_set_clean(o, items, p.clean, &err), &err);
        cbe_divergence_measure_rows(o, ROWS, items, p.ablated, p.labels, energy, measures);
        for (size_t i = 0; i < 20; i++) {
            double h[D];
            size_t top = 0;
            for (size_t k = 0; k < D; k++) h[k] = (double)p.ablated[i * D + k];
            log_probs(&p.decoder, h, log_q);
            for (size_t t = 0; t < V; t++) top = log_q[t] > log_q[top] ? t : top;
            /* Of two that float32 cannot tell apart, either. */
            assert_true(log_q[top] - log_q[measures[i].top] < 1e-5);
            const double want = -log_q[p.labels[i]];
            cbe_assert_close(&measures[i].ce, &want, 1, 1e-5, 1e-6, "cross-entropy of row %zu", i);
        }
        cbe_divergence_free(o);
        free(energy);
        destroy(&p);
    }
}

/* What all biases have in common changes nothing: 10^9, beside which float32 knows no logits. */
static void divergence__knows_no_common_bias(void **state)
{
    (void)state;
    for (int kind = 0; kind < CBE_N_LOSSES; kind++) {
        problem p;
        make(&p, CBE_NORM_LAYER, 0, true, (cbe_loss)kind, false);
        double *energy = malloc(2 * ROWS * sizeof *energy), *offset = energy + ROWS;
        float *grad = malloc(2 * ROWS * D * sizeof *grad);
        assert_true(energy && grad);
        memset(p.decoder.bias, 0, V * sizeof(float));
        evaluate(&p, energy, grad);
        for (size_t t = 0; t < V; t++) p.decoder.bias[t] = kind ? -1e9f : 1e9f;
        evaluate(&p, offset, grad + ROWS * D);
        assert_memory_equal(energy, offset, ROWS * sizeof *energy);
        assert_memory_equal(grad, grad + ROWS * D, ROWS * D * sizeof *grad);
        free(energy);
        free(grad);
        destroy(&p);
    }
}

/* No ablation, no energy: what is left is the rounding of E. */
static void divergence__of_the_same_states_is_nothing(void **state)
{
    (void)state;
    for (int capped = 0; capped < 2; capped++) {
        problem p;
        make(&p, CBE_NORM_RMS, capped ? 6 : 0, false, CBE_LOSS_KL, false);
        double *energy = malloc(ROWS * sizeof *energy);
        assert_non_null(energy);
        memcpy(p.ablated, p.clean, ROWS * D * sizeof *p.clean);
        evaluate(&p, energy, NULL);
        for (size_t i = 0; i < ROWS; i++) assert_true(fabs(energy[i]) < 1e-6);
        free(energy);
        destroy(&p);
    }
}

static void divergence__has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    problem p;
    make(&p, CBE_NORM_RMS, 0, false, CBE_LOSS_KL, false);
    double *energy = malloc(2 * ROWS * sizeof *energy);
    float *grad = malloc(2 * ROWS * D * sizeof *grad);
    assert_true(energy && grad);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    evaluate(&p, energy, grad);
    omp_set_num_threads(3);
    evaluate(&p, energy + ROWS, grad + ROWS * D);
    omp_set_num_threads(threads);
    assert_memory_equal(energy, energy + ROWS, ROWS * sizeof *energy);
    assert_memory_equal(grad, grad + ROWS * D, ROWS * D * sizeof *grad);
    free(energy);
    free(grad);
    destroy(&p);
}

static void divergence__names_a_row_that_is_not_finite(void **state)
{
    (void)state;
    problem p;
    make(&p, CBE_NORM_RMS, 0, false, CBE_LOSS_KL, false);
    p.decoder.unembedding[3000 * D] = INFINITY;
    cbe_divergence *o = NULL;
    cbe_divergence_item items[ROWS];
    for (size_t i = 0; i < ROWS; i++) items[i] = (cbe_divergence_item){i, i};
    cbe_assert_ok(cbe_divergence_create(&o, &p.decoder, p.kind, ROWS, NULL, &err), &err);
    assert_int_equal(cbe_divergence_set_clean(o, items, p.clean, &err), CBE_ERR_NUMERIC);
    assert_non_null(strstr(err.message, "token 0"));
    cbe_divergence_free(o);
    destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(divergence__matches_its_definition),
        cmocka_unit_test(divergence__bears_logits_of_hundreds),
        cmocka_unit_test(divergence__measures_rows),
        cmocka_unit_test(divergence__knows_no_common_bias),
        cmocka_unit_test(divergence__of_the_same_states_is_nothing),
        cmocka_unit_test(divergence__has_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(divergence__names_a_row_that_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
