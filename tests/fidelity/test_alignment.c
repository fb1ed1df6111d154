/* Stimulus-response alignment against PyTorch in float64, against a plain twin in all families, and
 * what must hold whatever the model. */
#include "fidelity/alignment.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "math/random.h"
#include "model/suffix.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/families.h"
#include "support/golden.h"

static cbe_error err;

/* A model, its tokens and its hidden states. */
typedef struct {
    cbe_model *model;
    cbe_tokens tokens;
    cbe_hidden_states *states;
    size_t n_layers, d;
} problem;

/* Tokens are `ids`, which the problem owns from here on; NULL: some. */
static problem open_problem(const char *name, size_t n_sequences, size_t length, int64_t *ids)
{
    char *path = cbe_golden_path("models/%s", name);
    problem p = {.model = open_model(path)};
    const cbe_model_config *config = cbe_model_get_config(p.model);
    p.n_layers = config->n_layers;
    p.d = config->hidden_size;
    if (!ids) {
        assert_non_null(ids = malloc(n_sequences * length * sizeof *ids));
        for (size_t i = 0; i < n_sequences * length; i++)
            ids[i] = (int64_t)(i * i * 7 % config->vocab_size);
    }
    p.tokens = (cbe_tokens){.ids = ids, .n_sequences = n_sequences, .context_length = length};
    bool *layers = malloc((p.n_layers + 1) * sizeof *layers);
    assert_non_null(layers);
    for (size_t i = 0; i <= p.n_layers; i++) layers[i] = true;
    cbe_assert_ok(
        cbe_hidden_states_capture(&p.states, p.model, &p.tokens, layers, NULL, NULL, &err), &err);
    free(layers);
    free(path);
    return p;
}

static void close_problem(problem *p)
{
    cbe_hidden_states_close(p->states);
    cbe_model_close(p->model);
    free(p->tokens.ids);
}

static cbe_subspace *span_of(size_t m, size_t d, const double *v)
{
    cbe_subspace *subspace = NULL;
    cbe_assert_ok(cbe_subspace_create(&subspace, m, d, v, &err), &err);
    return subspace;
}

/* Similarities of all tokens; freed with free(). */
static double *measure(const problem *p, const cbe_alignment_options *options, size_t layer,
                       const cbe_subspace *subspace, size_t *n)
{
    cbe_alignment *alignment = NULL;
    cbe_assert_ok(cbe_alignment_create(&alignment, p->model, p->states, options, &err), &err);
    *n = cbe_alignment_n_tokens(alignment);
    double *out = malloc(*n * sizeof *out);
    assert_non_null(out);
    cbe_assert_ok(cbe_alignment_measure(alignment, layer, subspace, out, &err), &err);
    cbe_alignment_free(alignment);
    return out;
}

static double mean_of(size_t n, const double *x)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

/* The model runs in float32, whose rounding, some 2e-7 of a state's length, is part of the response
 * beside the change of the state: where the change is small or the similarity near 0, a token may
 * be off by more than 1e-6 + 1e-4 of its similarity. The mean is not, nor are 19 of 20 tokens. */
static void compare(const problem *p, size_t state, const cbe_subspace *subspace, size_t n,
                    const double *got, const double *want, const char *title)
{
    float *hidden = malloc(n * p->d * sizeof *hidden);
    double *along = malloc(n * sizeof *along);
    const double got_mean = mean_of(n, got), want_mean = mean_of(n, want);
    size_t n_off = 0;
    assert_true(hidden && along);
    cbe_assert_ok(cbe_hidden_states_read(p->states, state, 1, hidden, &err), &err);
    cbe_assert_ok(
        cbe_subspace_coefficients(subspace, CBE_ABLATE_MEAN, n, hidden, NULL, along, &err), &err);
    cbe_assert_close(&got_mean, &want_mean, 1, 1e-6, 1e-4, "%s, mean", title);
    for (size_t i = 0; i < n; i++) {
        double square = 0;
        for (size_t k = 0; k < p->d; k++)
            square += (double)hidden[i * p->d + k] * (double)hidden[i * p->d + k];
        cbe_assert_close(&got[i], &want[i], 1, 1e-4 + 2e-7 * sqrt(square) / fabs(along[i]), 0,
                         "%s, token %zu", title, i);
        n_off += fabs(got[i] - want[i]) > 1e-6 + 1e-4 * fabs(want[i]);
    }
    if (n_off * 20 > n) fail_msg("%s: %zu of %zu tokens are off", title, n_off, n);
    free(hidden);
    free(along);
}

