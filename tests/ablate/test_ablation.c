/* Effects of taking subspaces out of a layer: PyTorch's energies at rank 1, the float64 twin at
 * every rank and span. */
#include "ablate/ablation.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "math/random.h"
#include "ref/ablation_ref.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/families.h"
#include "support/golden.h"
#include "support/smollm2.h"

enum { M = 3 };

static cbe_error err;

/* A model, its tokens, and its hidden states. */
typedef struct {
    cbe_model *model;
    cbe_tokens tokens; /* ids and derangement owned */
    cbe_hidden_states *states;
    size_t n_layers, d;
} problem;

/* Tokens are the golden file's where there is one, with the derangement of that name; else B
 * sequences of S. */
static problem open_path(const char *path, const cbe_safetensors *golden, const char *perm,
                         size_t n_sequences, size_t length)
{
    problem p = {.model = open_model(path)};
    const cbe_model_config *config = cbe_model_get_config(p.model);
    p.n_layers = config->n_layers;
    p.d = config->hidden_size;
    cbe_tensor t;
    if (golden) {
        p.tokens.ids = cbe_golden_ids(golden, "input_ids", &n_sequences, &length);
        if (cbe_safetensors_has(golden, perm)) {
            cbe_assert_ok(cbe_safetensors_get(golden, perm, &t, &err), &err);
            p.tokens.derangement = malloc(t.n_bytes);
            assert_non_null(p.tokens.derangement);
            memcpy(p.tokens.derangement, t.data, t.n_bytes);
        }
    } else {
        p.tokens.ids = malloc(n_sequences * length * sizeof *p.tokens.ids);
        assert_non_null(p.tokens.ids);
        for (size_t i = 0; i < n_sequences * length; i++)
            p.tokens.ids[i] = (int64_t)(i * i * 7 % config->vocab_size);
    }
    p.tokens.n_sequences = n_sequences;
    p.tokens.context_length = length;
    bool *layers = malloc((p.n_layers + 1) * sizeof *layers);
    assert_non_null(layers);
    for (size_t i = 0; i <= p.n_layers; i++) layers[i] = true;
    cbe_assert_ok(
        cbe_hidden_states_capture(&p.states, p.model, &p.tokens, layers, NULL, NULL, &err), &err);
    free(layers);
    return p;
}

static problem open_problem(const char *name, size_t n_sequences, size_t length)
{
    char *path = cbe_golden_path("models/%s", name);
    const problem p = open_path(path, NULL, NULL, n_sequences, length);
    free(path);
    return p;
}

static void close_problem(problem *p)
{
    cbe_hidden_states_close(p->states);
    cbe_model_close(p->model);
    free(p->tokens.ids);
    free(p->tokens.derangement);
}

static cbe_ablation_run *make(const problem *p, const cbe_ablation_options *options)
{
    cbe_ablation_run *run = NULL;
    cbe_assert_ok(cbe_ablation_run_create(&run, p->model, p->states, options, &err), &err);
    return run;
}

/* One direction of unit length, every block and ablation that the golden file has. */
static void compare_golden(const char *model, const cbe_safetensors *golden, const char *prefix,
                           const char *direction)
{
    char title[64];
    size_t d, n_compared = 0;
    snprintf(title, sizeof title, "%s.perm", prefix);
    problem p = open_path(model, golden, title, 0, 0);
    float *v32 = cbe_golden_floats(golden, direction, &d);
    double *v = malloc(d * sizeof *v);
    assert_true(v && d == p.d);
    for (size_t k = 0; k < d; k++) v[k] = 2 * (double)v32[k]; /* its length does not matter */
    for (int mode = 0; mode < CBE_ABLATE_OPTIMAL; mode++) {
        const cbe_ablation_options options = {.strength = 1, .ablation = (cbe_ablation)mode};
        cbe_ablation_run *run = make(&p, &options);
        for (size_t block = 0; block < p.n_layers; block++) {
            cbe_effects effects[CBE_N_SPANS];
            snprintf(title, sizeof title, "%s.%zu.%s.energy", prefix, block,
                     cbe_ablation_name((cbe_ablation)mode));
            if (!cbe_safetensors_has(golden, title)) continue;
            cbe_assert_ok(cbe_ablation_run_layer(run, block, block + 1, 1, v, NULL, effects, &err),
                          &err);
            double *want = cbe_golden_f64(golden, title, 1);
            cbe_assert_close(&effects[CBE_SPAN_BASIS].mean[CBE_EFFECT_KL], want, 1, 1e-6, 1e-4,
                             "%s, %s", model, title);
            free(want);
            n_compared++;
        }
        cbe_ablation_run_free(run);
    }
    assert_true(n_compared >= 6);
    free(v);
    free(v32);
    close_problem(&p);
}

