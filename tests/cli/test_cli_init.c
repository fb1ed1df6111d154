/* cbe extract --init: a basis found before leads on, through a lens and in the whole model, at
 * either site; and what is refused. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

enum { K = 3 };

static cbe_error err;

/* A run on the tiny Llama: for program_run, and behind snprintf. */
#define LLAMA "extract %G/models/llama --tokens %G/models/llama/golden.safetensors --threads 2 "
#define LLAMA_LINE                                                                                 \
    "extract %%G/models/llama --tokens %%G/models/llama/golden.safetensors --threads 2 "

static void read_energies(const char *folder, const char *layer, float energies[K])
{
    char line[64], name[32];
    size_t n;
    cbe_safetensors *file = NULL;
    snprintf(line, sizeof line, "%s/basis.safetensors", folder);
    snprintf(name, sizeof name, "layers.%s.energies", layer);
    cbe_assert_ok(cbe_safetensors_open(&file, program_expand(line), &err), &err);
    float *x = cbe_golden_floats(file, name, &n);
    assert_int_equal(n, K);
    memcpy(energies, x, K * sizeof *x);
    free(x);
    cbe_safetensors_close(file);
}

/* basis.json of a folder: how many starts of a kind the vectors had, all in all. */
static int starts_of(const char *folder, const char *kind, int *n_init_inputs)
{
    char line[64];
    json_error_t problem;
    snprintf(line, sizeof line, "%s/basis.json", folder);
    json_t *root = json_load_file(program_expand(line), 0, &problem), *input, *vector;
    assert_non_null(root);
    int sum = 0;
    size_t i;
    json_array_foreach(
        json_object_get(json_array_get(json_object_get(root, "layers"), 0), "vectors"), i, vector)
        sum += (int)json_integer_value(json_object_get(
            json_object_get(json_object_get(vector, "starts_by_kind"), kind), "starts"));
    *n_init_inputs = 0;
    json_array_foreach(json_object_get(root, "inputs"), i, input) *n_init_inputs +=
        strcmp(json_string_value(json_object_get(input, "role")), "init") == 0;
    json_decref(root);
    return sum;
}

/* From the vectors found, one iteration from few starts finds no less; without them it does. */
static void init__leads_on_from_where_a_basis_is(void **state)
{
    (void)state;
    static const char *const lenses[] = {"--lens logit --site post", "--lens model --preset leaps"};
    for (size_t i = 0; i < 2; i++) {
        char line[400];
        float whole[K], cold[K], warm[K];
        int inputs;
        snprintf(line, sizeof line, LLAMA_LINE "%s -l 1 -k 3 -o %%F/whole", lenses[i]);
        program_done(line);
        read_energies("%F/whole", "1", whole);
        snprintf(line, sizeof line, LLAMA_LINE "%s -l 1 -k 3 --max-iter 1 --starts 2 -o %%F/cold",
                 lenses[i]);
        program_done(line);
        read_energies("%F/cold", "1", cold);
        snprintf(line, sizeof line,
                 LLAMA_LINE "%s -l 1 -k 3 --max-iter 1 --starts 2 --init %%F/whole%s -o %%F/warm",
                 lenses[i], i ? "/basis.safetensors" : "");
        program_done(line);
        read_energies("%F/warm", "1", warm);
        assert_true((double)warm[0] >= (double)whole[0] * (1 - 1e-4));
        assert_true((double)cold[0] < (double)whole[0] * (1 - 1e-4));
        assert_true(starts_of("%F/warm", "given", &inputs) >= K);
        assert_int_equal(inputs, 2); /* the tensors and the record */
        assert_int_equal(starts_of("%F/cold", "given", &inputs), 0);
        assert_int_equal(inputs, 0);
    }
}

/* The output of block 1 is the input of block 2: a basis of the one is one of the other. */
static void init__takes_the_layer_of_the_same_hidden_states(void **state)
{
    (void)state;
    int inputs;
    program_done(LLAMA "--site pre -l 2 -k 3 -o %F/pre");
    program_done(LLAMA "--lens model -l 1 -k 3 --max-iter 2 --init %F/pre -o %F/post");
    assert_true(starts_of("%F/post", "given", &inputs) >= 1);
    assert_int_equal(program_run(LLAMA "--lens model -l 2 -k 3 --init %F/pre -o %F/post"), 2);
    assert_non_null(
        strstr(program_err, "has no vectors for any layer that --layers asks for at site post"));
}

/* The whole model's starts, one of the lens's basis and one of the identity among them. */
static void model__starts_from_several_kinds(void **state)
{
    (void)state;
    static const char *const kinds[] = {"lens", "identity", "random"};
    int inputs;
    program_done(LLAMA "--lens model --preset leaps -l 0 -k 3 --starts 8 --max-iter 3 -o %F/kinds");
    for (size_t i = 0; i < 3; i++)
        if (starts_of("%F/kinds", kinds[i], &inputs) < 1)
            fail_msg("no start is of kind %s", kinds[i]);
}

static void model__has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    char *bytes[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        char line[300];
        snprintf(line, sizeof line,
                 "extract %%G/models/llama --tokens %%G/models/llama/golden.safetensors --lens "
                 "model -l 0,1 -k 3 --threads %d -o "
                 "%%F/bits",
                 2 * i + 1);
        program_done(line);
        bytes[i] = (char *)cbe_read_file(program_expand("%F/bits/basis.safetensors"), &size[i]);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void init__refuses_what_it_cannot_use(void **state)
{
    (void)state;
    static const struct {
        const char *options, *wanted;
    } cases[] = {
        {"--init %F/none", "none"},
        {"--init %F/whole --preset seed", "--init: the preset seed has its own start"},
        {"--init %F/other", "other"}, /* of another model, by its digests */
        {"--init %G/models/llama/golden.safetensors", "golden.safetensors"},
    };
    program_done(
        "extract %G/models/gpt2 --tokens %G/models/gpt2/golden.safetensors -l 1 -k 1 -o %F/other");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[300];
        snprintf(line, sizeof line, LLAMA_LINE "-l 1 -k 3 %s -o %%F/x", cases[i].options);
        assert_int_equal(program_run(line), 2);
        if (!strstr(program_err, cases[i].wanted)) fail_msg("%s: %s", line, program_err);
        const char *end = strchr(program_err, '\n');
        assert_true(end && end[1] == 0);
    }
    /* Vectors without a record are checked by their length. */
    program_done("extract --hidden-states %H --decoder %E -l 0 -k 1 -o %F/narrow");
    assert_int_equal(remove(program_expand("%F/narrow/basis.json")), 0);
    assert_int_equal(program_run(LLAMA "-l 1 -k 3 --quiet --init %F/narrow -o %F/x"), 2);
    assert_non_null(strstr(program_err, "a basis of another model"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init__leads_on_from_where_a_basis_is),
        cmocka_unit_test(init__takes_the_layer_of_the_same_hidden_states),
        cmocka_unit_test(model__starts_from_several_kinds),
        cmocka_unit_test(model__has_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(init__refuses_what_it_cannot_use),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