static void one_direction__matches_pytorch(void **state)
{
    const char *name = *state;
    char *path = cbe_golden_path("truth/%s/golden.safetensors", name), title[48];
    cbe_safetensors *golden = open_golden(path);
    size_t n_sequences, length, n, n_compared = 0;
    int64_t *ids = cbe_golden_ids(golden, "input_ids", &n_sequences, &length);
    problem p = open_problem(name, n_sequences, length, ids);
    double *v = cbe_golden_f64(golden, "v", p.d);
    cbe_subspace *subspace = span_of(1, p.d, v);
    const cbe_alignment_options options = {.skip_positions = 1, .max_rank = 1};
    for (size_t block = 0; block < p.n_layers; block++) {
        snprintf(title, sizeof title, "layers.%zu.alignment_per_token", block);
        if (!cbe_safetensors_has(golden, title)) continue;
        double *got = measure(&p, &options, block + 1, subspace, &n);
        double *want = cbe_golden_f64(golden, title, n);
        compare(&p, block + 1, subspace, n, got, want, title);
        free(got);
        free(want);
        n_compared++;
    }
    assert_true(n_compared >= 2);
    free(v);
    cbe_subspace_free(subspace);
    cbe_safetensors_close(golden);
    close_problem(&p);
    free(path);
}

/* At the last output the lens is the model: all are 1, in both scopes and with each ablation; and
 * where nothing is changed, all are 0. */
static void last_output__is_1_at_every_token(void **state)
{
    problem p = open_problem(*state, 3, 7, NULL);
    double *v = malloc(2 * p.d * sizeof *v);
    assert_non_null(v);
    cbe_rng rng;
    cbe_rng_seed(&rng, 3);
    for (size_t i = 0; i < 2 * p.d; i++) v[i] = cbe_rng_normal(&rng);
    cbe_subspace *subspace = span_of(2, p.d, v);
    for (int scope = 0; scope < CBE_N_SCOPES; scope++)
        for (int mode = 0; mode < CBE_ABLATE_OPTIMAL; mode++) {
            const cbe_alignment_options options = {.ablation = (cbe_ablation)mode,
                                                   .scope = (cbe_scope)scope,
                                                   .skip_positions = 1,
                                                   .max_rank = 3};
            size_t n;
            double *got = measure(&p, &options, p.n_layers, subspace, &n);
            assert_int_equal(n, 18);
            for (size_t i = 0; i < n; i++)
                if (!(fabs(got[i] - 1) <= 1e-12))
                    fail_msg("%s, %s, token %zu: %.17g", (const char *)*state,
                             cbe_scope_name((cbe_scope)scope), i, got[i]);
            free(got);
        }
    cbe_subspace_free(subspace);
    free(v);
    close_problem(&p);
}

/* Changes of logits by the decoder alone, in the plainest way. */
static void plain_changes(const cbe_decoder *decoder, size_t n, const float *before,
                          const float *after, double *weights, double *change)
{
    const size_t vocab = decoder->vocab_size;
    float *z = malloc(2 * n * vocab * sizeof *z), *z_after = z + n * vocab;
    assert_non_null(z);
    cbe_assert_ok(cbe_decoder_logits(decoder, n, before, z, &err), &err);
    cbe_assert_ok(cbe_decoder_logits(decoder, n, after, z_after, &err), &err);
    for (size_t i = 0; i < n; i++) {
        double top = -INFINITY;
        for (size_t t = 0; t < vocab; t++) top = fmax(top, (double)z[i * vocab + t]);
        for (size_t t = 0; t < vocab; t++) {
            const size_t at = i * vocab + t;
            change[at] = (double)z_after[at] - (double)z[at];
            if (weights) weights[at] = exp((double)z[at] - top);
        }
    }
    free(z);
}