static void rank_1__matches_golden(void **state)
{
    char *model = cbe_golden_path("models/%s", (const char *)*state);
    char *path = cbe_golden_path("models/%s/golden.safetensors", (const char *)*state);
    cbe_safetensors *golden = open_golden(path);
    if (cbe_safetensors_has(golden, "ablate.v")) /* fixtures of variants have none */
        compare_golden(model, golden, "ablate", "ablate.v");
    cbe_safetensors_close(golden);
    free(path);
    free(model);
}

static void rank_1__matches_golden_of_smollm2(void **state)
{
    (void)state;
    if (!cbe_test_smollm2_path()) skip();
    char *path = cbe_golden_path("smollm2/golden.safetensors");
    cbe_safetensors *golden = open_golden(path);
    compare_golden(cbe_test_smollm2_path(), golden, "model", "v");
    cbe_safetensors_close(golden);
    free(path);
}

static void fill(double *v, size_t m, size_t d)
{
    for (size_t i = 0; i < m * d; i++)
        v[i] = (1 + (double)(i / d)) * sin(3.7 * (double)(i + 1) + (double)(i * i % 101)) +
               (i >= d ? v[i - d] : 0);
}

/* Neither orthogonal nor of unit length; principal components and random directions as the library
 * makes them. */
static void compare_twin(const char *name, size_t state, size_t skip, cbe_ablation ablation,
                         double strength, cbe_scope scope)
{
    enum { B = 3, S = 14, SEED = 5, LAYER = 11 };
    problem p = open_problem(name, B, S);
    const size_t d = p.d, n = B * (S - skip);
    const cbe_ablation_options options = {.ablation = ablation,
                                          .skip_positions = skip,
                                          .max_rank = M,
                                          .seed = SEED,
                                          .scope = scope,
                                          .strength = strength};
    cbe_ablation_run *run = make(&p, &options);
    assert_int_equal(cbe_ablation_n_tokens(run), n);
    assert_int_equal(cbe_ablation_n_labelled(run), n - B);
    double *v = malloc(M * d * sizeof *v), *wide = malloc(B * S * d * sizeof *wide);
    float *whole = malloc(B * S * d * sizeof *whole), *hidden = malloc(n * d * sizeof *hidden);
    int64_t derangement[B * S];
    cbe_effects effects[CBE_N_SPANS * M];
    assert_true(v && wide && whole && hidden);
    fill(v, M, d);
    cbe_assert_ok(cbe_ablation_run_layer(run, LAYER, state, M, v, NULL, effects, &err), &err);

    cbe_assert_ok(cbe_hidden_states_read(p.states, state, 0, whole, &err), &err);
    cbe_assert_ok(cbe_hidden_states_read(p.states, state, skip, hidden, &err), &err);
    for (size_t i = 0; i < B * S * d; i++) wide[i] = (double)whole[i];
    cbe_rng rng;
    cbe_rng_seed(&rng, SEED);
    cbe_rng_derangement(&rng, n, derangement);
    const cbe_ablation_case c = {p.model, B,        S,           skip,     p.tokens.ids, state,
                                 wide,    ablation, derangement, strength, scope};
    cbe_subspace *spans[CBE_N_SPANS];
    cbe_assert_ok(cbe_subspace_create(&spans[CBE_SPAN_BASIS], M, d, v, &err), &err);
    cbe_assert_ok(cbe_subspace_principal(&spans[CBE_SPAN_PRINCIPAL], M, d, ablation, n, hidden,
                                         derangement, &err),
                  &err);
    cbe_assert_ok(cbe_subspace_random(&spans[CBE_SPAN_RANDOM], M, d, SEED + LAYER, &err), &err);
    for (size_t s = 0; s < CBE_N_SPANS; s++) {
        for (size_t rank = 1; rank <= M; rank++) {
            const cbe_effects *got = &effects[s * M + rank - 1];
            double want[CBE_N_EFFECTS];
            const double *span = s == CBE_SPAN_BASIS ? v : cbe_subspace_basis(spans[s]);
            cbe_ablation_ref(&c, rank, span, span, want);
            cbe_assert_close(got->mean, want, CBE_N_EFFECTS, 2e-6, 1e-4, "%s, %s, rank %zu", name,
                             cbe_span_name((cbe_span_kind)s), rank);
            for (int e = 0; e < CBE_N_EFFECTS; e++)
                assert_true(got->error[e] >= 0 && got->error[e] < 10);
        }
        cbe_subspace_free(spans[s]);
    }
    free(v);
    free(wide);
    free(whole);
    free(hidden);
    cbe_ablation_run_free(run);
    close_problem(&p);
}

