/* measure.c - measuring the rates of this machine (plan/plan.h): evaluations of a lens objective of
 * random numbers, as in searches. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "extract/lens_storage.h"
#include "plan/plan.h"
#include "search/rules.h"
#include "objective/objective.h"
#include "core/clock.h"
#include "math/gemm.h"
#include "core/memory.h"
#include "math/random.h"
#include "core/sizes.h"

enum {
    TOKENS = 1024, /* most tokens of a problem */
    /* Most numbers of a hidden state in the first problem, whose vocabulary dominates the time. */
    MOST_WIDTH = 1024,
    WIDTH = 2048,   /* numbers of a hidden state in the second problem, where they matter */
    ENTRIES = 4096, /* vocabulary of the second problem */
    BATCH = CBE_LENS_BATCH,
    WEIGHTS = 32 << 20, /* most numbers of an unembedding: too many for a cache */
    LOGITS = 24 << 20,  /* most logits: too many for a cache */
    GEMM = 1024         /* rows and columns of the measured product */
};
static const double LEAST = 0.3; /* least seconds of one measurement */
/* Least share of an evaluation's time that grows with its tokens: on a busy machine a few tokens
 * may take as long as all, and a rate of 0 would plan no time at all. */
static const double GROWS = 1e-3;

typedef struct {
    cbe_decoder decoder;
    size_t n_tokens;
    float *numbers; /* gamma (d), unembedding (V, d), hidden states (N, d) */
    double *v, *grad, energy[BATCH];
    cbe_objective *objective;
} problem;

static void free_problem(problem *p)
{
    cbe_objective_free(p->objective);
    cbe_free(p->numbers);
    cbe_free(p->v);
    cbe_free(p->grad);
}

static cbe_status make_problem(problem *p, size_t d, size_t vocab_size, cbe_error *err)
{
    const size_t v = cbe_min_size(vocab_size, cbe_max_size(WEIGHTS / d, 2 * BATCH));
    const size_t n = cbe_max_size(cbe_min_size(LOGITS / v, TOKENS), 2 * cbe_option_rules.sample),
                 count = d + v * d + n * d;
    cbe_rng rng;
    cbe_rng_seed(&rng, 0);
    p->n_tokens = n;
    p->numbers = cbe_alloc(count, sizeof *p->numbers, "numbers to measure with", err);
    p->v = cbe_alloc(BATCH * d, sizeof *p->v, "numbers to measure with", err);
    p->grad = cbe_alloc(BATCH * d, sizeof *p->grad, "numbers to measure with", err);
    if (!p->numbers || !p->v || !p->grad) return CBE_ERR_NOMEM;
    /* A few random numbers, repeated: any numbers will do that give logits of some units. */
    float some[1021];
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) some[i] = (float)cbe_rng_normal(&rng);
    for (size_t i = 0; i < count; i++)
        p->numbers[i] = some[(i + i / 4093) % (sizeof some / sizeof *some)];
    for (size_t i = 0; i < d; i++) p->numbers[i] = (float)(3 / sqrt((double)d));
    for (size_t i = 0; i < BATCH * d; i++) p->v[i] = cbe_rng_normal(&rng) / sqrt((double)d);
    p->decoder = (cbe_decoder){.hidden_size = d,
                               .vocab_size = v,
                               .norm = CBE_NORM_RMS,
                               .norm_eps = 1e-5,
                               .gamma = p->numbers,
                               .unembedding = p->numbers + d};
    const cbe_lens_options options = {
        .n_tokens = n, .ablation = CBE_ABLATE_MEAN, .max_batch = BATCH};
    return cbe_lens_objective_create(&p->objective, &p->decoder, &options, err);
}

/* Measures the seconds of an evaluation of m directions on a sample of n tokens (0: all), the least
 * of several. */
static cbe_status time_evaluation(problem *p, size_t m, size_t n, bool gradient, double *seconds,
                                  cbe_error *err)
{
    const double began = cbe_now();
    *seconds = HUGE_VAL;
    cbe_objective_set_sample(p->objective, n);
    for (int i = 0; i < 3 || cbe_now() - began < LEAST; i++) {
        const double start = cbe_now();
        const cbe_status st = cbe_objective_eval(p->objective, m, p->v, p->energy,
                                                 gradient ? p->grad : NULL, NULL, err);
        if (st != CBE_OK) return st;
        *seconds = fmin(*seconds, cbe_now() - start);
    }
    return CBE_OK;
}

/* Splits an evaluation's seconds into a part that grows with tokens and a part that does not, from
 * all tokens and a few. */
