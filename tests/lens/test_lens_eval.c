/* Lenses measured on small models: against the golden logits, and against float64 for lenses of our
 * own. */
#include "lens/evaluate.h"

#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "ref/lens_measures_ref.h"
#include "ref/lens_ref.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/random.h"
#include "support/temp_folder.h"

static cbe_error err;
static const size_t all_layers[] = {0, 1, 2, 3};

/* A model with its golden tokens. */
typedef struct {
    cbe_model *model;
    cbe_tokens tokens;
    size_t n_blocks, hidden_size, vocab_size;
} fixture;

static fixture open_fixture(const char *name)
{
    fixture f = {0};
    char *path = cbe_golden_path("models/%s", name);
    f.model = open_model(path);
    free(path);
    path = cbe_golden_path("models/%s/golden.safetensors", name);
    cbe_safetensors *file = open_golden(path);
    f.tokens.ids =
        cbe_golden_ids(file, "input_ids", &f.tokens.n_sequences, &f.tokens.context_length);
    cbe_safetensors_close(file);
    free(path);
    const cbe_model_config *config = cbe_model_get_config(f.model);
    f.n_blocks = config->n_layers;
    f.hidden_size = config->hidden_size;
    f.vocab_size = config->vocab_size;
    return f;
}

static void close_fixture(fixture *f)
{
    free(f->tokens.ids);
    cbe_model_close(f->model);
}

static cbe_tuned_lens *random_lens(const fixture *f, bool bias, uint64_t seed)
{
    cbe_tuned_lens *lens = NULL;
    cbe_test_random r = {seed};
    const size_t d = f->hidden_size;
    cbe_assert_ok(cbe_tuned_lens_create(&lens, f->n_blocks, d, bias, &err), &err);
    for (size_t i = 0; i < f->n_blocks; i++) {
        for (size_t k = 0; k < d * d; k++)
            lens->weight[i][k] = (float)(0.3 / sqrt((double)d) * cbe_test_normal(&r));
        for (size_t k = 0; k < d && bias; k++)
            lens->bias[i][k] = (float)(0.1 * cbe_test_normal(&r));
    }
    return lens;
}

static cbe_lens_eval *evaluate(const fixture *f, const cbe_lens_eval_options *options)
{
    cbe_lens_eval *eval = NULL;
    cbe_assert_ok(cbe_lens_eval_run(&eval, f->model, &f->tokens, options, &err), &err);
    return eval;
}

/* Means over tokens and standard errors over sequences, from logits (N, V) in float64. */
static cbe_lens_figures figures_ref(const fixture *f, size_t skip, const double *final,
                                    const double *lens)
{
    cbe_lens_figures figures;
    const size_t b = f->tokens.n_sequences, s = f->tokens.context_length, v = f->vocab_size;
    for (int m = 0; m < CBE_N_LENS_MEASURES; m++) {
        double means[64], mean = 0, squares = 0;
        for (size_t i = 0; i < b; i++) {
            double sum = 0;
            for (size_t k = skip; k < s; k++) {
                double row[CBE_N_LENS_MEASURES];
                const int64_t label = k + 1 < s ? f->tokens.ids[i * s + k + 1] : -1;
                cbe_lens_measures_ref(v, final + (i * s + k) * v, lens + (i * s + k) * v, label,
                                      row);
                sum += row[m];
            }
            means[i] = sum / (double)(m == CBE_LENS_CE ? s - skip - 1 : s - skip);
            mean += means[i] / (double)b;
        }
        for (size_t i = 0; i < b; i++) squares += (means[i] - mean) * (means[i] - mean);
        figures.mean[m] = mean;
        figures.error[m] = sqrt(squares / (double)(b - 1) / (double)b);
    }
    return figures;
}