static void every_rank__matches_the_twin(void **state)
{
    (void)state;
    compare_twin("llama", 1, 0, CBE_ABLATE_MEAN, 1, CBE_SCOPE_ALL);
    compare_twin("gpt2", 2, 1, CBE_ABLATE_RESAMPLE, 1, CBE_SCOPE_ALL);
    compare_twin("gemma2", 1, 2, CBE_ABLATE_ZERO, 1, CBE_SCOPE_ALL); /* soft caps */
    compare_twin("gptj", 0, 1, CBE_ABLATE_MEAN, 1, CBE_SCOPE_ALL);   /* an output bias */
    compare_twin("bloom", 2, 0, CBE_ABLATE_ZERO, 1, CBE_SCOPE_ALL);  /* nothing but the decoder */
    compare_twin("llama", 2, 1, CBE_ABLATE_MEAN, 0.5, CBE_SCOPE_ALL);
    compare_twin("gemma2", 1, 1, CBE_ABLATE_RESAMPLE, 1.25, CBE_SCOPE_OWN);
    compare_twin("gpt2", 1, 1, CBE_ABLATE_MEAN, 1, CBE_SCOPE_OWN);
}

/* All dimensions at their means: the span of as many vectors as there are numbers. */
static void full_rank__matches_pytorch(void **state)
{
    const char *name = *state;
    char *model = cbe_golden_path("models/%s", name),
         *path = cbe_golden_path("truth/%s/golden.safetensors", name), title[48];
    cbe_safetensors *golden = open_golden(path);
    problem p = open_path(model, golden, "none", 0, 0);
    const size_t d = p.d;
    const cbe_ablation_options options = {.strength = 1, .skip_positions = 1, .max_rank = d};
    cbe_ablation_run *run = make(&p, &options);
    double *v = calloc(d * d, sizeof *v);
    cbe_effects *effects = malloc(CBE_N_SPANS * d * sizeof *effects);
    assert_true(v && effects);
    for (size_t k = 0; k < d; k++) v[k * d + k] = 1;
    for (size_t block = 0; block < p.n_layers; block++) {
        cbe_assert_ok(cbe_ablation_run_layer(run, block, block + 1, d, v, NULL, effects, &err),
                      &err);
        snprintf(title, sizeof title, "layers.%zu.all_dimensions", block);
        double *want = cbe_golden_f64(golden, title, 1);
        for (int s = 0; s < CBE_N_SPANS; s++)
            cbe_assert_close(&effects[(size_t)s * d + d - 1].mean[CBE_EFFECT_KL], want, 1, 1e-6,
                             1e-4, "%s, %s", name, title);
        free(want);
    }
    free(v);
    free(effects);
    cbe_ablation_run_free(run);
    close_problem(&p);
    cbe_safetensors_close(golden);
    free(model);
    free(path);
}

