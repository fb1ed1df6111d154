/*
 * Objectives whose tokens are divided over 3 processes, beside the same objective of all tokens in
 * one: energies, gradients, energies per token and constants, through a lens and in the whole
 * model. And hidden states that they give one another.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extract/extraction.h"
#include "core/memory.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/in_processes.h"

enum { B = 7, S = 9, M = 3, MOST = B * S };

static cbe_error err;

static const char *const ablations[] = {"mean", "resample", "zero", "optimal"};

/* A model, a text of B sequences, and the states of one layer and of the end. */
typedef struct {
    cbe_model *model;
    cbe_tokens tokens;
    int64_t ids[MOST];
    bool layers[16];
    size_t d, n_blocks;
} problem;

static void open_problem(problem *p, const char *name)
{
    char *path = cbe_golden_path("models/%s", name);
    p->model = open_model(path);
    free(path);
    const cbe_model_config *config = cbe_model_get_config(p->model);
    p->d = config->hidden_size;
    p->n_blocks = config->n_layers;
    for (size_t i = 0; i < MOST; i++)
        p->ids[i] = (int64_t)((i * i * 7 + i / 5) % config->vocab_size);
    p->tokens = (cbe_tokens){.n_sequences = B, .context_length = S, .ids = p->ids};
    memset(p->layers, 0, sizeof p->layers);
    p->layers[1] = p->layers[p->n_blocks] = true;
}

/* An objective of sequences first .. first + n - 1, at the input of block 1. */
typedef struct {
    cbe_hidden_states *states;
    cbe_layer_objective *layer;
    cbe_objective *objective;
} made;

static void make(made *m, problem *p, const cbe_extraction_options *options, size_t first, size_t n)
{
    const cbe_tokens share = {.n_sequences = n, .context_length = S, .ids = p->ids + first * S};
    cbe_assert_ok(
        cbe_hidden_states_capture(&m->states, p->model, &share, p->layers, NULL, NULL, &err), &err);
    cbe_assert_ok(cbe_layer_objective_create(&m->layer, m->states, cbe_model_decoder(p->model),
                                             options, &err),
                  &err);
    m->objective = NULL;
}

static void release(made *m)
{
    cbe_layer_objective_free(m->layer);
    cbe_hidden_states_close(m->states);
}

/* What an objective says of M directions. */
typedef struct {
    double energy[M], optimal[M], constant[M], per_token[M * MOST], *grad;
    size_t n;
} answers;

static void ask(made *m, size_t d, const double *v, answers *a)
{
    if (!m->objective)
        cbe_assert_ok(cbe_layer_objective_set(m->layer, 1, &m->objective, &err), &err);
    a->n = cbe_objective_n_tokens(m->objective);
    a->grad = malloc(M * d * sizeof *a->grad);
    cbe_assert_ok(cbe_objective_eval(m->objective, M, v, a->energy, a->grad, a->per_token, &err),
                  &err);
    cbe_assert_ok(
        cbe_objective_eval_optimal(m->objective, M, v, a->optimal, a->constant, NULL, NULL, &err),
        &err);
}

/* Differences are counted and told: an assertion that ends the test in one process would leave the
 * others waiting. */
static size_t n_differences;

static void near(const double *got, const double *want, size_t n, double absolute, double relative,
                 const char *what, const char *of)
{
    const size_t i = cbe_first_difference(got, want, n, absolute, relative);
    if (i == n) return;
    print_error("%s, %s %zu is %.10g, in one process %.10g\n", what, of, i, got[i], want[i]);
    n_differences++;
}