static double plain_similarity(size_t n, const double *w, const double *s, const double *r)
{
    double sum = 0, s_mean = 0, r_mean = 0, ss = 0, rr = 0, sr = 0;
    for (size_t t = 0; t < n; t++) sum += w[t];
    for (size_t t = 0; t < n; t++) s_mean += w[t] / sum * s[t], r_mean += w[t] / sum * r[t];
    for (size_t t = 0; t < n; t++) {
        ss += w[t] / sum * (s[t] - s_mean) * (s[t] - s_mean);
        rr += w[t] / sum * (r[t] - r_mean) * (r[t] - r_mean);
        sr += w[t] / sum * (s[t] - s_mean) * (r[t] - r_mean);
    }
    return sr / sqrt(ss * rr);
}

/* A subspace of rank 2 resampled at the input of the last block, through a lens with translators,
 * beside the definition written down; both scopes. */
static void tuned_lens__matches_the_definition(void **state)
{
    const size_t length = 9, n_sequences = 2, skip = 1, each = length - skip,
                 n = n_sequences * each;
    problem p = open_problem(*state, n_sequences, length, NULL);
    const cbe_decoder *decoder = cbe_model_decoder(p.model);
    const size_t d = p.d, layer = p.n_layers - 1, vocab = decoder->vocab_size;
    cbe_tuned_lens *lens = NULL;
    cbe_assert_ok(cbe_tuned_lens_create(&lens, p.n_layers, d, true, &err), &err);
    cbe_rng rng;
    cbe_rng_seed(&rng, 4);
    for (size_t i = 0; i < d * d; i++)
        lens->weight[layer][i] = (float)(0.3 * cbe_rng_normal(&rng) / sqrt((double)d));
    for (size_t i = 0; i < d; i++) lens->bias[layer][i] = (float)(0.1 * cbe_rng_normal(&rng));
    double *v = malloc(2 * d * sizeof *v);
    float *hidden = malloc(4 * n * d * sizeof *hidden), *changed = hidden + n * d,
          *x = hidden + 2 * n * d, *x_changed = hidden + 3 * n * d,
          *whole = malloc(n_sequences * length * d * sizeof *whole),
          *last = malloc(2 * n * d * sizeof *last), *after = last + n * d;
    double *changes = malloc(3 * n * vocab * sizeof *changes);
    int64_t derangement[64];
    assert_true(v && hidden && whole && last && changes && n <= 64);
    for (size_t i = 0; i < 2 * d; i++) v[i] = cbe_rng_normal(&rng);
    cbe_subspace *subspace = span_of(2, d, v);
    cbe_rng_seed(&rng, 6);
    cbe_rng_derangement(&rng, n, derangement);
    cbe_assert_ok(cbe_hidden_states_read(p.states, layer, skip, hidden, &err), &err);
    cbe_assert_ok(cbe_hidden_states_read(p.states, layer, 0, whole, &err), &err);
    cbe_assert_ok(cbe_hidden_states_read(p.states, p.n_layers, skip, last, &err), &err);
    cbe_assert_ok(cbe_subspace_remove(subspace, 2, CBE_ABLATE_RESAMPLE, n, hidden, derangement,
                                      changed, &err),
                  &err);
    const cbe_translator translator = cbe_tuned_lens_translator(lens, layer);
    cbe_translate(translator, n, d, hidden, x);
    cbe_translate(translator, n, d, changed, x_changed);
    for (int scope = 0; scope < CBE_N_SCOPES; scope++) {
        const bool own = scope == CBE_SCOPE_OWN;
        const cbe_suffix_options run = {.first = layer,
                                        .context_length = length,
                                        .n_sequences = n_sequences,
                                        .way_back = CBE_SUFFIX_FORWARD,
                                        .n_clean = own ? n_sequences : 0};
        cbe_suffix *suffix = NULL;
        cbe_assert_ok(cbe_suffix_create(&suffix, p.model, &run, &err), &err);
        cbe_assert_ok(
            cbe_suffix_set_clean(suffix, layer, whole, n_sequences, NULL, 0, n_sequences, &err),
            &err);
        float *rows = cbe_suffix_hidden(suffix);
        memcpy(rows, whole, n_sequences * length * d * sizeof *rows);
        for (size_t i = 0; i < n; i++)
            memcpy(rows + (i / each * length + skip + i % each) * d, changed + i * d,
                   d * sizeof *rows);
        cbe_assert_ok(cbe_suffix_forward(suffix, layer, n_sequences, false, &err), &err);
        for (size_t i = 0; i < n; i++)
            memcpy(after + i * d, rows + (i / each * length + skip + i % each) * d,
                   d * sizeof *rows);
        double *weights = changes, *stimulus = changes + n * vocab,
               *response = changes + 2 * n * vocab;
        plain_changes(decoder, n, x, x_changed, NULL, stimulus);
        plain_changes(decoder, n, last, after, weights, response);
        const cbe_alignment_options options = {.lens = lens,
                                               .ablation = CBE_ABLATE_RESAMPLE,
                                               .scope = (cbe_scope)scope,
                                               .skip_positions = skip,
                                               .max_rank = 2,
                                               .seed = 6};
        size_t count;
        double *got = measure(&p, &options, layer, subspace, &count), want;
        assert_int_equal(count, n);
        for (size_t i = 0; i < n; i++) {
            want = plain_similarity(vocab, weights + i * vocab, stimulus + i * vocab,
                                    response + i * vocab);
            /* The definition subtracts logits in float32. */
            cbe_assert_close(&got[i], &want, 1, 2e-5, 0, "%s, %s, token %zu", (const char *)*state,
                             cbe_scope_name((cbe_scope)scope), i);
        }
        free(got);
        cbe_suffix_free(suffix);
    }
    cbe_tuned_lens_free(lens);
    cbe_subspace_free(subspace);
    free(v);
    free(hidden);
    free(whole);
    free(last);
    free(changes);
    close_problem(&p);
}

