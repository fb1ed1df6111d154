/* cbe probe and cbe extract with --lens model: PyTorch's energies, the lens at the last layer,
 * whole searches. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extract/extraction.h"
#include "formats/safetensors.h"
#include "math/bf16.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"
#include "support/tensor_file.h"

enum { K = 3, MOST_LAYERS = 4 };

static cbe_error err;

static double *read_f64(const char *line, const char *name, size_t *n)
{
    cbe_tensor t;
    cbe_safetensors *file = open_golden(program_expand(line));
    cbe_assert_ok(cbe_safetensors_get(file, name, &t, &err), &err);
    assert_int_equal(t.dtype, CBE_F64);
    double *x = malloc(t.n_bytes);
    assert_non_null(x);
    memcpy(x, t.data, t.n_bytes);
    *n = t.n_elements;
    cbe_safetensors_close(file);
    return x;
}

/* The golden direction of a model, for cbe probe; returns d. */
static size_t write_golden_direction(const char *name)
{
    char line[128];
    size_t d;
    snprintf(line, sizeof line, "%%G/models/%s/golden.safetensors", name);
    cbe_safetensors *file = open_golden(program_expand(line));
    float *v = cbe_golden_floats(file, "ablate.v", &d);
    write_columns("%F/v.safetensors", d, 1, v);
    free(v);
    cbe_safetensors_close(file);
    return d;
}

static void compare(const char *golden, const char *got_name, const char *want_name,
                    double absolute, double relative, double of_largest)
{
    size_t n, n_want;
    double *got = read_f64("%F/out.safetensors", got_name, &n),
           *want = read_f64(golden, want_name, &n_want), top = 0;
    assert_int_equal(n, n_want);
    for (size_t i = 0; i < n; i++) top = fmax(top, fabs(want[i]));
    cbe_assert_close(got, want, n, absolute + of_largest * top, relative, "%s", want_name);
    free(got);
    free(want);
}

/* The output of each block unless another site is asked for; the derangement of the tokens'
 * file. */
static void probe__meets_pytorch(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "gemma2"}, *const modes[] = {"mean", "resample",
                                                                              "zero"};
    for (size_t i = 0; i < 2; i++) {
        char line[400], golden[128], got[64], want[64];
        snprintf(golden, sizeof golden, "%%G/models/%s/golden.safetensors", names[i]);
        write_golden_direction(names[i]);
        for (size_t m = 0; m < 3; m++) {
            snprintf(line, sizeof line,
                     "probe %%G/models/%s --tokens %s --lens model --vectors-file "
                     "%%F/v.safetensors --ablation %s -l 0-2 "
                     "-o %%F/out.safetensors",
                     names[i], golden, modes[m]);
            program_done(line);
            for (size_t layer = 0; layer < 3; layer++) {
                static const struct {
                    const char *part;
                    double absolute, relative, of_largest;
                } parts[] = {{"energy", 1e-6, 1e-4, 0},
                             {"energy_per_token", 1e-5, 1e-4, 0},
                             {"grad", 0, 0, 1e-3}};
                for (size_t p = 0; p < 3; p++) {
                    snprintf(got, sizeof got, "layers.%zu.%s", layer, parts[p].part);
                    snprintf(want, sizeof want, "ablate.%zu.%s.%s", layer, modes[m], parts[p].part);
                    compare(golden, got, want, parts[p].absolute, parts[p].relative,
                            parts[p].of_largest);
                }
            }
        }
    }
}

/* Behind the last block there is nothing but the decoder; and the input of a block is the output of
 * the one before. */