static void compare(size_t d, const answers *got, const answers *want, bool optimal,
                    const char *what)
{
    const double n_got = (double)got->n, n_want = (double)want->n;
    double top = 0;
    for (size_t k = 0; k < M * d; k++) top = fmax(top, fabs(want->grad[k]));
    near(&n_got, &n_want, 1, 0, 0, what, "number of tokens");
    /* Hidden states and logits are float32, and the forward pass of fewer sequences at once rounds
     * them differently: cross-entropies move by the steps of one logit. The gradient of optimal
     * ablation moves with its constant, which is settled where energies are. */
    near(got->energy, want->energy, M, 3e-6, 1e-5, what, "energy");
    near(got->grad, want->grad, M * d, (optimal ? 1e-3 : 1e-5) * top, 0, what, "gradient");
    near(got->per_token, want->per_token, M * want->n, 2e-5, 1e-4, what, "energy of a token");
    near(got->optimal, want->optimal, M, 3e-6, 1e-5, what, "optimal energy");
}

/* Rank 0 asks both, of all tokens, a sample, and what is held out; the others answer. */
static void check(problem *p, const cbe_processes *all, cbe_extraction_options options,
                  const char *what)
{
    made divided, whole;
    const size_t rank = cbe_processes_rank(all), size = cbe_processes_size(all);
    const size_t first = B * rank / size, n = B * (rank + 1) / size - first;
    double *v = malloc(M * p->d * sizeof *v);
    for (size_t i = 0; i < M * p->d; i++) v[i] = sin((double)(i * i % 97)) / 4;
    options.search.seed = 3;
    cbe_extraction_options shared = options;
    shared.processes = all;
    make(&divided, p, &shared, first, n);
    if (rank == 0) {
        answers got, want;
        make(&whole, p, &options, 0, B);
        for (int part = 0; part < (options.held_out > 0 ? 3 : 2); part++) {
            for (int which = 0; which < 2; which++) {
                made *m = which ? &whole : &divided;
                if (m->objective && part == 1) cbe_objective_set_sample(m->objective, 20);
                if (m->objective && part == 2) cbe_objective_set_held_out(m->objective);
                ask(m, p->d, v, which ? &want : &got);
            }
            compare(p->d, &got, &want, options.ablation == CBE_ABLATE_OPTIMAL, what);
            free(got.grad);
            free(want.grad);
        }
        release(&whole);
    } else {
        cbe_assert_ok(cbe_extract_assist(divided.layer, cbe_model_decoder(p->model), &shared, &err),
                      &err);
    }
    release(&divided);
    free(v);
}

static void check_all(const cbe_processes *all, bool whole_model, const char *name)
{
    problem p;
    open_problem(&p, name);
    for (int a = 0; a < CBE_N_ABLATIONS; a++)
        for (int kind = 0; kind < CBE_N_LOSSES; kind++)
            for (size_t skip = 0; skip < 2; skip++) {
                cbe_extraction_options options;
                char what[120];
                snprintf(what, sizeof what, "%s, %s, %s, %s, skip %zu", name,
                         whole_model ? "model" : "lens", ablations[a],
                         cbe_loss_name((cbe_loss)kind), skip);
                cbe_extraction_options_init(&options);
                options.ablation = (cbe_ablation)a;
                options.objective = (cbe_loss)kind;
                options.model = whole_model ? p.model : NULL;
                options.skip_positions = skip;
                options.held_out = skip ? 0.3 : 0;
                if (!whole_model && kind == CBE_LOSS_KL) options.metric = CBE_METRIC_COVARIANCE;
                options.ridge = 0.1; /* states differ in their last bits, which S^-1/2 enlarges */
                check(&p, all, options, what);
            }
    cbe_model_close(p.model);
}

static void lens__tokens_divided_give_the_energies_of_all(void **state)
{
    n_differences = 0;
    check_all(*state, false, "llama");
    check_all(*state, false, "gemma2");
    check_all(*state, false, "gpt2");
    assert_int_equal(n_differences, 0);
}

static void model__tokens_divided_give_the_energies_of_all(void **state)
{
    n_differences = 0;
    check_all(*state, true, "llama");
    check_all(*state, true, "gpt2");
    assert_int_equal(n_differences, 0);
}

