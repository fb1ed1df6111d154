/* The library's front door (cbe/cbe.h): options by name, inputs from memory, results, refusals. */
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cbe/basis.h"
#include "cbe/cbe.h"
#include "cbe/lens.h"
#include "cbe/model.h"
#include "cbe/tokens.h"
#include "files/sha256.h"
#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

enum { LAYER = 1, VECTORS = 3 };

/* A golden case in memory: hidden_states.1, and its decoder. */
typedef struct {
    cbe_safetensors *file;
    size_t b, s, d;
    float *hidden;
    cbe_hidden_states *states;
    cbe_decoder *decoder;
    cbe_run *run;
} fixture;

static void open_case(fixture *f)
{
    cbe_error err;
    cbe_tensor t;
    memset(f, 0, sizeof *f);
    cbe_assert_ok(cbe_safetensors_open(&f->file, program_expand("%H"), &err), &err);
    cbe_assert_ok(cbe_safetensors_get(f->file, "hidden_states.1", &t, &err), &err);
    assert_int_equal(t.n_dims, 3);
    f->b = t.dims[0];
    f->s = t.dims[1];
    f->d = t.dims[2];
    f->hidden = cbe_golden_floats(f->file, "hidden_states.1", NULL);
    cbe_assert_ok(cbe_hidden_states_create(&f->states, f->b, f->s, f->d, &err), &err);
    cbe_assert_ok(cbe_decoder_load(&f->decoder, program_expand("%E"), &err), &err);
}

static void set(cbe_run *run, const char *option, const char *value)
{
    cbe_error err;
    cbe_assert_ok(cbe_run_set(run, option, value, &err), &err);
}

/* A run of a command on what is in memory. */
static void create(fixture *f, const char *command)
{
    cbe_error err;
    cbe_assert_ok(cbe_hidden_states_set(f->states, LAYER, f->hidden, false, &err), &err);
    cbe_assert_ok(cbe_run_create(&f->run, command, &err), &err);
    cbe_assert_ok(cbe_run_set_states(f->run, f->states, &err), &err);
    cbe_assert_ok(cbe_run_set_decoder(f->run, f->decoder, &err), &err);
}

static void close_case(fixture *f)
{
    cbe_run_free(f->run);
    cbe_hidden_states_close(f->states);
    cbe_decoder_free(f->decoder);
    cbe_safetensors_close(f->file);
    free(f->hidden);
}

/* ---- the same as the program ---- */

/* Arrays are recorded by the digests of their bytes. */
static void assert_inputs_recorded(const fixture *f, const char *path)
{
    char digest[CBE_SHA256_TEXT];
    json_t *root = json_load_file(path, 0, NULL);
    const json_t *inputs = json_object_get(root, "inputs"), *states = json_array_get(inputs, 0),
                 *decoder = json_array_get(inputs, 1);
    assert_int_equal(json_array_size(inputs), 2);
    cbe_sha256_bytes(f->hidden, f->b * f->s * f->d * sizeof *f->hidden, digest);
    assert_string_equal(json_string_value(json_object_get(states, "path")),
                        "memory: hidden_states.1");
    assert_string_equal(json_string_value(json_object_get(states, "sha256")), digest);
    assert_string_equal(json_string_value(json_object_get(states, "role")), "hidden_states");
    assert_string_equal(json_string_value(json_object_get(decoder, "path")), "memory: unembedding");
    json_decref(root);
}

/* Energies to the last bit, as basis.json has them; vectors as float32, as basis.safetensors has
 * them. */
static void assert_same_as_folder(const double *vectors, const double *energies, size_t d,
                                  const char *folder)
{
    cbe_error err;
    cbe_basis_file *basis = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/basis.json", folder);
    json_t *root = json_load_file(path, 0, NULL);
    const json_t *list =
        json_object_get(json_array_get(json_object_get(root, "layers"), 0), "vectors");
    assert_int_equal(json_array_size(list), VECTORS);
    for (size_t j = 0; j < VECTORS; j++)
        assert_true(json_real_value(json_object_get(json_array_get(list, j), "energy")) ==
                    energies[j]);
    json_decref(root);
    double *read = malloc(VECTORS * d * sizeof *read);
    cbe_assert_ok(cbe_basis_open(&basis, folder, &err), &err);
    cbe_assert_ok(cbe_basis_vectors(basis, LAYER, VECTORS, read, &err), &err);
    for (size_t i = 0; i < VECTORS * d; i++) assert_true((float)vectors[i] == (float)read[i]);
    free(read);
    cbe_basis_close(basis);
}