/* However many sequences run at once, and in one thread or three. */
static void run__does_not_depend_on_batches_and_threads(void **state)
{
    (void)state;
    problem p = open_problem("qwen3", 3, 40);
    cbe_ablation_options options = {.strength = 1, .max_rank = M};
    double *v = malloc(M * p.d * sizeof *v);
    assert_non_null(v);
    fill(v, M, p.d);
    cbe_effects want[CBE_N_SPANS * M], got[CBE_N_SPANS * M];
    const int threads = omp_get_max_threads();
    size_t bytes, fewer;
    for (int i = 0; i < 3; i++) {
        if (i) omp_set_num_threads(i == 1 ? 1 : 3);
        cbe_ablation_run *run = make(&p, &options);
        cbe_assert_ok(cbe_ablation_run_layer(run, 1, 1, M, v, NULL, i ? got : want, &err), &err);
        if (i) assert_memory_equal(got, want, sizeof want);
        cbe_ablation_run_free(run);
    }
    omp_set_num_threads(threads);
    cbe_ablation_run *run = make(&p, &options);
    assert_int_equal(cbe_ablation_n_at_once(run, &bytes), 3 * 3 * M); /* all pairs */
    cbe_ablation_run_free(run);
    for (options.memory = bytes - 1;; options.memory = bytes - 1) {
        cbe_ablation_run *tight = NULL;
        const cbe_status st = cbe_ablation_run_create(&tight, p.model, p.states, &options, &err);
        if (st != CBE_OK) {
            assert_int_equal(st, CBE_ERR_ARG);
            assert_non_null(strstr(err.message, "3 sequences of 40 tokens need"));
            break;
        }
        cbe_assert_ok(cbe_ablation_run_layer(tight, 1, 1, M, v, NULL, got, &err), &err);
        for (size_t i = 0; i < CBE_N_SPANS * M; i++)
            cbe_assert_close(got[i].mean, want[i].mean, CBE_N_EFFECTS, 1e-6, 1e-5, "%zu at once",
                             cbe_ablation_n_at_once(tight, NULL));
        cbe_ablation_n_at_once(tight, &fewer);
        assert_true(fewer < bytes);
        bytes = fewer;
        cbe_ablation_run_free(tight);
    }
    free(v);
    close_problem(&p);
}

static bool stop(void *context, size_t done, size_t total)
{
    (void)context;
    return done * 2 < total;
}

static void bad_arguments__are_refused(void **state)
{
    (void)state;
    problem p = open_problem("llama", 1, 2);
    double *v = malloc(M * p.d * sizeof *v);
    assert_non_null(v);
    fill(v, M, p.d);
    cbe_effects effects[CBE_N_SPANS * M];
    cbe_ablation_run *run = NULL;
    cbe_ablation_options options = {.strength = 1, .ablation = CBE_ABLATE_OPTIMAL};
    assert_int_equal(cbe_ablation_run_create(&run, p.model, p.states, &options, &err),
                     CBE_ERR_UNSUPPORTED);
    options.ablation = CBE_ABLATE_MEAN;
    options.skip_positions = 1;
    assert_int_equal(cbe_ablation_run_create(&run, p.model, p.states, &options, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "at least 2 tokens"));
    options.skip_positions = 2;
    assert_int_equal(cbe_ablation_run_create(&run, p.model, p.states, &options, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "no token is left"));
    assert_null(run);

    /* A token by itself has no next one, and a sequence by itself no standard error. */
    options = (cbe_ablation_options){
        .strength = 1, .ablation = CBE_ABLATE_ZERO, .skip_positions = 1, .max_rank = 2};
    run = make(&p, &options);
    cbe_assert_ok(cbe_ablation_run_layer(run, 0, 1, 1, v, NULL, effects, &err), &err);
    assert_true(effects[0].mean[CBE_EFFECT_KL] > 0 && isnan(effects[0].mean[CBE_EFFECT_CE]));
    assert_true(isnan(effects[0].error[CBE_EFFECT_KL]) && isnan(effects[0].error[CBE_EFFECT_CE]));
    assert_int_equal(cbe_ablation_n_labelled(run), 0);
    assert_int_equal(cbe_ablation_run_layer(run, 0, 1, 3, v, NULL, effects, &err), CBE_ERR_ARG);
    memcpy(v + p.d, v, p.d * sizeof *v);
    assert_int_equal(cbe_ablation_run_layer(run, 0, 1, 2, v, NULL, effects, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "vector 1 of the subspace is a combination"));
    cbe_ablation_run_free(run);

    options.max_rank = M;
    options.progress = stop;
    run = make(&p, &options);
    assert_int_equal(cbe_ablation_run_layer(run, 0, 1, 1, v, NULL, effects, &err),
                     CBE_ERR_CANCELLED);
    cbe_ablation_run_free(run);
    free(v);
    close_problem(&p);
}