static cbe_status split(problem *p, size_t m, bool gradient, double *row, double *product,
                        cbe_error *err)
{
    const double d = (double)p->decoder.hidden_size, v = (double)p->decoder.vocab_size,
                 n = (double)p->n_tokens, sample = (double)cbe_option_rules.sample;
    double all, few;
    cbe_status st = time_evaluation(p, m, 0, gradient, &all, err);
    if (st == CBE_OK) st = time_evaluation(p, m, cbe_option_rules.sample, gradient, &few, err);
    if (st != CBE_OK) return st;
    *row = fmax(all - few, GROWS * all) / ((n - sample) * v * (double)m);
    *product = fmax(few - *row * sample * v * (double)m, 0) / (v * d * (double)m);
    return CBE_OK;
}

/* Rates of one kind of evaluation from two problems: seconds of a token for each vocabulary entry,
 * and for each number of its state. */
static cbe_status split_both(problem problems[2], size_t m, bool gradient, double *row,
                             double *state, double *product, cbe_error *err)
{
    double rows[2], other, share[2];
    cbe_status st = split(&problems[0], m, gradient, &rows[0], product, err);
    if (st == CBE_OK) st = split(&problems[1], m, gradient, &rows[1], &other, err);
    if (st != CBE_OK) return st;
    for (int i = 0; i < 2; i++)
        share[i] = (double)problems[i].decoder.hidden_size / (double)problems[i].decoder.vocab_size;
    *state = fmax((rows[1] - rows[0]) / (share[1] - share[0]), 0);
    *row = fmax(rows[0] - *state * share[0], 0.1 * rows[0]);
    return CBE_OK;
}

static cbe_status measure_multiply(double *multiply, cbe_error *err)
{
    float *a = cbe_alloc_zero(3 * GEMM * GEMM, sizeof *a, "numbers to measure with", err);
    if (!a) return CBE_ERR_NOMEM;
    double least = HUGE_VAL;
    const double began = cbe_now();
    for (int i = 0; i < 3 || cbe_now() - began < LEAST; i++) {
        const double start = cbe_now();
        cbe_gemm(false, true, GEMM, GEMM, GEMM, 1, a, GEMM, a + GEMM * GEMM, GEMM, 0,
                 a + 2 * GEMM * GEMM, GEMM);
        least = fmin(least, cbe_now() - start);
    }
    *multiply = least / ((double)GEMM * GEMM * GEMM);
    cbe_free(a);
    return CBE_OK;
}

/* Measures setting a layer: its two products, and the rest for each logit. */
static cbe_status measure_set(problem *p, cbe_plan_rates *out, cbe_error *err)
{
    const double d = (double)p->decoder.hidden_size, v = (double)p->decoder.vocab_size,
                 n = (double)p->n_tokens;
    double least = HUGE_VAL;
    for (int i = 0; i < 2; i++) { /* the first round touches new memory */
        const double start = cbe_now();
        const cbe_status st = cbe_lens_objective_set_layer(
            p->objective, p->numbers + (size_t)(d + v * d), (cbe_translator){0}, NULL, err);
        if (st != CBE_OK) return st;
        least = fmin(least, cbe_now() - start);
    }
    out->set = fmax(least / (n * v) - 2 * d * out->multiply, 0);
    return CBE_OK;
}

cbe_status cbe_plan_measure(cbe_plan_rates *out, size_t hidden_size, size_t vocab_size,
                            cbe_error *err)
{
    problem p[2];
    memset(p, 0, sizeof p);
    cbe_plan_rates unused = {0};
    *out = (cbe_plan_rates){.threads = (size_t)omp_get_max_threads()};
    cbe_status st = measure_multiply(&out->multiply, err);
    unused.multiply = out->multiply;
    if (st == CBE_OK)
        st = make_problem(&p[0], cbe_min_size(hidden_size, MOST_WIDTH),
                          cbe_max_size(vocab_size, 2 * BATCH), err);
    if (st == CBE_OK) st = make_problem(&p[1], WIDTH, ENTRIES, err);
    if (st == CBE_OK) st = measure_set(&p[0], out, err);
    if (st == CBE_OK) st = measure_set(&p[1], &unused, err);
    if (st == CBE_OK)
        st = split_both(p, BATCH, false, &out->score, &out->score_state, &out->score_product, err);
    if (st == CBE_OK)
        st = split_both(p, 1, true, &out->one, &out->one_state, &out->one_product, err);
    if (st == CBE_OK)
        st = split_both(p, BATCH, true, &out->many, &out->many_state, &out->many_product, err);
    free_problem(&p[0]);
    free_problem(&p[1]);
    return st;
}