static void assert_figures(const cbe_lens_figures *got, const cbe_lens_figures *want,
                           double tolerance, const char *what, size_t layer)
{
    cbe_assert_close(got->mean, want->mean, CBE_N_LENS_MEASURES, tolerance, tolerance,
                     "%s, layer %zu", what, layer);
    cbe_assert_close(got->error, want->error, CBE_N_LENS_MEASURES, tolerance, tolerance,
                     "errors of %s, layer %zu", what, layer);
}

static double *golden_logits(const cbe_safetensors *golden, const char *lens, size_t layer)
{
    char name[64];
    size_t n;
    snprintf(name, sizeof name, "%s.%zu.logits", lens, layer);
    float *values = cbe_golden_floats(golden, name, &n);
    double *out = malloc(n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = (double)values[i];
    free(values);
    return out;
}

static void golden__lenses_have_the_stored_cross_entropy_and_what_their_logits_give(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama"}, *const kinds[] = {"logit", "tuned"};
    for (size_t n = 0; n < 2; n++) {
        fixture f = open_fixture(names[n]);
        cbe_tuned_lens *lens = NULL;
        char *path = cbe_golden_path("lens/%s", names[n]);
        cbe_assert_ok(cbe_tuned_lens_load(&lens, NULL, path, NULL, &err), &err);
        free(path);
        path = cbe_golden_path("lens/%s/golden.safetensors", names[n]);
        cbe_safetensors *golden = open_golden(path);
        free(path);
        const cbe_named_lens lenses[] = {{"logit", NULL}, {"tuned", lens}};
        const cbe_lens_eval_options options = {
            .n_layers = f.n_blocks, .n_lenses = 2, .layers = all_layers, .lenses = lenses};
        cbe_lens_eval *eval = evaluate(&f, &options);
        double *final = golden_logits(golden, "logit", f.n_blocks);
        for (size_t l = 0; l < 2; l++)
            for (size_t i = 0; i < f.n_blocks; i++) {
                char name[64];
                cbe_tensor ce;
                double stored;
                const cbe_lens_figures *got = &eval->figures[l * f.n_blocks + i];
                double *logits = golden_logits(golden, kinds[l], i);
                const cbe_lens_figures want = figures_ref(&f, 0, final, logits);
                assert_figures(got, &want, 1e-5, kinds[l], i);
                snprintf(name, sizeof name, "%s.%zu.ce", kinds[l], i);
                cbe_assert_ok(cbe_safetensors_get(golden, name, &ce, &err), &err);
                memcpy(&stored, ce.data, sizeof stored);
                cbe_assert_close(&got->mean[CBE_LENS_CE], &stored, 1, 1e-5, 0, "%s of %s", name,
                                 names[n]);
                free(logits);
            }
        const cbe_lens_figures want = figures_ref(&f, 0, final, final);
        assert_figures(&eval->final, &want, 1e-5, "final", f.n_blocks);
        assert_int_equal(eval->n_tokens, 34);
        assert_int_equal(eval->n_labelled, 32);
        assert_int_equal(eval->n_blocks, f.n_blocks);
        free(final);
        cbe_lens_eval_free(eval);
        cbe_safetensors_close(golden);
        cbe_tuned_lens_free(lens);
        close_fixture(&f);
    }
}

/* Final logits, and those of a translator on hidden_states.<layer>, of all tokens in float64. */
static double *logits_ref(const fixture *f, const capture *c, size_t layer,
                          cbe_translator translator)
{
    const size_t n = c->n_tokens, d = f->hidden_size, v = f->vocab_size;
    double *out = malloc(n * v * sizeof *out), hidden[256];
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < d; k++) hidden[k] = (double)c->hidden[(layer * n + i) * d + k];
        cbe_lens_logits_ref(cbe_model_decoder(f->model), translator, hidden, out + i * v);
    }
    return out;
}