static void extract__from_arrays_is_that_of_the_program_to_the_last_bit(void **state)
{
    (void)state;
    fixture f;
    cbe_error err;
    cbe_basis_file *saved = NULL;
    const size_t *layers;
    const double *vectors, *energies;
    open_case(&f);
    create(&f, "extract");
    set(f.run, "vectors", "3");
    cbe_assert_ok(cbe_run_execute(f.run, &err), &err);
    program_done("extract --hidden-states %H --decoder %E -l 1 -k 3 -q -o %F/theirs");
    assert_int_equal(cbe_run_layers(f.run, &layers), 1);
    assert_int_equal(layers[0], LAYER);
    assert_int_equal(cbe_run_vectors(f.run, LAYER, &vectors), VECTORS);
    assert_int_equal(cbe_run_values(f.run, LAYER, "energy", &energies), VECTORS);
    assert_same_as_folder(vectors, energies, f.d, program_expand("%F/theirs"));

    /* Saved, it is read again, with its options. */
    cbe_assert_ok(cbe_run_save(f.run, program_expand("%F/ours"), &err), &err);
    assert_same_as_folder(vectors, energies, f.d, program_expand("%F/ours"));
    cbe_assert_ok(cbe_basis_open(&saved, program_expand("%F/ours"), &err), &err);
    assert_string_equal(cbe_basis_option(saved, "ablation"), "mean");
    assert_string_equal(cbe_basis_option(saved, "vectors"), "3");
    cbe_basis_close(saved);
    assert_inputs_recorded(&f, program_expand("%F/ours/basis.json"));

    static const char *const names[] = {"standard_error",   "optimal_energy", "optimal_constant",
                                        "evaluations",      "seconds",        "kappa",
                                        "share_of_ceiling", "half_energy",    "amplification",
                                        "median",           "top_share",      "verdict"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(cbe_run_values(f.run, LAYER, names[i], &energies), VECTORS);
        for (size_t j = 0; j < VECTORS; j++) assert_true(isfinite(energies[j]));
    }
    static const char *const single[] = {"ceiling", "covariance_trace", "principal.energy",
                                         "random.kappa"};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        assert_int_equal(cbe_run_values(f.run, LAYER, single[i], &energies), 1);
        assert_true(energies[0] > 0);
    }
    assert_int_equal(cbe_run_values(f.run, LAYER, "held_out_energy", &energies), VECTORS);
    assert_true(isnan(energies[0])); /* nothing was held out */
    assert_int_equal(cbe_run_values(f.run, LAYER, "no such", &energies), 0);
    assert_int_equal(cbe_run_values(f.run, LAYER + 1, "energy", &energies), 0);
    close_case(&f);
}

/* Finite differences of the energies of two directions are what "gradient" says. */
static void probe__gives_energies_and_their_gradients(void **state)
{
    (void)state;
    enum { M = 3 };
    fixture f;
    cbe_error err;
    const double *energy, *gradient, *per_token;
    const double h = 1e-5;
    open_case(&f);
    create(&f, "probe");
    double *v = calloc(M * f.d, sizeof *v);
    for (size_t j = 0; j < M; j++) v[j * f.d] = 1;
    v[f.d + 1] = h;
    v[2 * f.d + 1] = -h;
    cbe_assert_ok(cbe_run_set_vectors(f.run, M, f.d, v, &err), &err);
    cbe_assert_ok(cbe_run_execute(f.run, &err), &err);
    assert_int_equal(cbe_run_values(f.run, LAYER, "energy", &energy), M);
    assert_int_equal(cbe_run_values(f.run, LAYER, "gradient", &gradient), M * f.d);
    const size_t n = cbe_run_values(f.run, LAYER, "energy_per_token", &per_token) / M;
    assert_int_equal(n, f.b * f.s);
    const double *number;
    assert_int_equal(cbe_run_values(f.run, LAYER, "standard_error", &number), M);
    assert_true(number[0] > 0);
    assert_int_equal(cbe_run_values(f.run, LAYER, "kappa", &number), M);
    assert_true(number[0] > 0.9);
    assert_int_equal(cbe_run_values(f.run, LAYER, "ceiling", &number), 1);
    assert_true(number[0] > 0);
    double mean = 0;
    for (size_t i = 0; i < n; i++) mean += per_token[i] / (double)n;
    assert_true(fabs(mean - energy[0]) < 1e-9 * (1 + fabs(energy[0])));
    /* float32 logits: the difference has about 1e-7 / 1e-5 of the energy as its error */
    const double slope = (energy[1] - energy[2]) / (2 * h);
    assert_true(fabs(slope - gradient[1]) < 0.02 * (fabs(energy[0]) + fabs(gradient[1])));
    const double *same;
    assert_int_equal(cbe_run_vectors(f.run, LAYER, &same), M);
    assert_memory_equal(same, v, M * f.d * sizeof *v);

    /* The file that is saved is that of the program for the same vectors. */
    cbe_assert_ok(cbe_run_save(f.run, program_expand("%F/probe.safetensors"), &err), &err);
    cbe_safetensors *ours = NULL;
    cbe_assert_ok(cbe_safetensors_open(&ours, program_expand("%F/probe.safetensors"), &err), &err);
    double *saved = cbe_golden_f64(ours, "layers.1.grad", M * f.d);
    assert_memory_equal(saved, gradient, M * f.d * sizeof *saved);
    free(saved);
    cbe_safetensors_close(ours);
    free(v);
    close_case(&f);
}

/* ---- options ---- */

static void options__are_those_of_the_program_by_name(void **state)
{
    (void)state;
    cbe_error err;
    cbe_run *run = NULL;
    const char *type, *help;
    size_t n = 0;
    bool has_ablation = false;
    cbe_assert_ok(cbe_run_create(&run, "extract", &err), &err);
    for (const char *name; (name = cbe_run_option_at(run, n, &type, &help)); n++) {
        assert_true(strlen(type) > 3 && strlen(help) > 3);
        if (strcmp(name, "ablation") != 0) continue;
        assert_string_equal(type, "choice");
        has_ablation = true;
    }
    assert_true(has_ablation);
    assert_in_range(n, 25, 60);
    assert_string_equal(cbe_run_option_at(run, 0, NULL, NULL), "model");
    assert_null(cbe_run_option_at(run, n + 100, NULL, NULL));
    static const char *const values[][3] = {
        {"vectors", "7", "7"},          {"vectors", "0", "0"},
        {"ablation", "zero", "zero"},   {"layers", "0-2,4", "0-2,4"},
        {"memory", "1G", "1073741824"}, {"min-energy", "0.25", "0.25"},
        {"resume", "true", "true"},     {"resume", "false", "false"},
        {"lens", "model", "model"},     {"model", "a.gguf", "a.gguf"}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        set(run, values[i][0], values[i][1]);
        assert_string_equal(cbe_run_get(run, values[i][0]), values[i][2]);
    }
    assert_null(cbe_run_get(run, "no such"));
    assert_null(cbe_run_get(run, "output"));
    assert_null(cbe_run_get(run, "site")); /* follows from the lens */
    cbe_run_free(run);
}