static void probe__agrees_with_the_logit_lens_at_the_end(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "gemma3"}, *const last[] = {"2", "3"};
    static const char *const options[] = {"--ablation mean",
                                          "--ablation zero --objective ce --skip-positions 1",
                                          "--ablation optimal"};
    for (size_t i = 0; i < 2; i++)
        for (size_t o = 0; o < 3; o++) {
            static const char *const parts[] = {"energy", "grad"};
            double *got[2][2];
            size_t n[2];
            write_golden_direction(names[i]);
            for (int lens = 0; lens < 2; lens++) {
                char line[400], name[64];
                snprintf(line, sizeof line,
                         "probe %%G/models/%s --tokens %%G/models/%s/golden.safetensors --lens %s "
                         "--site post --vectors-file "
                         "%%F/v.safetensors %s -l %s -o %%F/out.safetensors",
                         names[i], names[i], lens ? "logit" : "model", options[o], last[i]);
                program_done(line);
                for (size_t p = 0; p < 2; p++) {
                    snprintf(name, sizeof name, "layers.%s.%s", last[i], parts[p]);
                    got[lens][p] = read_f64("%F/out.safetensors", name, &n[p]);
                }
            }
            double top = 0;
            for (size_t k = 0; k < n[1]; k++) top = fmax(top, fabs(got[1][1][k]));
            cbe_assert_close(got[0][0], got[1][0], 1, 1e-6, 1e-4, "%s, energy, %s", names[i],
                             options[o]);
            /* The constant of optimal ablation is settled to where the energy is: the gradient
             * moves a little more. */
            cbe_assert_close(got[0][1], got[1][1], n[1], (o == 2 ? 1e-3 : 1e-4) * top, 0,
                             "%s, gradient, %s", names[i], options[o]);
            for (int k = 0; k < 4; k++) free(got[k / 2][k % 2]);
        }
    double energies[2];
    for (int pre = 0; pre < 2; pre++) {
        char line[400];
        size_t n;
        snprintf(line, sizeof line,
                 "probe %%G/models/gemma3 --tokens %%G/models/gemma3/golden.safetensors --lens "
                 "model --vectors-file "
                 "%%F/v.safetensors %s -o %%F/out.safetensors",
                 pre ? "--site pre -l 2" : "-l 1");
        program_done(line);
        double *energy =
            read_f64("%F/out.safetensors", pre ? "layers.2.energy" : "layers.1.energy", &n);
        energies[pre] = *energy;
        free(energy);
    }
    assert_true(energies[0] == energies[1]);
}

static void extract__finds_maxima_in_the_whole_model(void **state)
{
    (void)state;
    static const char *const options[] = {"--preset seed --max-iter 20", "--skip-positions 1",
                                          "--held-out 0.5 --objective ce",
                                          "--ablation optimal --max-iter 5 --starts 1"};
    double first[4];
    for (size_t o = 0; o < 4; o++) {
        char line[400];
        size_t n, count;
        snprintf(line, sizeof line,
                 "extract %%G/models/llama --tokens %%G/models/llama/golden.safetensors --lens "
                 "model -l 1 -k %d --threads 2 %s "
                 "-o %%F/out",
                 K, options[o]);
        program_done(line);
        cbe_safetensors *file = open_golden(program_expand("%F/out/basis.safetensors"));
        float *basis = cbe_golden_floats(file, "layers.1.basis", &count);
        float *energies = cbe_golden_floats(file, "layers.1.energies", &n);
        assert_int_equal(n, K);
        cbe_safetensors_close(file);
        const size_t d = count / K;
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j <= i; j++) {
                double dot = 0;
                for (size_t k = 0; k < d; k++)
                    dot += (double)basis[k * K + i] * (double)basis[k * K + j];
                const double want = i == j;
                cbe_assert_close(&dot, &want, 1, 1e-5, 0, "vectors %zu and %zu", i, j);
            }
        first[o] = (double)energies[0];
        size_t size;
        char *json = (char *)cbe_read_file(program_expand("%F/out/basis.json"), &size);
        json[size - 1] = 0;
        assert_non_null(strstr(json, "\"site\": \"post\""));
        assert_non_null(strstr(json, "\"lens\": \"model\""));
        assert_non_null(strstr(json, "\"kernels\": \"blas\""));
        free(json);
        if (o < 2) { /* the energies are those that probe finds */
            write_columns("%F/v.safetensors", d, K, basis);
            snprintf(line, sizeof line,
                     "probe %%G/models/llama --tokens %%G/models/llama/golden.safetensors --lens "
                     "model -l 1 --vectors-file "
                     "%%F/v.safetensors --skip-positions %zu -o %%F/out.safetensors",
                     o);
            program_done(line);
            double *probed = read_f64("%F/out.safetensors", "layers.1.energy", &n);
            for (size_t j = 0; j < K; j++) {
                const double got = (double)energies[j];
                cbe_assert_close(&got, &probed[j], 1, 1e-6, 1e-4, "%s, vector %zu", options[o], j);
            }
            free(probed);
        }
        free(basis);
        free(energies);
    }
    assert_true(first[0] > 0 && first[1] > 0 && first[3] > 0);
}