static void lenses__meet_float64_with_skipped_positions_and_chosen_layers(void **state)
{
    (void)state;
    /* soft cap; output bias; layer norm */
    static const char *const names[] = {"gemma2", "gptj", "opt"};
    for (size_t n = 0; n < 3; n++) {
        fixture f = open_fixture(names[n]);
        capture c;
        capture_run(&c, f.model, f.tokens.n_sequences, f.tokens.context_length, f.tokens.ids);
        cbe_tuned_lens *with_bias = random_lens(&f, true, 1), *without = random_lens(&f, false, 2);
        const cbe_named_lens lenses[] = {
            {"with bias", with_bias}, {"logit", NULL}, {"without", without}};
        static const size_t layers[] = {0, 2};
        double *final = logits_ref(&f, &c, f.n_blocks, (cbe_translator){NULL, NULL});
        for (size_t skip = 0; skip <= 15; skip += 5) {
            const cbe_lens_eval_options options = {.n_layers = 2,
                                                   .n_lenses = 3,
                                                   .layers = layers,
                                                   .lenses = lenses,
                                                   .skip_positions = skip,
                                                   .transfer = true};
            cbe_lens_eval *eval = evaluate(&f, &options);
            for (size_t l = 0; l < 3; l++)
                for (size_t i = 0; i < 2; i++)
                    for (size_t j = 0; j < 2; j++) {
                        if (i != j && !lenses[l].lens) continue;
                        double *logits =
                            logits_ref(&f, &c, layers[j],
                                       cbe_tuned_lens_translator(lenses[l].lens, layers[i]));
                        const cbe_lens_figures want = figures_ref(&f, skip, final, logits);
                        if (i == j)
                            assert_figures(&eval->figures[l * 2 + i], &want, 1e-5, lenses[l].name,
                                           layers[i]);
                        if (lenses[l].lens)
                            assert_figures(&eval->transfer[l][i * 2 + j], &want, 1e-5, "transfer",
                                           layers[j]);
                        free(logits);
                    }
            assert_null(eval->transfer[1]);
            assert_int_equal(eval->n_tokens, 2 * (17 - skip));
            assert_int_equal(eval->n_labelled, 2 * (16 - skip));
            cbe_lens_eval_free(eval);
        }
        free(final);
        cbe_tuned_lens_free(with_bias);
        cbe_tuned_lens_free(without);
        capture_free(&c);
        close_fixture(&f);
    }
}

/* Random ids: more sequences than the golden ones. */
static void many_tokens(fixture *f, size_t n_sequences, size_t context_length)
{
    cbe_test_random r = {11};
    free(f->tokens.ids);
    f->tokens.ids = malloc(n_sequences * context_length * sizeof *f->tokens.ids);
    f->tokens.n_sequences = n_sequences;
    f->tokens.context_length = context_length;
    for (size_t i = 0; i < n_sequences * context_length; i++)
        f->tokens.ids[i] = (int64_t)(cbe_test_uniform(&r) * (double)f->vocab_size);
}

static void bits__do_not_depend_on_threads(void **state)
{
    (void)state;
    fixture f = open_fixture("llama");
    many_tokens(&f, 21, 40);
    cbe_tuned_lens *lens = random_lens(&f, true, 5);
    const cbe_named_lens lenses[] = {{"logit", NULL}, {"tuned", lens}};
    const cbe_lens_eval_options options = {
        .n_layers = 3, .n_lenses = 2, .layers = all_layers, .lenses = lenses, .transfer = true};
    const int threads = omp_get_max_threads();
    cbe_lens_eval *evals[3];
    for (int t = 0; t < 3; t++) {
        omp_set_num_threads(t + 1);
        evals[t] = evaluate(&f, &options);
    }
    omp_set_num_threads(threads);
    for (int t = 1; t < 3; t++) {
        assert_memory_equal(evals[t]->figures, evals[0]->figures, 6 * sizeof(cbe_lens_figures));
        assert_memory_equal(evals[t]->transfer[1], evals[0]->transfer[1],
                            9 * sizeof(cbe_lens_figures));
        assert_memory_equal(&evals[t]->final, &evals[0]->final, sizeof(cbe_lens_figures));
    }
    for (size_t i = 0; i < 3; i++)
        assert_memory_equal(&evals[0]->transfer[1][4 * i], &evals[0]->figures[3 + i],
                            sizeof(cbe_lens_figures));
    for (int t = 0; t < 3; t++) cbe_lens_eval_free(evals[t]);
    cbe_tuned_lens_free(lens);
    close_fixture(&f);
}