/* The embedding of one token, again and again. */
static void states_that_do_not_vary__have_no_covariance_metric(void **state)
{
    (void)state;
    problem p = open_problem("llama", 2, 4);
    cbe_effects effects[CBE_N_SPANS];
    cbe_hidden_states_close(p.states);
    memset(p.tokens.ids, 0, 8 * sizeof *p.tokens.ids);
    bool layers[16] = {true};
    layers[p.n_layers] = true;
    cbe_assert_ok(
        cbe_hidden_states_capture(&p.states, p.model, &p.tokens, layers, NULL, NULL, &err), &err);
    double *v = malloc(p.d * sizeof *v);
    assert_non_null(v);
    fill(v, 1, p.d);
    const cbe_ablation_options options = {
        .strength = 1, .metric = CBE_METRIC_COVARIANCE, .ridge = CBE_COVARIANCE_RIDGE};
    cbe_ablation_run *run = make(&p, &options);
    assert_int_equal(cbe_ablation_run_layer(run, 0, 0, 1, v, NULL, effects, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "the states of layer 0 do not vary"));
    cbe_ablation_run_free(run);
    free(v);
    close_problem(&p);
}

static void run__survives_every_failed_allocation(void **state)
{
    (void)state;
    problem p = open_problem("llama", 2, 5);
    double *v = malloc(M * p.d * sizeof *v);
    assert_non_null(v);
    fill(v, M, p.d);
    const cbe_ablation_options options = {
        .strength = 1, .ablation = CBE_ABLATE_RESAMPLE, .max_rank = M};
    size_t failures = 0;
    for (cbe_status st = CBE_ERR_NOMEM; st != CBE_OK; failures++) {
        cbe_ablation_run *run = NULL;
        cbe_effects effects[CBE_N_SPANS * M];
        cbe_memory_fail_after((long)failures);
        st = cbe_ablation_run_create(&run, p.model, p.states, &options, &err);
        if (st == CBE_OK) st = cbe_ablation_run_layer(run, 0, 1, M, v, NULL, effects, &err);
        cbe_memory_fail_after(-1);
        cbe_ablation_run_free(run);
        assert_true(failures < 100 && (st == CBE_OK || st == CBE_ERR_NOMEM));
    }
    assert_true(failures > 20);
    free(v);
    close_problem(&p);
}

int main(void)
{
    static char names[][24] = {CBE_TEST_FAMILIES};
    enum { N_NAMES = sizeof names / sizeof *names };
    static char titles[N_NAMES][96];
    static char full_ranks[][8] = {"gpt2", "llama"};
    static struct CMUnitTest tests[N_NAMES + 8] = {
        [N_NAMES] = cmocka_unit_test(every_rank__matches_the_twin),
        [N_NAMES + 1] = cmocka_unit_test(run__does_not_depend_on_batches_and_threads),
        [N_NAMES + 2] = cmocka_unit_test(bad_arguments__are_refused),
        [N_NAMES + 3] = cmocka_unit_test(run__survives_every_failed_allocation),
        [N_NAMES + 4] = cmocka_unit_test(rank_1__matches_golden_of_smollm2),
        [N_NAMES + 5] = {"gpt2__full_rank_matches_pytorch", full_rank__matches_pytorch, NULL, NULL,
                         full_ranks[0]},
        [N_NAMES + 6] = {"llama__full_rank_matches_pytorch", full_rank__matches_pytorch, NULL, NULL,
                         full_ranks[1]},
        [N_NAMES + 7] = cmocka_unit_test(states_that_do_not_vary__have_no_covariance_metric),
    };
    for (size_t i = 0; i < N_NAMES; i++) {
        snprintf(titles[i], sizeof titles[i], "%.40s__rank_1_matches_golden", names[i]);
        tests[i] = (struct CMUnitTest){titles[i], rank_1__matches_golden, NULL, NULL, names[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