static void layer__that_cannot_be_set_is_told_and_another_can(void **state)
{
    const cbe_processes *all = *state;
    const size_t rank = cbe_processes_rank(all);
    problem p;
    made m;
    cbe_extraction_options options;
    open_problem(&p, "llama");
    cbe_extraction_options_init(&options);
    options.processes = all;
    make(&m, &p, &options, 2 * rank, 2);
    if (rank == 0) {
        cbe_objective *o;
        assert_int_equal(cbe_layer_objective_set(m.layer, 0, &o, &err), CBE_ERR_ARG);
        assert_non_null(strstr(err.message, "hidden_states.0"));
        cbe_assert_ok(cbe_layer_objective_set(m.layer, 1, &o, &err), &err);
    } else {
        cbe_extract_assist(m.layer, cbe_model_decoder(p.model), &options, &err);
    }
    release(&m);
    cbe_model_close(p.model);
}

/* Sequences of different lengths in blocks of their own, one process without any. */
static void covariance__has_the_bits_of_one_process(void **state)
{
    enum { LONGEST = 40, SEQUENCES = 6, HIDDEN = 70 };
    const cbe_processes *all = *state;
    const size_t rank = cbe_processes_rank(all);
    static const size_t first[] = {0, 4, 4, SEQUENCES};
    static float hidden[SEQUENCES * LONGEST * HIDDEN];
    cbe_covariance_block blocks[SEQUENCES];
    for (size_t i = 0; i < SEQUENCES * LONGEST * HIDDEN; i++)
        hidden[i] = (float)(sin((double)(i * i % 1009)) * (double)(1 + i % HIDDEN));
    for (size_t b = 0; b < SEQUENCES; b++)
        blocks[b] = (cbe_covariance_block){LONGEST - 3 * b, hidden + b * LONGEST * HIDDEN};
    cbe_covariance *divided = NULL, *whole = NULL;
    cbe_assert_ok(cbe_covariance_create(&divided, HIDDEN, first[rank + 1] - first[rank],
                                        blocks + first[rank], all, &err),
                  &err);
    cbe_assert_ok(cbe_covariance_create(&whole, HIDDEN, SEQUENCES, blocks, NULL, &err), &err);
    assert_int_equal(divided->n_tokens, whole->n_tokens);
    assert_memory_equal(divided->mean, whole->mean, HIDDEN * sizeof(double));
    assert_memory_equal(divided->values, whole->values, HIDDEN * sizeof(double));
    assert_memory_equal(divided->components, whole->components, HIDDEN * HIDDEN * sizeof(double));
    cbe_covariance_free(divided);
    cbe_covariance_free(whole);
}

/* A vocabulary large enough for rough evaluations; sequences long enough for the very bits of one
 * process. */
static void rough__has_the_bits_of_one_process(void **state)
{
    enum { LENGTH = 64, SEQUENCES = 5, TOKENS = SEQUENCES * LENGTH, HIDDEN = 8, VOCAB = 17000 };
    const cbe_processes *all = *state;
    const size_t rank = cbe_processes_rank(all), size = cbe_processes_size(all);
    const size_t first = SEQUENCES * rank / size * LENGTH,
                 n = SEQUENCES * (rank + 1) / size * LENGTH - first;
    static float hidden[TOKENS * HIDDEN], gamma[HIDDEN], unembedding[VOCAB * HIDDEN], bias[VOCAB];
    double v[2 * HIDDEN], energy[2][2], grad[2][2 * HIDDEN];
    for (size_t i = 0; i < TOKENS * HIDDEN; i++) hidden[i] = (float)sin((double)(i * i % 1009));
    for (size_t i = 0; i < VOCAB * HIDDEN; i++) unembedding[i] = (float)cos((double)(i * i % 4001));
    for (size_t i = 0; i < HIDDEN; i++) gamma[i] = 1;
    for (size_t i = 0; i < VOCAB; i++) bias[i] = i % 9 == 0 ? 5 : -4;
    for (size_t i = 0; i < 2 * HIDDEN; i++) v[i] = sin((double)i + 1) / 2;
    const cbe_decoder decoder = {.hidden_size = HIDDEN,
                                 .vocab_size = VOCAB,
                                 .norm = CBE_NORM_RMS,
                                 .norm_eps = 1e-5,
                                 .gamma = gamma,
                                 .unembedding = unembedding,
                                 .bias = bias};
    size_t not_rough = 0;
    for (int whole = 0; whole < 2; whole++) {
        cbe_lens_options options = {
            .n_tokens = whole ? TOKENS : n, .max_batch = 2, .sequence_tokens = LENGTH};
        if (!whole) {
            options.processes = all;
            options.first_token = first;
        }
        cbe_objective *objective;
        cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
        cbe_assert_ok(cbe_lens_objective_set_layer(objective,
                                                   whole ? hidden : hidden + first * HIDDEN,
                                                   (cbe_translator){NULL, NULL}, NULL, &err),
                      &err);
        not_rough += !cbe_objective_set_rough(objective, true);
        cbe_assert_ok(cbe_objective_eval(objective, 2, v, energy[whole], grad[whole], NULL, &err),
                      &err);
        cbe_objective_free(objective);
    }
    assert_int_equal(not_rough, 0);
    assert_memory_equal(energy[0], energy[1], sizeof *energy);
    assert_memory_equal(grad[0], grad[1], sizeof *grad);
}