/* Blocks of tokens that end within sequences, and hidden states of one or two sequences at a
 * time. */
static void memory__changes_the_figures_by_rounding_alone(void **state)
{
    (void)state;
    fixture f = open_fixture("llama");
    many_tokens(&f, 15, 50);
    const cbe_named_lens lenses[] = {{"logit", NULL}};
    const size_t sequence = 4 * f.hidden_size * sizeof(float) * 50,
                 memory[] = {0, 1, 2 * sequence, 7 * sequence};
    cbe_lens_eval *first = NULL;
    for (size_t i = 0; i < 4; i++) {
        const cbe_lens_eval_options options = {.n_layers = 3,
                                               .n_lenses = 1,
                                               .layers = all_layers,
                                               .lenses = lenses,
                                               .memory = memory[i]};
        cbe_lens_eval *eval = evaluate(&f, &options);
        if (!first) {
            first = eval;
            continue;
        }
        for (size_t k = 0; k < 3; k++)
            assert_figures(&eval->figures[k], &first->figures[k], 1e-6, "memory", k);
        assert_figures(&eval->final, &first->final, 1e-6, "final", 3);
        cbe_lens_eval_free(eval);
    }
    cbe_lens_eval_free(first);
    close_fixture(&f);
}

static void one_sequence__has_no_standard_error(void **state)
{
    (void)state;
    fixture f = open_fixture("llama");
    f.tokens.n_sequences = 1;
    const cbe_named_lens lenses[] = {{"logit", NULL}};
    const cbe_lens_eval_options options = {
        .n_layers = 1, .n_lenses = 1, .layers = all_layers, .lenses = lenses};
    cbe_lens_eval *eval = evaluate(&f, &options);
    for (int m = 0; m < CBE_N_LENS_MEASURES; m++) {
        assert_true(isfinite(eval->figures[0].mean[m]));
        assert_true(isnan(eval->figures[0].error[m]));
    }
    cbe_lens_eval_free(eval);
    close_fixture(&f);
}

static void refuse(const fixture *f, const cbe_lens_eval_options *options, cbe_status want,
                   const char *message)
{
    cbe_lens_eval *eval = NULL;
    assert_int_equal(cbe_lens_eval_run(&eval, f->model, &f->tokens, options, &err), want);
    assert_null(eval);
    if (!strstr(err.message, message)) fail_msg("'%s' lacks '%s'", err.message, message);
}

static bool cancel(void *context, size_t done, size_t total)
{
    size_t *calls = context;
    assert_true(done <= total);
    return ++*calls < 2;
}