static void options__that_are_none_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *message, *named;
    } cases[] = {
        {"vektors", "3", "'vektors' is not an option of extract", ""},
        {"--vectors", "3", "'--vectors' is not an option of extract", ""},
        {NULL, "3", "'NULL' is not an option of extract", ""},
        {"vectors", NULL, "vectors: the value is NULL", "vectors"},
        {"vectors", "-3", "vectors -3: a whole number of 0 or more expected", "vectors"},
        {"vectors", "three", "vectors three: a whole number of 0 or more expected", "vectors"},
        {"vectors", "", "vectors : a whole number of 0 or more expected", "vectors"},
        {"ablation", "none", "ablation none: mean, resample, zero or optimal expected", "ablation"},
        {"memory", "much", "memory much: a size in bytes, or one such as 500M or 1.5G, expected",
         "memory"},
        {"layers", "5-2", "layers 5-2: layers such as 0-29,31 or all expected", "layers"},
        {"resume", "yes", "resume yes: true or false expected", "resume"},
        {"held-out", "1",
         "held-out 1: such a share of the sequences cannot be held out; give 0 or more, less than "
         "1",
         "held-out"},
    };
    cbe_error err;
    cbe_run *run = NULL;
    cbe_assert_ok(cbe_run_create(&run, "extract", &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(cbe_run_set(run, cases[i].option, cases[i].value, &err), CBE_ERR_ARG);
        assert_string_equal(err.message, cases[i].message);
        assert_string_equal(err.option, cases[i].named);
    }
    assert_int_equal(cbe_run_set(NULL, "vectors", "3", &err), CBE_ERR_ARG);
    assert_string_equal(err.message, "cbe_run_set: the run is NULL");
    cbe_run_free(run);
}

/* The program's line has the dashes, the library's message has not. */
static void errors__carry_the_option_and_both_lines(void **state)
{
    (void)state;
    fixture f;
    cbe_error err;
    open_case(&f);
    create(&f, "extract");
    set(f.run, "lens", "affine");
    assert_int_equal(cbe_run_execute(f.run, &err), CBE_ERR_ARG);
    assert_string_equal(err.message,
                        "lens affine is fitted on a model's text: give model and text in place of "
                        "hidden-states, or a lens of cbe lens fit as lens tuned=FOLDER");
    assert_string_equal(err.command_line,
                        "--lens affine is fitted on a model's text: give MODEL and --text in place "
                        "of --hidden-states, or a lens of cbe lens fit as --lens tuned=FOLDER");
    assert_string_equal(err.option, "lens");
    close_case(&f);
}

/* ---- mistakes ---- */