/* Own scope in the whole model, in both metrics: sequences long enough for the very bits of one
 * process, in shares of other sizes. */
static void own_scope__has_the_bits_of_one_process(void **state)
{
    enum { LENGTH = 128, SEQUENCES = 5, TOKENS = SEQUENCES * LENGTH };
    static int64_t ids[TOKENS];
    const cbe_processes *all = *state;
    const size_t rank = cbe_processes_rank(all), size = cbe_processes_size(all),
                 first = SEQUENCES * rank / size, n = SEQUENCES * (rank + 1) / size - first;
    problem p;
    open_problem(&p, "llama");
    for (size_t i = 0; i < TOKENS; i++) ids[i] = (int64_t)((i * i * 11 + i / 7) % 139);
    double *v = malloc(M * p.d * sizeof *v), *grad[2], *per_token[2], energy[2][M];
    for (size_t i = 0; i < M * p.d; i++) v[i] = sin((double)(i * i % 97)) / 4;
    size_t wrong = 0;
    for (int metric = 0; metric < CBE_N_METRICS; metric++) {
        for (int whole = 0; whole < 2; whole++) {
            const cbe_tokens share = {.n_sequences = whole ? SEQUENCES : n,
                                      .context_length = LENGTH,
                                      .ids = ids + (whole ? 0 : first * LENGTH)};
            cbe_extraction_options options;
            cbe_extraction_options_init(&options);
            options.model = p.model;
            options.scope = CBE_SCOPE_OWN;
            options.metric = (cbe_metric_kind)metric;
            options.skip_positions = 1;
            options.processes = whole ? NULL : all;
            made m = {0};
            cbe_assert_ok(
                cbe_hidden_states_capture(&m.states, p.model, &share, p.layers, NULL, NULL, &err),
                &err);
            cbe_assert_ok(cbe_layer_objective_create(&m.layer, m.states, cbe_model_decoder(p.model),
                                                     &options, &err),
                          &err);
            if (whole || rank == 0) {
                cbe_assert_ok(cbe_layer_objective_set(m.layer, 1, &m.objective, &err), &err);
                grad[whole] = malloc(M * p.d * sizeof(double));
                per_token[whole] = malloc(M * TOKENS * sizeof(double));
                cbe_assert_ok(cbe_objective_eval(m.objective, M, v, energy[whole], grad[whole],
                                                 per_token[whole], &err),
                              &err);
            } else {
                cbe_assert_ok(
                    cbe_extract_assist(m.layer, cbe_model_decoder(p.model), &options, &err), &err);
            }
            release(&m);
            if (!whole && rank != 0) break;
        }
        if (rank != 0) continue;
        wrong += memcmp(energy[0], energy[1], sizeof *energy) != 0 || !(energy[0][0] > 0);
        wrong += memcmp(grad[0], grad[1], M * p.d * sizeof(double)) != 0;
        wrong +=
            memcmp(per_token[0], per_token[1], M * SEQUENCES * (LENGTH - 1) * sizeof(double)) != 0;
        for (int i = 0; i < 2; i++) {
            free(grad[i]);
            free(per_token[i]);
        }
    }
    free(v);
    cbe_model_close(p.model);
    assert_int_equal(wrong, 0);
}