static void bad_input__is_refused(void **state)
{
    (void)state;
    static const size_t falling[] = {1, 0}, twice[] = {1, 1}, beyond[] = {3};
    size_t calls = 0;
    fixture f = open_fixture("llama"), wide = f, deep = f;
    wide.hidden_size++;
    deep.n_blocks++;
    cbe_tuned_lens *wider = random_lens(&wide, true, 1), *deeper = random_lens(&deep, true, 1),
                   *bad = random_lens(&f, true, 1);
    for (size_t k = 0; k < f.hidden_size * f.hidden_size; k++) bad->weight[1][k] = 3e38f;
    const cbe_named_lens logit[] = {{"logit", NULL}},
                         wrong[] = {{"logit", NULL}, {"wider lens", wider}},
                         layers[] = {{"deeper lens", deeper}},
                         infinite[] = {{"infinite lens", bad}};
    cbe_lens_eval_options o = {.n_layers = 2, .n_lenses = 1, .layers = falling, .lenses = logit};
    refuse(&f, &o, CBE_ERR_ARG, "must rise");
    o.layers = twice;
    refuse(&f, &o, CBE_ERR_ARG, "must rise");
    o.layers = beyond;
    o.n_layers = 1;
    refuse(&f, &o, CBE_ERR_ARG, "below 3");
    o.layers = all_layers;
    o.n_layers = 3;
    o.skip_positions = 16;
    refuse(&f, &o, CBE_ERR_ARG, "no token with a next one");
    o.skip_positions = SIZE_MAX;
    refuse(&f, &o, CBE_ERR_ARG, "no token with a next one");
    o.skip_positions = 0;
    o.lenses = wrong;
    o.n_lenses = 2;
    refuse(&f, &o, CBE_ERR_SHAPE, "wider lens");
    o.lenses = layers;
    o.n_lenses = 1;
    refuse(&f, &o, CBE_ERR_SHAPE, "deeper lens");
    o.lenses = infinite;
    refuse(&f, &o, CBE_ERR_NUMERIC, "infinite lens, layer 1");
    o.lenses = logit;
    o.progress = cancel;
    o.context = &calls;
    refuse(&f, &o, CBE_ERR_CANCELLED, "cancelled");
    assert_int_equal(calls, 2);
    o.progress = NULL;
    const int64_t id = f.tokens.ids[3];
    f.tokens.ids[3] = (int64_t)f.vocab_size;
    refuse(&f, &o, CBE_ERR_ARG, "139");
    f.tokens.ids[3] = id;
    f.tokens.context_length = 1;
    refuse(&f, &o, CBE_ERR_ARG, "no token with a next one");
    f.tokens.context_length = 17;
    f.tokens.n_sequences = 0;
    refuse(&f, &o, CBE_ERR_ARG, "no token with a next one");
    cbe_tuned_lens_free(wider);
    cbe_tuned_lens_free(deeper);
    cbe_tuned_lens_free(bad);
    close_fixture(&f);
}