static void nothing__is_taken_for_a_command_or_a_run(void **state)
{
    (void)state;
    cbe_error err;
    cbe_run *run = NULL;
    const double *values;
    assert_int_equal(cbe_run_create(&run, "extrakt", &err), CBE_ERR_ARG);
    assert_string_equal(
        err.message,
        "cbe_run_create: the command must be extract, probe, ablate, fidelity or spectrum");
    assert_int_equal(cbe_run_create(&run, NULL, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_run_create(NULL, "probe", &err), CBE_ERR_ARG);
    assert_null(run);
    assert_int_equal(cbe_run_execute(NULL, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_run_execute(NULL, NULL), CBE_ERR_ARG);
    assert_int_equal(cbe_run_save(NULL, "x", &err), CBE_ERR_ARG);
    assert_int_equal(cbe_run_layers(NULL, NULL), 0);
    assert_int_equal(cbe_run_vectors(NULL, 0, &values), 0);
    assert_int_equal(cbe_run_values(NULL, 0, "energy", &values), 0);
    assert_null(cbe_run_get(NULL, "vectors"));
    assert_null(cbe_run_option_at(NULL, 0, NULL, NULL));
    cbe_run_set_callback(NULL, NULL, NULL);
    cbe_run_free(NULL);
    /* Inputs that are missing. */
    cbe_assert_ok(cbe_run_create(&run, "extract", &err), &err);
    assert_int_equal(cbe_run_execute(run, &err), CBE_ERR_ARG);
    assert_string_equal(err.message,
                        "inputs are missing: give hidden states and a decoder, or a model with "
                        "texts or tokens");
    assert_string_equal(err.command_line,
                        "MODEL is missing: name a .gguf file or a model folder before the options");
    assert_int_equal(cbe_run_set(run, "vectors", "3", &err), CBE_ERR_ARG);
    assert_string_equal(err.message, "cbe_run_set: the run was executed; create another one");
    cbe_run_free(run);
}

/* No function that can fail follows a NULL. */
static void nulls__are_told(void **state)
{
    (void)state;
    fixture f;
    cbe_error err = {0};
    cbe_model *model = NULL;
    cbe_hidden_states *states = NULL;
    cbe_decoder *decoder = NULL;
    cbe_tokenizer *tokenizer = NULL;
    cbe_lens *lens = NULL;
    cbe_basis_file *basis = NULL;
    float numbers[1] = {1};
    double out[1];
    int64_t *ids = NULL;
    char *text = NULL;
    size_t n;
    open_case(&f);
    const struct {
        cbe_status st;
        const char *function;
    } calls[] = {
#define NULLS(call, name) {(err.message[0] = 0, (call)), name}
        NULLS(cbe_model_open(&model, NULL, &err), "cbe_model_open"),
        NULLS(cbe_model_open(NULL, "x", &err), "cbe_model_open"),
        NULLS(cbe_hidden_states_open(&states, NULL, &err), "cbe_hidden_states_open"),
        NULLS(cbe_hidden_states_set_logits(f.states, 0, 2, NULL, &err),
              "cbe_hidden_states_set_logits"),
        NULLS(cbe_decoder_load(&decoder, NULL, &err), "cbe_decoder_load"),
        NULLS(cbe_decoder_save(NULL, "x", &err), "cbe_decoder_save"),
        NULLS(cbe_decoder_save(f.decoder, NULL, &err), "cbe_decoder_save"),
        NULLS(cbe_decoder_logits(f.decoder, 1, NULL, numbers, &err), "cbe_decoder_logits"),
        NULLS(cbe_tokenizer_open(&tokenizer, NULL, &err), "cbe_tokenizer_open"),
        NULLS(cbe_tokenizer_encode(NULL, "x", 1, false, &ids, &n, NULL, &err),
              "cbe_tokenizer_encode"),
        NULLS(cbe_tokenizer_decode(NULL, NULL, 0, &text, &n, &err), "cbe_tokenizer_decode"),
        NULLS(cbe_lens_create(NULL, 1, 1, &err), "cbe_lens_create"),
        NULLS(cbe_lens_load(&lens, NULL, &err), "cbe_lens_load"),
        NULLS(cbe_lens_save(NULL, "x", NULL, &err), "cbe_lens_save"),
        NULLS(cbe_lens_fit(&lens, NULL, 1, 1, NULL, NULL, NULL, &err), "cbe_lens_fit"),
        NULLS(cbe_model_capture(&states, NULL, 1, 1, NULL, NULL, NULL, NULL, &err),
              "cbe_model_capture"),
        NULLS(cbe_basis_open(&basis, NULL, &err), "cbe_basis_open"),
        NULLS(cbe_basis_vectors(NULL, 0, 1, out, &err), "cbe_basis_vectors"),
        NULLS(cbe_basis_energies(NULL, 0, 1, out, &err), "cbe_basis_energies"),
        NULLS(cbe_run_set_states(NULL, NULL, &err), "cbe_run_set_states"),
        NULLS(cbe_run_set_vectors(NULL, 1, 1, out, &err), "cbe_run_set_vectors"),
#undef NULLS
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].st != CBE_ERR_ARG) fail_msg("%s: %d", calls[i].function, calls[i].st);
    assert_string_equal(err.message, "cbe_run_set_vectors: the run is NULL");
    close_case(&f);
}

static void states__that_cannot_be_are_refused(void **state)
{
    (void)state;
    fixture f;
    cbe_error err;
    cbe_hidden_states *none = NULL;
    const int64_t ids[1] = {-1};
    const unsigned char mask[1] = {0};
    const float nan_states[2] = {0, NAN};
    open_case(&f);
    assert_int_equal(cbe_hidden_states_create(&none, 0, 2, 2, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_hidden_states_create(&none, SIZE_MAX / 2, 4, 4, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_hidden_states_create(NULL, 1, 2, 2, &err), CBE_ERR_ARG);
    assert_null(none);
    assert_int_equal(cbe_hidden_states_set(f.states, 0, NULL, false, &err), CBE_ERR_ARG);
    assert_string_equal(err.message, "cbe_hidden_states_set: hidden is NULL");
    assert_int_equal(cbe_hidden_states_set(NULL, 0, f.hidden, false, &err), CBE_ERR_ARG);
    cbe_assert_ok(cbe_hidden_states_set(f.states, 3, f.hidden, true, &err), &err);
    assert_int_equal(cbe_hidden_states_set(f.states, 3, f.hidden, true, &err), CBE_ERR_ARG);
    assert_string_equal(err.message, "cbe_hidden_states_set: hidden_states.3 is there already");
    assert_int_equal(cbe_hidden_states_set(f.states, 100000, f.hidden, true, &err), CBE_ERR_ARG);
    assert_true(cbe_hidden_states_has(f.states, 3));
    assert_false(cbe_hidden_states_has(f.states, 2));

    cbe_assert_ok(cbe_hidden_states_create(&none, 1, 1, 2, &err), &err);
    assert_int_equal(cbe_hidden_states_set_ids(none, ids, &err), CBE_ERR_ARG);
    assert_string_equal(err.message,
                        "cbe_hidden_states_set_ids: sequence 0, position 0: the id is negative");
    assert_int_equal(cbe_hidden_states_set_ids(none, NULL, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_hidden_states_set_mask(none, mask, &err), CBE_ERR_ARG);
    assert_string_equal(err.message, "cbe_hidden_states_set_mask: the mask leaves out every token");
    assert_int_equal(cbe_hidden_states_set_logits(none, 0, 0, nan_states, &err), CBE_ERR_ARG);
    cbe_hidden_states_close(none);
    close_case(&f);
}

/* Another width, and numbers that are none, are told when the run begins. */
static void inputs__that_do_not_fit_together_are_refused(void **state)
{
    (void)state;
    fixture f;
    cbe_error err;
    cbe_hidden_states *narrow = NULL, *bad = NULL;
    open_case(&f);
    cbe_assert_ok(cbe_hidden_states_create(&narrow, f.b, f.s, f.d / 2, &err), &err);
    cbe_assert_ok(cbe_hidden_states_set(narrow, LAYER, f.hidden, false, &err), &err);
    cbe_assert_ok(cbe_run_create(&f.run, "extract", &err), &err);
    cbe_assert_ok(cbe_run_set_states(f.run, narrow, &err), &err);
    cbe_assert_ok(cbe_run_set_decoder(f.run, f.decoder, &err), &err);
    assert_int_equal(cbe_run_execute(f.run, &err), CBE_ERR_SHAPE);
    cbe_run_free(f.run);
    cbe_hidden_states_close(narrow);

    f.hidden[f.d + 3] = NAN;
    cbe_assert_ok(cbe_hidden_states_create(&bad, f.b, f.s, f.d, &err), &err);
    cbe_assert_ok(cbe_hidden_states_set(bad, LAYER, f.hidden, false, &err), &err);
    cbe_assert_ok(cbe_run_create(&f.run, "extract", &err), &err);
    cbe_assert_ok(cbe_run_set_states(f.run, bad, &err), &err);
    cbe_assert_ok(cbe_run_set_decoder(f.run, f.decoder, &err), &err);
    assert_int_equal(cbe_run_execute(f.run, &err), CBE_ERR_NUMERIC);
    assert_non_null(strstr(err.message, "hidden_states.1: sequence 0, position 1 holds nan"));
    cbe_run_free(f.run);
    cbe_hidden_states_close(bad);

    /* A layer that is not there; an input given twice; no decoder. */
    f.hidden[f.d + 3] = 0;
    create(&f, "extract");
    set(f.run, "layers", "4");
    assert_int_equal(cbe_run_execute(f.run, &err), CBE_ERR_ARG);
    assert_string_equal(err.option, "layers");
    cbe_run_free(f.run);
    cbe_assert_ok(cbe_run_create(&f.run, "extract", &err), &err);
    cbe_assert_ok(cbe_run_set_states(f.run, f.states, &err), &err);
    assert_int_equal(cbe_run_execute(f.run, &err), CBE_ERR_ARG);
    assert_string_equal(
        err.message, "the hidden states given need a decoder: cbe_run_set_decoder, or the option "
                     "decoder");
    cbe_run_free(f.run);
    cbe_assert_ok(cbe_run_create(&f.run, "extract", &err), &err);
    cbe_assert_ok(cbe_run_set_states(f.run, f.states, &err), &err);
    cbe_assert_ok(cbe_run_set_decoder(f.run, f.decoder, &err), &err);
    set(f.run, "decoder", program_expand("%E"));
    assert_int_equal(cbe_run_execute(f.run, &err), CBE_ERR_ARG);
    assert_string_equal(err.message,
                        "decoder: is set, and given from memory too; leave out one of the two");
    close_case(&f);
}

static void decoders__that_cannot_be_are_refused(void **state)
{
    (void)state;
    cbe_error err;
    cbe_decoder *decoder = NULL;
    const float ones[4] = {1, 1, 1, 1}, bad[4] = {1, INFINITY, 1, 1};
    assert_int_equal(
        cbe_decoder_create(&decoder, 2, 2, "batchnorm", 1e-5, 0, ones, NULL, ones, NULL, &err),
        CBE_ERR_ARG);
    assert_string_equal(
        err.message, "cbe_decoder_create: the norm must be rmsnorm or layernorm, not 'batchnorm'");
    assert_int_equal(
        cbe_decoder_create(&decoder, 2, 2, "rmsnorm", -1, 0, ones, NULL, ones, NULL, &err),
        CBE_ERR_ARG);
    assert_int_equal(
        cbe_decoder_create(&decoder, 2, 2, "rmsnorm", 0, NAN, ones, NULL, ones, NULL, &err),
        CBE_ERR_ARG);
    assert_int_equal(
        cbe_decoder_create(&decoder, 0, 2, "rmsnorm", 0, 0, ones, NULL, ones, NULL, &err),
        CBE_ERR_ARG);
    assert_int_equal(
        cbe_decoder_create(&decoder, 2, 2, "rmsnorm", 0, 0, NULL, NULL, ones, NULL, &err),
        CBE_ERR_ARG);
    assert_int_equal(
        cbe_decoder_create(&decoder, 2, 2, "rmsnorm", 0, 0, ones, NULL, bad, NULL, &err),
        CBE_ERR_NUMERIC);
    assert_string_equal(err.message, "cbe_decoder_create: unembedding: element 1 is not finite");
    assert_null(decoder);
    cbe_assert_ok(
        cbe_decoder_create(&decoder, 2, 2, "layernorm", 0, 0, ones, NULL, ones, NULL, &err), &err);
    assert_int_equal(cbe_decoder_hidden_size(decoder), 2);
    assert_int_equal(cbe_decoder_vocab_size(decoder), 2);
    cbe_decoder_free(decoder);
}

/* ---- mistakes with arrays that nothing else would tell ---- */

/* Hidden states whose rows have norms of their own, and a decoder for them. */
typedef struct {
    size_t n, d, v;
    float *hidden, *normed, *logits, *gamma, *unembedding;
} toy;

static float pseudo_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return (float)(*x >> 8) / (float)(1 << 23) - 1;
}

static toy make_toy(void)
{
    toy t = {.n = 12, .d = 16, .v = 40};
    uint32_t x = 7;
    t.hidden = calloc(t.n * t.d, sizeof(float));
    t.normed = calloc(t.n * t.d, sizeof(float));
    t.logits = calloc(t.n * t.v, sizeof(float));
    t.gamma = calloc(t.d, sizeof(float));
    t.unembedding = calloc(t.v * t.d, sizeof(float));
    for (size_t i = 0; i < t.d; i++) t.gamma[i] = 1 + 0.5f * pseudo_random(&x);
    for (size_t i = 0; i < t.v * t.d; i++) t.unembedding[i] = pseudo_random(&x);
    for (size_t r = 0; r < t.n; r++) {
        double squares = 0;
        for (size_t i = 0; i < t.d; i++) {
            t.hidden[r * t.d + i] = (1 + (float)r) * (0.5f + pseudo_random(&x));
            squares += (double)t.hidden[r * t.d + i] * t.hidden[r * t.d + i];
        }
        const double scale = 1 / sqrt(squares / (double)t.d);
        for (size_t i = 0; i < t.d; i++)
            t.normed[r * t.d + i] = (float)(t.hidden[r * t.d + i] * scale * t.gamma[i]);
        for (size_t k = 0; k < t.v; k++)
            for (size_t i = 0; i < t.d; i++)
                t.logits[r * t.v + k] += t.normed[r * t.d + i] * t.unembedding[k * t.d + i];
    }
    return t;
}

/* The status of a run on the toy's states, with a norm, and with its logits or without. */
static cbe_status run_toy(const toy *t, const float *hidden, const char *norm, bool with_logits,
                          cbe_error *err)
{
    cbe_hidden_states *states = NULL;
    cbe_decoder *decoder = NULL;
    cbe_run *run = NULL;
    cbe_assert_ok(cbe_hidden_states_create(&states, 1, t->n, t->d, err), err);
    cbe_assert_ok(cbe_hidden_states_set(states, 2, hidden, false, err), err);
    if (with_logits)
        cbe_assert_ok(cbe_hidden_states_set_logits(states, 2, t->v, t->logits, err), err);
    cbe_assert_ok(cbe_decoder_create(&decoder, t->d, t->v, norm, 0, 0, t->gamma, NULL,
                                     t->unembedding, NULL, err),
                  err);
    cbe_assert_ok(cbe_run_create(&run, "extract", err), err);
    cbe_assert_ok(cbe_run_set_states(run, states, err), err);
    cbe_assert_ok(cbe_run_set_decoder(run, decoder, err), err);
    set(run, "vectors", "1");
    const cbe_status st = cbe_run_execute(run, err);
    cbe_run_free(run);
    cbe_decoder_free(decoder);
    cbe_hidden_states_close(states);
    return st;
}

static void mistakes__with_arrays_are_told(void **state)
{
    (void)state;
    cbe_error err;
    toy t = make_toy();
    cbe_assert_ok(run_toy(&t, t.hidden, "rmsnorm", true, &err), &err);
    cbe_assert_ok(run_toy(&t, t.hidden, "rmsnorm", false, &err), &err);
    /* LayerNorm without its bias, read as RMSNorm, and the other way round. */
    assert_int_equal(run_toy(&t, t.hidden, "layernorm", true, &err), CBE_ERR_ARG);
    assert_string_equal(err.message,
                        "the hidden states given: the logits are those of RMSNorm, but the "
                        "decoder's norm is LayerNorm; give a decoder with the model's own norm");
    /* States behind the final norm, with logits and without. */
    for (int with = 0; with < 2; with++) {
        assert_int_equal(run_toy(&t, t.normed, "rmsnorm", with, &err), CBE_ERR_ARG);
        assert_string_equal(err.message,
                            "the hidden states given: hidden_states.2 is the output of the final "
                            "norm; give the hidden states before it");
    }
    /* Logits that are none, or of a state that is not there. */
    t.logits[t.v + 2] = NAN;
    assert_int_equal(run_toy(&t, t.hidden, "rmsnorm", true, &err), CBE_ERR_NUMERIC);
    assert_string_equal(err.message, "the hidden states given: the logits of token 1 hold nan at "
                                     "entry 2; logits must be finite");
    t.logits[t.v + 2] = 0;
    /* Another decoder. */
    for (size_t i = 0; i < t.v * t.d; i++) t.unembedding[i] *= i % 3 == 0 ? 2 : 1;
    assert_int_equal(run_toy(&t, t.hidden, "rmsnorm", true, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "are not the logits given: they differ by 0."));
    free(t.hidden);
    free(t.normed);
    free(t.logits);
    free(t.gamma);
    free(t.unembedding);
}

/* ---- events ---- */

typedef struct {
    size_t n[CBE_N_EVENTS], until;
    bool layer_was_there;
    const char *stage; /* at which the run is cancelled; NULL: at none */
    int event;         /* at which it is cancelled; CBE_N_EVENTS: at none */
    cbe_run *run;
} listener;

static bool listen(void *context, cbe_event event, const char *text, size_t done, size_t total)
{
    listener *l = context;
    l->n[event]++;
    assert_true(done <= total);
    assert_null(strchr(text, '\n'));
    assert_null(strstr(text, "--"));
    if (event == CBE_EVENT_LAYER) {
        const double *energies;
        l->layer_was_there = cbe_run_values(l->run, LAYER, "energy", &energies) == VECTORS;
    }
    if ((int)event == l->event) return false;
    if (event == CBE_EVENT_STAGE && l->stage && strstr(text, l->stage)) return false;
    return event != CBE_EVENT_PROGRESS || l->n[event] < l->until;
}

static void callback__hears_of_the_run_and_cancels_it(void **state)
{
    (void)state;
    fixture f;
    cbe_error err;
    listener l = {.until = SIZE_MAX, .event = CBE_N_EVENTS};
    open_case(&f);
    create(&f, "extract");
    set(f.run, "vectors", "3");
    l.run = f.run;
    cbe_run_set_callback(f.run, listen, &l);
    cbe_assert_ok(cbe_run_execute(f.run, &err), &err);
    assert_true(l.n[CBE_EVENT_NOTE] >= 2 && l.n[CBE_EVENT_PROGRESS] >= VECTORS);
    assert_int_equal(l.n[CBE_EVENT_LAYER], 1);
    assert_int_equal(l.n[CBE_EVENT_SAVING], 1);
    assert_int_equal(l.n[CBE_EVENT_CHECKPOINT], 0); /* there is no folder for it */
    assert_true(l.layer_was_there);
    cbe_run_free(f.run);

    cbe_assert_ok(cbe_run_create(&f.run, "extract", &err), &err);
    cbe_assert_ok(cbe_run_set_states(f.run, f.states, &err), &err);
    cbe_assert_ok(cbe_run_set_decoder(f.run, f.decoder, &err), &err);
    l = (listener){.until = 3, .event = CBE_N_EVENTS, .run = f.run};
    cbe_run_set_callback(f.run, listen, &l);
    assert_int_equal(cbe_run_execute(f.run, &err), CBE_ERR_CANCELLED);
    assert_int_equal(cbe_run_save(f.run, program_expand("%F/cancelled"), &err), CBE_ERR_ARG);
    assert_string_equal(err.message, "cbe_run_save: the run has no results");
    struct stat info;
    assert_int_not_equal(stat(program_expand("%F/cancelled"), &info), 0);
    close_case(&f);
}

/* At any event but the last. */
static void callback__cancels_at_every_event(void **state)
{
    (void)state;
    static const char *const commands[] = {"extract", "probe"};
    for (int event = 0; event < CBE_EVENT_PULSE; event++)
        for (size_t c = 0; c < 2; c++) {
            fixture f;
            cbe_error err;
            const bool probe = c == 1;
            listener l = {.until = SIZE_MAX, .event = event};
            open_case(&f);
            create(&f, commands[c]);
            double *v = calloc(f.d, sizeof *v);
            v[0] = 1;
            if (probe)
                cbe_assert_ok(cbe_run_set_vectors(f.run, 1, f.d, v, &err), &err);
            else
                set(f.run, "vectors", "3");
            l.run = f.run;
            cbe_run_set_callback(f.run, listen, &l);
            const cbe_status st = cbe_run_execute(f.run, &err);
            if (l.n[event] == 0 || event == CBE_EVENT_SAVING)
                cbe_assert_ok(st, &err);
            else
                assert_int_equal(st, CBE_ERR_CANCELLED);
            if (st != CBE_OK) assert_int_equal(cbe_run_layers(f.run, NULL), 0);
            free(v);
            close_case(&f);
        }
}

/* A search that would last for minutes ends at the first pulse. */
static void callback__cancels_at_a_pulse(void **state)
{
    (void)state;
    fixture f;
    cbe_error err;
    listener l = {.until = SIZE_MAX, .event = CBE_EVENT_PULSE};
    open_case(&f);
    create(&f, "extract");
    set(f.run, "starts", "5000");
    l.run = f.run;
    cbe_run_set_callback(f.run, listen, &l);
    assert_int_equal(cbe_run_execute(f.run, &err), CBE_ERR_CANCELLED);
    assert_int_equal(l.n[CBE_EVENT_PULSE], 1);
    close_case(&f);
}

/* What comes before the search can be cancelled too. */
static void callback__cancels_reading(void **state)
{
    (void)state;
    static const char *const stages[] = {"reading the model: block 2", "reading the text"};
    char *model = cbe_golden_path("gguf/tiny-llama/llama-f32.gguf");
    temp_write(program_expand("%F/text"), "One text.", 9);
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        cbe_error err;
        cbe_run *run = NULL;
        listener l = {.until = SIZE_MAX, .event = CBE_N_EVENTS, .stage = stages[i]};
        cbe_assert_ok(cbe_run_create(&run, "extract", &err), &err);
        set(run, "model", model);
        set(run, "text", program_expand("%F/text"));
        cbe_run_set_callback(run, listen, &l);
        assert_int_equal(cbe_run_execute(run, &err), CBE_ERR_CANCELLED);
        assert_non_null(strstr(err.message, "reading was cancelled"));
        cbe_run_free(run);
    }
    free(model);
}

/* With "output", files and checkpoint are those of the program. */
static void output__is_written_by_the_run(void **state)
{
    (void)state;
    fixture f;
    cbe_error err;
    listener l = {.until = SIZE_MAX, .event = CBE_N_EVENTS};
    struct stat info;
    open_case(&f);
    create(&f, "extract");
    set(f.run, "vectors", "3");
    set(f.run, "output", program_expand("%F/output"));
    l.run = f.run;
    cbe_run_set_callback(f.run, listen, &l);
    cbe_assert_ok(cbe_run_execute(f.run, &err), &err);
    assert_int_equal(l.n[CBE_EVENT_CHECKPOINT], 1);
    assert_int_equal(stat(program_expand("%F/output/basis.safetensors"), &info), 0);
    assert_int_equal(stat(program_expand("%F/output/basis.json"), &info), 0);
    assert_int_not_equal(stat(program_expand("%F/output/checkpoint.safetensors"), &info), 0);
    assert_int_equal(cbe_run_save(f.run, program_expand("%F/more"), &err), CBE_ERR_ARG);
    close_case(&f);
}

/* ---- models ---- */

static void model__captures_what_the_program_captures(void **state)
{
    (void)state;
    cbe_error err;
    cbe_model *model = NULL;
    cbe_tokenizer *tokenizer = NULL;
    cbe_hidden_states *states = NULL;
    cbe_run *run = NULL;
    cbe_lens *lens = NULL;
    char *path = cbe_golden_path("gguf/tiny-llama/llama-f32.gguf");
    cbe_assert_ok(cbe_model_open(&model, path, &err), &err);
    assert_string_equal(cbe_model_path(model), path);
    const size_t n_layers = cbe_model_size(model, "n_layers"),
                 d = cbe_model_size(model, "hidden_size");
    assert_true(n_layers > 0 && d > 0);
    assert_int_equal(cbe_model_size(model, "no such"), 0);
    assert_int_equal(cbe_decoder_hidden_size(cbe_model_decoder(model)), d);
    assert_int_equal(cbe_decoder_vocab_size(cbe_model_decoder(model)),
                     cbe_model_size(model, "vocab_size"));
    enum { B = 4, S = 8 };
    int64_t ids[B * S];
    for (size_t i = 0; i < B * S; i++)
        ids[i] = (int64_t)((7 * i + 3) % cbe_model_size(model, "vocab_size"));
    cbe_assert_ok(cbe_model_capture(&states, model, B, S, ids, NULL, NULL, NULL, &err), &err);
    assert_true(cbe_hidden_states_has(states, n_layers));
    assert_int_equal(cbe_hidden_states_n_sequences(states), B);
    assert_int_equal(cbe_hidden_states_context_length(states), S);
    /* Bases of the captured states, through an affine lens. */
    cbe_assert_ok(cbe_lens_fit(&lens, model, B, S, ids, NULL, NULL, &err), &err);
    assert_int_equal(cbe_lens_n_layers(lens), n_layers);
    assert_int_equal(cbe_lens_hidden_size(lens), d);
    float *weight;
    assert_true(cbe_lens_translator(lens, 0, &weight, NULL));
    assert_false(cbe_lens_translator(lens, n_layers, &weight, NULL));
    cbe_assert_ok(cbe_run_create(&run, "extract", &err), &err);
    cbe_assert_ok(cbe_run_set_states(run, states, &err), &err);
    cbe_assert_ok(cbe_run_set_decoder(run, cbe_model_decoder(model), &err), &err);
    cbe_assert_ok(cbe_run_set_lens(run, lens, &err), &err);
    set(run, "layers", "0");
    set(run, "vectors", "2");
    cbe_assert_ok(cbe_run_execute(run, &err), &err);
    const double *energies;
    assert_int_equal(cbe_run_values(run, 0, "energy", &energies), 2);
    assert_true(energies[0] >= energies[1] && energies[1] > 0);
    cbe_run_free(run);
    /* Mistakes. */
    cbe_hidden_states *none = NULL;
    ids[3] = -1;
    assert_int_equal(cbe_model_capture(&none, model, B, S, ids, NULL, NULL, NULL, &err),
                     CBE_ERR_ARG);
    assert_int_equal(cbe_model_capture(&none, NULL, B, S, ids, NULL, NULL, NULL, &err),
                     CBE_ERR_ARG);
    assert_int_equal(cbe_model_capture(&none, model, 0, S, ids, NULL, NULL, NULL, &err),
                     CBE_ERR_ARG);
    assert_int_equal(cbe_tokenizer_open(&tokenizer, NULL, &err), CBE_ERR_ARG);
    assert_null(none);
    cbe_lens_free(lens);
    cbe_hidden_states_close(states);
    cbe_model_close(model);
    free(path);
}

/* A lens that was written is read again, numbers and all; refusals leave no folder behind. */
static void lens__is_saved_and_loaded(void **state)
{
    (void)state;
    enum { LAYERS = 3, D = 5 };
    cbe_error err;
    cbe_lens *lens = NULL, *read = NULL;
    float *weight, *bias;
    assert_int_equal(cbe_lens_create(&lens, 0, D, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_lens_create(&lens, LAYERS, 0, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_lens_create(&lens, SIZE_MAX / 4, D, &err), CBE_ERR_NOMEM);
    assert_null(lens);
    cbe_assert_ok(cbe_lens_create(&lens, LAYERS, D, &err), &err);
    for (size_t l = 0; l < LAYERS; l++) {
        assert_true(cbe_lens_translator(lens, l, &weight, &bias));
        for (size_t i = 0; i < D * D; i++) weight[i] = (float)(l + 1) / (float)(i + 1);
        for (size_t i = 0; i < D; i++) bias[i] = (float)l - (float)i / 8;
    }
    cbe_assert_ok(cbe_lens_save(lens, program_expand("%F/lens"), NULL, &err), &err);
    cbe_assert_ok(cbe_lens_load(&read, program_expand("%F/lens"), &err), &err);
    assert_int_equal(cbe_lens_n_layers(read), LAYERS);
    assert_int_equal(cbe_lens_hidden_size(read), D);
    for (size_t l = 0; l < LAYERS; l++) {
        float *read_weight, *read_bias;
        assert_true(cbe_lens_translator(lens, l, &weight, &bias));
        assert_true(cbe_lens_translator(read, l, &read_weight, &read_bias));
        assert_memory_equal(weight, read_weight, D * D * sizeof *weight);
        assert_memory_equal(bias, read_bias, D * sizeof *bias);
    }
    cbe_lens_free(read);
    read = NULL;
    assert_int_equal(cbe_lens_load(&read, program_expand("%F/no-lens"), &err), CBE_ERR_IO);
    assert_null(read);
    cbe_lens_free(lens);
}

/* ---- the process ---- */

static void threads__of_the_caller_are_as_they_were(void **state)
{
    (void)state;
    fixture f;
    cbe_error err;
    open_case(&f);
    omp_set_num_threads(3);
    create(&f, "extract");
    set(f.run, "threads", "1");
    set(f.run, "vectors", "1");
    cbe_assert_ok(cbe_run_execute(f.run, &err), &err);
    assert_int_equal(omp_get_max_threads(), 3);
    close_case(&f);
}

static void version__is_that_of_the_header(void **state)
{
    (void)state;
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%d.%d.%d", CBE_VERSION_MAJOR, CBE_VERSION_MINOR,
             CBE_VERSION_PATCH);
    assert_string_equal(cbe_version(), wanted);
    assert_int_equal(cbe_abi(), CBE_ABI);
    assert_non_null(strstr(cbe_build(), "kernels "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extract__from_arrays_is_that_of_the_program_to_the_last_bit),
        cmocka_unit_test(probe__gives_energies_and_their_gradients),
        cmocka_unit_test(options__are_those_of_the_program_by_name),
        cmocka_unit_test(options__that_are_none_are_refused_by_name),
        cmocka_unit_test(errors__carry_the_option_and_both_lines),
        cmocka_unit_test(nothing__is_taken_for_a_command_or_a_run),
        cmocka_unit_test(nulls__are_told),
        cmocka_unit_test(states__that_cannot_be_are_refused),
        cmocka_unit_test(inputs__that_do_not_fit_together_are_refused),
        cmocka_unit_test(decoders__that_cannot_be_are_refused),
        cmocka_unit_test(mistakes__with_arrays_are_told),
        cmocka_unit_test(callback__hears_of_the_run_and_cancels_it),
        cmocka_unit_test(callback__cancels_at_every_event),
        cmocka_unit_test(callback__cancels_at_a_pulse),
        cmocka_unit_test(callback__cancels_reading),
        cmocka_unit_test(output__is_written_by_the_run),
        cmocka_unit_test(model__captures_what_the_program_captures),
        cmocka_unit_test(lens__is_saved_and_loaded),
        cmocka_unit_test(threads__of_the_caller_are_as_they_were),
        cmocka_unit_test(version__is_that_of_the_header),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