/* Products in bfloat16, or a refusal that says what is missing. */
static void precision__is_bfloat16_where_the_cpu_has_it(void **state)
{
    (void)state;
    static const char *const precisions[] = {"float32", "bf16x3", "bf16"};
    double *energies[3], *grads[3];
    size_t n, d;
    write_golden_direction("llama");
    for (size_t i = 0; i < 3; i++) {
        char line[400];
        snprintf(line, sizeof line,
                 "probe %%G/models/llama --tokens %%G/models/llama/golden.safetensors --lens model "
                 "-l 1 --precision %s "
                 "--vectors-file %%F/v.safetensors -o %%F/out.safetensors",
                 precisions[i]);
        if (i > 0 && cbe_bf16_missing()) {
            assert_int_equal(program_run(line), 2);
            assert_non_null(strstr(program_err, cbe_bf16_missing()));
            continue;
        }
        program_done(line);
        energies[i] = read_f64("%F/out.safetensors", "layers.1.energy", &n);
        grads[i] = read_f64("%F/out.safetensors", "layers.1.grad", &d);
    }
    /* a probe has no sample: both have three parts */
    for (size_t i = 1; i < 3 && !cbe_bf16_missing(); i++) {
        double top = 0;
        for (size_t k = 0; k < d; k++) top = fmax(top, fabs(grads[0][k]));
        assert_true(*energies[i] != *energies[0]);
        cbe_assert_close(energies[i], energies[0], 1, 6e-6, 1e-4, "%s", precisions[i]);
        cbe_assert_close(grads[i], grads[0], d, 1e-3 * top, 0, "%s", precisions[i]);
        free(energies[i]);
        free(grads[i]);
    }
    free(energies[0]);
    free(grads[0]);
    if (cbe_bf16_missing()) return;
    program_done("extract %G/models/llama --tokens %G/models/llama/golden.safetensors --lens model "
                 "-l 1 -k 2 --precision bf16 -o %F/fast");
    size_t size;
    char *json = (char *)cbe_read_file(program_expand("%F/fast/basis.json"), &size);
    json[size - 1] = 0;
    assert_non_null(strstr(json, "\"precision\": \"bf16\""));
    free(json);
}

static void expect_precision(const char *folder, const char *precision)
{
    char text[64];
    size_t size;
    snprintf(text, sizeof text, "%%F/%s/basis.json", folder);
    char *json = (char *)cbe_read_file(program_expand(text), &size);
    json[size - 1] = 0;
    snprintf(text, sizeof text, "\"precision\": \"%s\"", precision);
    if (!strstr(json, text)) fail_msg("%s: no %s", folder, text);
    free(json);
}

/* bfloat16 where it is faster, in the default search alone, and if memory allows; the same bits as
 * if it had been asked for. */
static void precision_auto__is_settled_and_recorded(void **state)
{
    (void)state;
#define SEARCH                                                                                     \
    "extract %G/models/llama --tokens %G/models/llama/golden.safetensors --lens model -l 1 -k 1 "  \
    "--starts 1 --max-iter 2 "
    const char *fast = cbe_bf16_is_fast() ? "bf16x3" : "float32";
    char line[400];
    size_t n, m;
    program_done(SEARCH "--precision auto -o %F/auto");
    expect_precision("auto", fast);
    snprintf(line, sizeof line, "%s--precision %s -o %%F/asked", SEARCH, fast);
    program_done(line);
    void *settled = cbe_read_file(program_expand("%F/auto/basis.safetensors"), &n),
         *asked = cbe_read_file(program_expand("%F/asked/basis.safetensors"), &m);
    assert_int_equal(n, m);
    assert_memory_equal(settled, asked, n);
    free(settled);
    free(asked);
    program_done(SEARCH "--preset seed --precision auto -o %F/seed");
    expect_precision("seed", "float32");
    program_done("extract --hidden-states %H --decoder %E -k 1 --starts 1 -l 0 --precision auto -o "
                 "%F/lens");
    expect_precision("lens", "float32");
    program_done(SEARCH "-o %F/default");
    expect_precision("default", "float32");
    write_golden_direction("llama");
#define PROBE                                                                                      \
    "probe %G/models/llama --tokens %G/models/llama/golden.safetensors --lens model -l 1 "         \
    "--vectors-file %F/v.safetensors "
    program_done(PROBE "--precision auto -o %F/open.safetensors");
    program_done(PROBE "--precision float32 -o %F/float32.safetensors");
    double *open = read_f64("%F/open.safetensors", "layers.1.energy", &n),
           *float32 = read_f64("%F/float32.safetensors", "layers.1.energy", &m);
    assert_true(*open == *float32);
    free(open);
    free(float32);
}