static void memory_fails__at_any_allocation_without_a_leak(void **state)
{
    const char *folder = temp_path(state, "failing");
    fixture f = open_fixture("llama");
    cbe_tuned_lens *lens = random_lens(&f, true, 5);
    const cbe_named_lens lenses[] = {{"logit", NULL}, {"tuned", lens}};
    const cbe_lens_eval_options options = {
        .n_layers = 2, .n_lenses = 2, .layers = all_layers, .lenses = lenses, .transfer = true};
    const cbe_lens_eval_record record = {"model", NULL, 0, NULL};
    mkdir(folder, 0777);
    cbe_status st = CBE_ERR_NOMEM;
    for (long n = 0; st != CBE_OK; n++) {
        cbe_lens_eval *eval = NULL;
        cbe_memory_fail_after(n);
        st = cbe_lens_eval_run(&eval, f.model, &f.tokens, &options, &err);
        if (st == CBE_OK) st = cbe_lens_eval_save(eval, &record, folder, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
        cbe_lens_eval_free(eval);
        assert_true(n < 2000);
    }
    assert_int_equal(temp_count(state, ".tmp"), 0);
    cbe_tuned_lens_free(lens);
    close_fixture(&f);
}

static void text_bytes__of_what_the_labels_stand_for(void **state)
{
    (void)state;
    cbe_tokenizer *tokenizer = NULL;
    int64_t *ids = NULL;
    size_t n, bytes;
    char *path = cbe_golden_path("tokenizers/llama3/tokenizer.json");
    cbe_assert_ok(cbe_tokenizer_from_json(&tokenizer, path, NULL, NULL, &err), &err);
    free(path);
    static const char text[] =
        "The quick brown fox, caf\xc3\xa9 and \xe2\x82\xac 12345, jumps over the lazy dog.";
    cbe_assert_ok(cbe_tokenizer_encode(tokenizer, text, strlen(text), false, &ids, &n, NULL, &err),
                  &err);
    const cbe_tokens one = {.n_sequences = 1, .context_length = n, .ids = ids};
    for (size_t skip = 0; skip + 2 <= n; skip++) {
        char *first = NULL;
        size_t length, whole;
        cbe_assert_ok(cbe_tokenizer_decode(tokenizer, ids, skip + 1, &first, &length, &err), &err);
        cbe_tokenizer_free_text(first);
        cbe_assert_ok(cbe_tokenizer_decode(tokenizer, ids, n, &first, &whole, &err), &err);
        cbe_tokenizer_free_text(first);
        assert_int_equal(whole, strlen(text));
        cbe_assert_ok(cbe_lens_eval_text_bytes(&bytes, tokenizer, &one, skip, &err), &err);
        assert_int_equal(bytes, whole - length);
    }
    const cbe_tokens halves = {.n_sequences = 2, .context_length = n / 2, .ids = ids};
    size_t half, other;
    cbe_assert_ok(cbe_lens_eval_text_bytes(&bytes, tokenizer, &halves, 0, &err), &err);
    const cbe_tokens left = {.n_sequences = 1, .context_length = n / 2, .ids = ids},
                     right = {.n_sequences = 1, .context_length = n / 2, .ids = ids + n / 2};
    cbe_assert_ok(cbe_lens_eval_text_bytes(&half, tokenizer, &left, 0, &err), &err);
    cbe_assert_ok(cbe_lens_eval_text_bytes(&other, tokenizer, &right, 0, &err), &err);
    assert_int_equal(bytes, half + other);
    cbe_assert_ok(cbe_lens_eval_text_bytes(&bytes, tokenizer, &one, n - 1, &err), &err);
    assert_int_equal(bytes, 0);
    ids[1] = 1 << 28;
    assert_int_equal(cbe_lens_eval_text_bytes(&bytes, tokenizer, &one, 0, &err), CBE_ERR_ARG);
    cbe_tokenizer_free_ids(ids);
    cbe_tokenizer_free(tokenizer);

    const cbe_lens_eval eval = {.n_labelled = 300, .text_bytes = 1000},
                        unknown = {.n_labelled = 300};
    const double bits = cbe_lens_eval_bits_per_byte(&eval), want = 0.3 / log(2);
    cbe_assert_close(&bits, &want, 1, 0, 1e-12, "bits per byte of a nat a token");
    assert_true(isnan(cbe_lens_eval_bits_per_byte(&unknown)));
}

static void files__hold_the_figures_and_names_of_any_bytes(void **state)
{
    static char first[] = "logit lens", second_name[] = "a \"lens\", <b>\xff\n",
                *names[] = {first, second_name};
    const char *folder = temp_path(state, "files");
    size_t layers[] = {3, 5}, size;
    cbe_lens_figures figures[4], matrix[4], *transfer[] = {NULL, matrix};
    for (size_t i = 0; i < 4; i++)
        for (int m = 0; m < CBE_N_LENS_MEASURES; m++) {
            figures[i].mean[m] = 0.123456789 * (double)(i + 1) + m;
            figures[i].error[m] = i == 3 ? NAN : 0.01 * (double)i;
            matrix[i].mean[m] = (double)i + 0.25 * m;
            matrix[i].error[m] = NAN;
        }
    const cbe_lens_eval eval = {.n_lenses = 2,
                                .n_layers = 2,
                                .n_blocks = 6,
                                .layers = layers,
                                .names = names,
                                .n_sequences = 4,
                                .context_length = 10,
                                .skip_positions = 1,
                                .n_tokens = 36,
                                .n_labelled = 32,
                                .final = figures[0],
                                .figures = figures,
                                .transfer = transfer,
                                .text_bytes = 100};
    static const char *const texts[] = {"one.txt", "two \xfe"};
    const cbe_lens_eval_record record = {"model.gguf", NULL, 2, texts};
    mkdir(folder, 0777);
    cbe_assert_ok(cbe_lens_eval_save(&eval, &record, folder, &err), &err);

    char *csv = temp_read(temp_path(state, "files/eval.csv"), &size),
         *line = strstr(csv, "\n\"logit lens\",5,");
    assert_non_null(line);
    double got[11], want[11];
    line += strlen("\n\"logit lens\",5");
    for (int i = 0; i < 11; i++) got[i] = strtod(line + 1, &line);
    const double bits = 0.32 / log(2);
    for (int m = 0, i = 0; m < CBE_N_LENS_MEASURES; m++) {
        want[i++] = figures[1].mean[m];
        want[i++] = figures[1].error[m];
        if (m < CBE_LENS_TOP1) want[i++] = bits * figures[1].mean[m];
    }
    cbe_assert_close(got, want, 11, 0, 1e-8, "a row of eval.csv");
    assert_non_null(strstr(csv, "\n\"a \"\"lens\"\", <b>\xff\n\",5,0.493827156,,"));
    assert_non_null(strstr(csv, "\n\"final\",6,"));
    free(csv);

    csv = temp_read(temp_path(state, "files/transfer.csv"), &size);
    assert_non_null(strstr(csv, "\",3,5,1.25,1\n"));
    assert_non_null(strstr(csv, "\",5,3,2.25,2\n"));
    free(csv);

    json_error_t where;
    json_t *json = json_load_file(temp_path(state, "files/eval.json"), 0, &where);
    if (!json) fail_msg("%s", where.text);
    json_t *second = json_array_get(json_object_get(json, "lenses"), 1),
           *row = json_array_get(json_object_get(second, "layers"), 1);
    const double kl = json_real_value(json_object_get(row, "kl")),
                 per_byte = json_real_value(json_object_get(row, "kl_bits_per_byte")),
                 want_byte = bits * figures[3].mean[CBE_LENS_KL];
    cbe_assert_close(&kl, &figures[3].mean[CBE_LENS_KL], 1, 0, 1e-15, "kl");
    cbe_assert_close(&per_byte, &want_byte, 1, 0, 1e-12, "kl in bits per byte");
    assert_true(json_is_null(json_object_get(row, "kl_error")));
    json_t *moved = json_object_get(json_object_get(second, "transfer"), "kl");
    assert_true(json_real_value(json_array_get(json_array_get(moved, 1), 0)) == 2.25);
    assert_string_equal(json_string_value(json_object_get(second, "name")),
                        "a \"lens\", <b>\xef\xbf\xbd\n");
    assert_true(json_is_null(json_object_get(json, "tokens")));
    assert_int_equal(json_integer_value(json_object_get(json, "text_bytes")), 100);
    json_decref(json);

    static const char *const charts[] = {"files/eval.svg", "files/transfer.svg"};
    for (int i = 0; i < 2; i++) {
        char *svg = temp_read(temp_path(state, charts[i]), &size);
        assert_non_null(strstr(svg, "<polyline"));
        assert_null(strstr(svg, "<b>"));
        free(svg);
    }
    assert_int_equal(cbe_lens_eval_save(&eval, &record, temp_path(state, "no such folder"), &err),
                     CBE_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden__lenses_have_the_stored_cross_entropy_and_what_their_logits_give),
        cmocka_unit_test(lenses__meet_float64_with_skipped_positions_and_chosen_layers),
        cmocka_unit_test(bits__do_not_depend_on_threads),
        cmocka_unit_test(memory__changes_the_figures_by_rounding_alone),
        cmocka_unit_test(one_sequence__has_no_standard_error),
        cmocka_unit_test(bad_input__is_refused),
        cmocka_unit_test(memory_fails__at_any_allocation_without_a_leak),
        cmocka_unit_test(text_bytes__of_what_the_labels_stand_for),
        cmocka_unit_test(files__hold_the_figures_and_names_of_any_bytes),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