static void similarity__knows_sign_and_not_scale_or_constants(void **state)
{
    (void)state;
    enum { N = 1000 };
    float w[N], s[N], r[N], constant[N];
    cbe_rng rng;
    cbe_rng_seed(&rng, 7);
    size_t top = 0;
    for (size_t i = 0; i < N; i++) {
        w[i] = (float)exp(3 * cbe_rng_normal(&rng));
        s[i] = (float)cbe_rng_normal(&rng);
        r[i] = -s[i];
        constant[i] = s[i] * 0.25F + 64;
        if (w[i] > w[top]) top = i;
    }
    const double reversed = -1, same = 1;
    double got = cbe_alignment_similarity(N, w, top, s, r);
    cbe_assert_close(&got, &reversed, 1, 1e-13, 0, "R = -S");
    got = cbe_alignment_similarity(N, w, top, s, s);
    cbe_assert_close(&got, &same, 1, 1e-13, 0, "R = S");
    /* Numbers near 64 have steps of 2^-17. */
    got = cbe_alignment_similarity(N, w, top, s, constant);
    cbe_assert_close(&got, &same, 1, 1e-8, 0, "R = S / 4 + 64");
    for (size_t i = 0; i < N; i++) r[i] = (float)cbe_rng_normal(&rng);
    const double plain = cbe_alignment_similarity(N, w, top, s, r);
    assert_true(fabs(plain) < 0.9);
    for (size_t i = 0; i < N; i++) constant[i] = r[i] + 64;
    got = cbe_alignment_similarity(N, w, top, s, constant);
    cbe_assert_close(&got, &plain, 1, 1e-5, 0, "a constant added");
    for (size_t i = 0; i < N; i++) w[i] *= 8;
    assert_true(cbe_alignment_similarity(N, w, top, s, r) == plain);
    memset(constant, 0, sizeof constant);
    assert_true(cbe_alignment_similarity(N, w, top, constant, r) == 0);
    assert_true(cbe_alignment_similarity(N, w, top, s, constant) == 0);
    constant[5] = NAN;
    assert_true(isnan(cbe_alignment_similarity(N, w, top, s, constant)));
}

/* The same bits in one thread and three; with less memory the same numbers, down to the least,
 * which is told. */