/* What each captured of all layers becomes two layers of other sequences, bit for bit; `keep`
 * differs from process to process. */
static void states__that_are_traded_are_those_captured(void **state)
{
    enum { LENGTH = 128, SEQUENCES = 5, TOKENS = SEQUENCES * LENGTH };
    static const size_t first[] = {0, 2, 3, 5}, from[] = {1, 0, 3}, n[] = {4, 5, 1};
    static int64_t ids[TOKENS], derangement[TOKENS];
    const cbe_processes *all = *state;
    const size_t rank = cbe_processes_rank(all);
    problem p;
    open_problem(&p, "llama");
    for (size_t i = 0; i < TOKENS; i++) {
        ids[i] = (int64_t)((i * i * 11 + i / 7) % 139);
        derangement[i] = (int64_t)((i + 5) % TOKENS);
    }
    bool captured[16] = {false}, keep[16] = {false};
    for (size_t i = 0; i < 3; i++) captured[i] = true;
    keep[rank] = keep[rank == 0 ? 2 : 0] = true;
    const cbe_tokens part = {.n_sequences = first[rank + 1] - first[rank],
                             .context_length = LENGTH,
                             .ids = ids + first[rank] * LENGTH};
    const cbe_tokens own = {.n_sequences = n[rank],
                            .context_length = LENGTH,
                            .ids = ids + from[rank] * LENGTH,
                            .derangement = rank == 1 ? derangement : NULL};
    cbe_hidden_states *got, *want;
    cbe_assert_ok(cbe_hidden_states_capture(&got, p.model, &part, captured, NULL, NULL, &err),
                  &err);
    cbe_assert_ok(cbe_hidden_states_trade(got, all, first, &own, from[rank], keep, &err), &err);
    cbe_assert_ok(cbe_hidden_states_capture(&want, p.model, &own, keep, NULL, NULL, &err), &err);
    size_t wrong = cbe_hidden_states_end(got) != cbe_hidden_states_end(want);
    const size_t tokens = n[rank] * LENGTH;
    float *a = malloc(tokens * p.d * sizeof *a), *b = malloc(tokens * p.d * sizeof *b);
    for (size_t i = 0; i < 3; i++) {
        wrong += cbe_hidden_states_has(got, i) != keep[i];
        if (!keep[i]) continue;
        cbe_assert_ok(cbe_hidden_states_read(got, i, 0, a, &err), &err);
        cbe_assert_ok(cbe_hidden_states_read(want, i, 0, b, &err), &err);
        wrong += memcmp(a, b, tokens * p.d * sizeof *a) != 0;
    }
    wrong += memcmp(cbe_hidden_states_ids(got), own.ids, tokens * sizeof *own.ids) != 0;
    wrong += (cbe_hidden_states_derangement(got) != NULL) != (rank == 1);
    if (rank == 1)
        wrong += memcmp(cbe_hidden_states_derangement(got), derangement, sizeof derangement) != 0;
    free(a);
    free(b);
    cbe_hidden_states_close(got);
    cbe_hidden_states_close(want);
    cbe_model_close(p.model);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(lens__tokens_divided_give_the_energies_of_all),
        cmocka_unit_test(model__tokens_divided_give_the_energies_of_all),
        cmocka_unit_test(layer__that_cannot_be_set_is_told_and_another_can),
        cmocka_unit_test(covariance__has_the_bits_of_one_process),
        cmocka_unit_test(rough__has_the_bits_of_one_process),
        cmocka_unit_test(own_scope__has_the_bits_of_one_process),
        cmocka_unit_test(states__that_are_traded_are_those_captured),
    };
    return in_processes_run(sizeof tests / sizeof *tests, tests);
}