/* Too little memory for one sequence is told before anything runs. */
static void layer_objective__says_what_a_sequence_needs(void **state)
{
    (void)state;
    char *path = cbe_golden_path("models/llama");
    cbe_model *model = open_model(path);
    cbe_tokens tokens = {.n_sequences = 2, .context_length = 60};
    int64_t ids[120];
    for (size_t i = 0; i < 120; i++) ids[i] = (int64_t)i;
    tokens.ids = ids;
    const bool layers[MOST_LAYERS] = {false, false, true, true};
    cbe_hidden_states *states = NULL;
    cbe_assert_ok(cbe_hidden_states_capture(&states, model, &tokens, layers, NULL, NULL, &err),
                  &err);
    cbe_extraction_options options;
    cbe_extraction_options_init(&options);
    options.site = CBE_SITE_POST;
    options.model = model;
    options.memory = 200000;
    cbe_layer_objective *objective = NULL;
    const cbe_decoder *decoder = cbe_model_decoder(model);
    assert_int_equal(cbe_layer_objective_create(&objective, states, decoder, &options, &err),
                     CBE_ERR_ARG);
    assert_null(objective);
    assert_non_null(strstr(err.message, "sequences of 60 tokens need"));
    options.memory = 0;
    cbe_assert_ok(cbe_layer_objective_create(&objective, states, decoder, &options, &err), &err);
    const cbe_model_objective_plan *plan = cbe_layer_objective_plan(objective);
    /* 2 sequences, 8 directions */
    assert_true(plan && plan->n_sequences == 16 && !plan->recompute);
    cbe_layer_objective_free(objective);
    cbe_hidden_states_close(states);
    cbe_model_close(model);
    free(path);
}

/* The same of a run: what it has in use it says itself, and sequences of 2,048 need 12 MB more. */
static void extract__says_what_sequences_need(void **state)
{
    enum { LENGTH = 2048 };
    char line[400];
    FILE *text = fopen(temp_path(state, "long.txt"), "w");
    assert_non_null(text);
    for (size_t i = 0; i < LENGTH; i++)
        fprintf(text, "%c%c ", (char)('a' + i % 26), (char)('a' + i % 7));
    assert_int_equal(fclose(text), 0);
    double megabytes = 1;
    for (int more = 0; more < 2; more++) {
        snprintf(line, sizeof line,
                 "extract %%G/gguf/tiny-llama/llama-f32.gguf --text %%F/long.txt --context-length "
                 "%d --max-tokens %d --lens model -l 0 -k 1 "
                 "--quiet --memory %.0fK -o %%F/long",
                 LENGTH, LENGTH, 1000 * megabytes);
        assert_int_equal(program_run(line), 2);
        const char *end = strchr(program_err, '\n');
        assert_true(end && end[1] == 0);
        if (more) break;
        assert_int_equal(sscanf(program_err, "cbe: --memory: %lf MB are in use", &megabytes), 1);
        megabytes += 4;
    }
    if (!strstr(program_err, "sequences of 2048 tokens need")) fail_msg("%s", program_err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe__meets_pytorch),
        cmocka_unit_test(probe__agrees_with_the_logit_lens_at_the_end),
        cmocka_unit_test(precision__is_bfloat16_where_the_cpu_has_it),
        cmocka_unit_test(precision_auto__is_settled_and_recorded),
        cmocka_unit_test(extract__finds_maxima_in_the_whole_model),
        cmocka_unit_test(layer_objective__says_what_a_sequence_needs),
        cmocka_unit_test(extract__says_what_sequences_need),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