static void result__does_not_depend_on_threads_and_batches(void **state)
{
    (void)state;
    problem p = open_problem("qwen3", 5, 40, NULL);
    double *v = malloc(p.d * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < p.d; i++) v[i] = (double)(i % 5) - 2;
    cbe_subspace *subspace = span_of(1, p.d, v);
    for (int scope = 0; scope < CBE_N_SCOPES; scope++) {
        cbe_alignment_options options = {
            .ablation = CBE_ABLATE_RESAMPLE, .scope = (cbe_scope)scope, .max_rank = 1};
        const int threads = omp_get_max_threads();
        size_t n;
        double *want = measure(&p, &options, 1, subspace, &n);
        omp_set_num_threads(threads == 3 ? 1 : 3);
        double *got = measure(&p, &options, 1, subspace, &n);
        assert_memory_equal(got, want, n * sizeof *got);
        free(got);
        omp_set_num_threads(threads);
        size_t allowed = 0;
        for (options.memory = (size_t)1 << 26;; options.memory = options.memory / 8 * 7) {
            cbe_alignment *alignment = NULL;
            const cbe_status st =
                cbe_alignment_create(&alignment, p.model, p.states, &options, &err);
            cbe_alignment_free(alignment);
            if (st != CBE_OK) {
                assert_int_equal(st, CBE_ERR_ARG);
                assert_non_null(strstr(err.message, "5 sequences of 40 tokens need"));
                break;
            }
            allowed = options.memory;
        }
        options.memory = allowed;
        got = measure(&p, &options, 1, subspace, &n);
        cbe_assert_close(got, want, n, 1e-6, 1e-4, "one sequence at a time");
        free(got);
        free(want);
    }
    cbe_subspace_free(subspace);
    free(v);
    close_problem(&p);
}

static void bad_arguments__are_refused(void **state)
{
    (void)state;
    problem p = open_problem("llama", 1, 3, NULL);
    cbe_alignment *alignment = NULL;
    cbe_alignment_options options = {.ablation = CBE_ABLATE_OPTIMAL, .max_rank = 1};
    assert_int_equal(cbe_alignment_create(&alignment, p.model, p.states, &options, &err),
                     CBE_ERR_UNSUPPORTED);
    options.ablation = CBE_ABLATE_MEAN;
    options.skip_positions = 2;
    assert_int_equal(cbe_alignment_create(&alignment, p.model, p.states, &options, &err),
                     CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "at least 2 tokens"));
    options.skip_positions = 3;
    assert_int_equal(cbe_alignment_create(&alignment, p.model, p.states, &options, &err),
                     CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "no token is left"));
    options.skip_positions = 0;
    cbe_assert_ok(cbe_alignment_create(&alignment, p.model, p.states, &options, &err), &err);
    double *v = calloc(2 * p.d, sizeof *v), similarity[3];
    assert_non_null(v);
    v[0] = v[p.d + 1] = 1;
    cbe_subspace *subspace = span_of(2, p.d, v);
    assert_int_equal(cbe_alignment_measure(alignment, 1, subspace, similarity, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "a subspace of rank 2 at hidden_states.1"));
    cbe_subspace_free(subspace);
    cbe_alignment_free(alignment);
    free(v);
    close_problem(&p);
}

int main(void)
{
    static const char *const truth[] = {"bloom", "gemma2", "gpt2", "gpt_neox", "llama", "olmo2"},
                             *const families[] = {CBE_TEST_FAMILIES};
    enum {
        N_TRUTH = sizeof truth / sizeof *truth,
        N_FAMILIES = sizeof families / sizeof *families
    };
    struct CMUnitTest tests[N_TRUTH + 2 * N_FAMILIES + 3] = {
        cmocka_unit_test(similarity__knows_sign_and_not_scale_or_constants),
        cmocka_unit_test(result__does_not_depend_on_threads_and_batches),
        cmocka_unit_test(bad_arguments__are_refused),
    };
    size_t n = 3;
    for (size_t i = 0; i < N_TRUTH; i++)
        tests[n++] = (struct CMUnitTest){truth[i], one_direction__matches_pytorch, NULL, NULL,
                                         (void *)(uintptr_t)truth[i]};
    for (size_t i = 0; i < N_FAMILIES; i++) {
        tests[n++] = (struct CMUnitTest){families[i], last_output__is_1_at_every_token, NULL, NULL,
                                         (void *)(uintptr_t)families[i]};
        tests[n++] = (struct CMUnitTest){families[i], tuned_lens__matches_the_definition, NULL,
                                         NULL, (void *)(uintptr_t)families[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
