/* Reading bases: numbers as they were saved, what basis.json says, whose model it was; and files
 * that are none of ours. */
#include "extract/basis_file.h"
#include "extract/result_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/safetensors.h"
#include "core/memory.h"
#include "support/assert_close.h"
#include "support/inputs.h"
#include "support/temp_folder.h"

enum { D = 5, K = 3, FEWER = 2 };

static cbe_error err;

/* Two layers, 12 and 7, in this order, of a run on the model folder "model". */
static void save_result(void **state, const char *folder)
{
    double vectors[2][K * D];
    cbe_vector_record records[2][K] = {0};
    cbe_vector_report reports[2][K] = {0};
    cbe_layer_result results[2] = {0};
    for (size_t l = 0; l < 2; l++) {
        for (size_t i = 0; i < K * D; i++) vectors[l][i] = sin((double)(i + 100 * l));
        for (size_t j = 0; j < K; j++) records[l][j].energy = 5.25 - (double)j;
        results[l] = (cbe_layer_result){.layer = l ? 7 : 12,
                                        .basis = {D, l ? FEWER : K, vectors[l], records[l], false},
                                        .reports = reports[l],
                                        .search_seconds = 1,
                                        .seconds = 1};
    }
    const cbe_run_option options[] = {{"site", "post"}, {"ablation", "zero"}};
    char model[256];
    snprintf(model, sizeof model, "%s", temp_path(state, "model"));
    cbe_inputs inputs = {0};
    inputs_read_model(&inputs, model);
    const cbe_run_record record = {.n_options = 2,
                                   .options = options,
                                   .inputs = &inputs,
                                   .kernels = "plain",
                                   .logits = "float32",
                                   .n_sequences = 4,
                                   .context_length = 6,
                                   .n_tokens = 20,
                                   .skip_positions = 1,
                                   .hidden_size = D,
                                   .n_processes = 1,
                                   .n_groups = 1,
                                   .seconds = 12.5};
    cbe_assert_ok(cbe_result_folder_prepare(temp_path(state, folder), &err), &err);
    cbe_assert_ok(cbe_result_save(temp_path(state, folder), 2, results, &record, NULL, &err), &err);
    cbe_inputs_free(&inputs);
}

static void write_text(const char *path, const char *text)
{
    temp_write(path, text, strlen(text));
}

/* A bare file with some tensors. */
static void write_bare(const char *path, const cbe_tensor_spec *specs, size_t n,
                       const void *const *data)
{
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, n, specs, 0, NULL, &err), &err);
    for (size_t i = 0; i < n; i++) {
        size_t count = 1;
        for (size_t k = 0; k < specs[i].n_dims; k++) count *= specs[i].dims[k];
        cbe_assert_ok(cbe_safetensors_writer_put(writer, i, 0, count, data[i], &err), &err);
    }
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

/* A model as far as its files go. */
static void write_model(void **state, const char *folder, float weight, const char *config,
                        const char *other)
{
    char name[64];
    const cbe_tensor_spec spec = {"weight", CBE_F32, 1, {1}};
    const void *data[] = {&weight};
    assert_int_equal(mkdir(temp_path(state, folder), 0777), 0);
    snprintf(name, sizeof name, "%s/config.json", folder);
    write_text(temp_path(state, name), config);
    snprintf(name, sizeof name, "%s/model.safetensors", folder);
    write_bare(temp_path(state, name), &spec, 1, data);
    snprintf(name, sizeof name, "%s/%s", folder, other);
    write_text(temp_path(state, name), "something else");
}

static int set_up(void **state)
{
    if (temp_folder_create(state) != 0) return -1;
    write_model(state, "model", 1, "{}", "tokenizer.json");
    write_model(state, "moved", 1, "{}", "tokens.safetensors");
    write_model(state, "other", 2, "{}", "tokenizer.json");
    write_model(state, "configured", 1, "{ }", "tokenizer.json");
    save_result(state, "result");
    return 0;
}

static void basis__has_the_numbers_that_were_saved(void **state)
{
    cbe_basis_file *b = NULL;
    for (int as_file = 0; as_file < 2; as_file++) {
        cbe_assert_ok(
            cbe_basis_open(&b, temp_path(state, as_file ? "result/basis.safetensors" : "result"),
                           &err),
            &err);
        assert_string_equal(cbe_basis_path(b), temp_path(state, "result/basis.safetensors"));
        assert_string_equal(cbe_basis_record_path(b), temp_path(state, "result/basis.json"));
        assert_int_equal(cbe_basis_hidden_size(b), D);
        assert_int_equal(cbe_basis_n_layers(b), 2);
        assert_memory_equal(cbe_basis_layers(b), ((const size_t[]){7, 12}), 2 * sizeof(size_t));
        for (size_t l = 0; l < 2; l++) {
            const size_t layer = l ? 7 : 12, k = l ? FEWER : K;
            double v[K * D], energies[K];
            assert_int_equal(cbe_basis_n_vectors(b, layer), k);
            for (size_t n = 1; n <= k; n++) {
                cbe_assert_ok(cbe_basis_vectors(b, layer, n, v, &err), &err);
                for (size_t i = 0; i < n * D; i++)
                    assert_true(v[i] == (double)(float)sin((double)(i + 100 * l)));
                cbe_assert_ok(cbe_basis_energies(b, layer, n, energies, &err), &err);
                for (size_t j = 0; j < n; j++) assert_true(energies[j] == 5.25 - (double)j);
            }
            assert_int_equal(cbe_basis_vectors(b, layer, k + 1, v, &err), CBE_ERR_ARG);
        }
        cbe_basis_close(b);
    }
}

static void basis__says_how_it_was_made(void **state)
{
    cbe_basis_file *b = NULL;
    cbe_site site = CBE_SITE_PRE;
    size_t skip = 0;
    cbe_assert_ok(cbe_basis_open(&b, temp_path(state, "result"), &err), &err);
    assert_true(cbe_basis_site(b, &site));
    assert_int_equal(site, CBE_SITE_POST);
    assert_true(cbe_basis_skip_positions(b, &skip));
    assert_int_equal(skip, 1);
    assert_string_equal(cbe_basis_option(b, "ablation"), "zero");
    assert_null(cbe_basis_option(b, "lens"));
    assert_string_equal(cbe_basis_model(b), temp_path(state, "model/config.json"));
    assert_int_equal(cbe_basis_n_vectors(b, 3), 0);
    double v[D];
    assert_int_equal(cbe_basis_vectors(b, 3, 1, v, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "no basis of layer 3; there are those of 7, 12"));
    assert_int_equal(cbe_basis_vectors(b, 7, 3, v, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "layer 7 has 2 vectors, 3 are asked for"));
    cbe_basis_close(b);
}

/* Whether a basis was made from the model in a folder. */
static cbe_status check_model(void **state, const cbe_basis_file *b, const char *folder)
{
    cbe_inputs inputs = {0};
    inputs_read_model(&inputs, temp_path(state, folder));
    const cbe_status st = cbe_basis_check_model(b, temp_path(state, folder), &inputs, &err);
    cbe_inputs_free(&inputs);
    return st;
}

static void check_model__compares_digests(void **state)
{
    cbe_basis_file *b = NULL;
    char digest[CBE_SHA256_TEXT];
    cbe_assert_ok(cbe_basis_open(&b, temp_path(state, "result"), &err), &err);
    cbe_assert_ok(check_model(state, b, "model"), &err);
    cbe_assert_ok(check_model(state, b, "moved"), &err); /* what else lies there does not matter */
    snprintf(digest, 13, "%s", file_sha256(temp_path(state, "other/model.safetensors")));
    assert_int_equal(check_model(state, b, "other"), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "its model.safetensors began with"));
    assert_non_null(strstr(err.message, digest));
    assert_int_equal(check_model(state, b, "configured"), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "its config.json began with"));
    cbe_basis_close(b);
}

static void bare_file__needs_no_record(void **state)
{
    static const double numbers[] = {1, 2.5, -3, 4, 1e-9, 1.0 / 3};
    static const cbe_tensor_spec specs[] = {{"layers.4.basis", CBE_F64, 2, {3, 2}},
                                            {"layers.04.basis", CBE_F64, 1, {2}}};
    const void *data[] = {numbers, numbers};
    cbe_basis_file *b = NULL;
    double v[6], energies[2];
    size_t skip;
    cbe_site site;
    write_bare(temp_path(state, "result/mine.safetensors"), specs, 2, data);
    cbe_assert_ok(cbe_basis_open(&b, temp_path(state, "result/mine.safetensors"), &err), &err);
    assert_null(cbe_basis_record_path(b)); /* basis.json beside it is another's */
    assert_int_equal(cbe_basis_n_layers(b), 1);
    cbe_assert_ok(cbe_basis_vectors(b, 4, 2, v, &err), &err);
    assert_memory_equal(v, ((const double[]){1, -3, 1e-9, 2.5, 4, 1.0 / 3}), sizeof v);
    cbe_assert_ok(cbe_basis_energies(b, 4, 2, energies, &err), &err);
    assert_true(isnan(energies[0]) && isnan(energies[1]));
    assert_false(cbe_basis_site(b, &site) || cbe_basis_skip_positions(b, &skip));
    assert_null(cbe_basis_model(b));
    cbe_assert_ok(check_model(state, b, "other"), &err);
    cbe_basis_close(b);
}

static void expect_refused(const char *path, cbe_status status, const char *wanted)
{
    cbe_basis_file *b = NULL;
    const cbe_status st = cbe_basis_open(&b, path, &err);
    if (st != status || !strstr(err.message, wanted))
        fail_msg("status %d, '%s' lacks '%s'", st, err.message, wanted);
    assert_null(b);
}

static void tensors__that_are_no_basis_are_refused(void **state)
{
    static const float numbers[] = {1, 2, NAN, 4, 5, 6};
    static const int64_t integers[] = {1, 2, 3, 4, 5, 6};
    static const struct {
        cbe_tensor_spec specs[2];
        cbe_status status;
        const char *wanted;
    } cases[] = {
        {{{"layers.1.energies", CBE_F32, 1, {2}}, {"v", CBE_F32, 1, {2}}},
         CBE_ERR_FORMAT,
         "no tensor layers.<i>.basis"},
        {{{"layers.-1.basis", CBE_F32, 2, {3, 2}}, {"layers.1234567890.basis", CBE_F32, 2, {3, 2}}},
         CBE_ERR_FORMAT,
         "no basis"},
        {{{"layers.1.basis", CBE_F32, 1, {3}}, {"v", CBE_F32, 1, {2}}},
         CBE_ERR_SHAPE,
         "must be (d, k)"},
        {{{"layers.1.basis", CBE_F32, 2, {3, 0}}, {"v", CBE_F32, 1, {2}}},
         CBE_ERR_SHAPE,
         "must be (d, k)"},
        {{{"layers.1.basis", CBE_I64, 2, {3, 2}}, {"v", CBE_F32, 1, {2}}},
         CBE_ERR_SHAPE,
         "must be floating point"},
        {{{"layers.1.basis", CBE_F32, 2, {3, 2}}, {"layers.2.basis", CBE_F32, 2, {2, 3}}},
         CBE_ERR_SHAPE,
         "another layer 3"},
        {{{"layers.1.basis", CBE_F32, 2, {3, 2}}, {"layers.1.energies", CBE_F32, 1, {3}}},
         CBE_ERR_SHAPE,
         "layers.1.energies"},
    };
    char path[256];
    snprintf(path, sizeof path, "%s", temp_path(state, "none"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const void *data[2];
        for (size_t j = 0; j < 2; j++)
            data[j] = cases[i].specs[j].dtype == CBE_I64 ? (const void *)integers : numbers;
        write_bare(path, cases[i].specs, 2, data);
        expect_refused(path, cases[i].status, cases[i].wanted);
    }
    expect_refused(temp_path(state, "absent"), CBE_ERR_IO, "absent");
    expect_refused(temp_path(state, "model"), CBE_ERR_IO, "basis.safetensors");
    expect_refused(temp_path(state, "model/config.json"), CBE_ERR_FORMAT, "config.json");

    cbe_basis_file *b = NULL;
    double v[6];
    const cbe_tensor_spec spec = {"layers.1.basis", CBE_F32, 2, {3, 2}};
    const void *data[] = {numbers};
    write_bare(path, &spec, 1, data);
    cbe_assert_ok(cbe_basis_open(&b, path, &err), &err);
    assert_int_equal(cbe_basis_vectors(b, 1, 2, v, &err), CBE_ERR_NUMERIC);
    assert_non_null(strstr(err.message, "vector 0 of layer 1 has NaN"));
    cbe_basis_close(b);
}

/* basis.json with one thing changed. */
static void records__that_are_none_are_refused(void **state)
{
    static const struct {
        const char *from, *to;
        cbe_status status;
        const char *wanted;
    } cases[] = {
        {"{", "", CBE_ERR_FORMAT, "basis.json: line 2"},
        {"\"causal basis\"", "\"lens\"", CBE_ERR_FORMAT, "'format' must be"},
        {"\"format\": \"causal basis\"", "\"format\": 1", CBE_ERR_FORMAT, "'format' must be"},
        {"\"inputs\"", "\"outputs\"", CBE_ERR_FORMAT, "'inputs' must be"},
        {"\"role\": \"model\"", "\"role\": 3", CBE_ERR_FORMAT, "'inputs' must be"},
        {"\"sha256\": \"", "\"sha256\": \"X", CBE_ERR_FORMAT, "'inputs' must be"},
        {"\"options\"", "\"choices\"", CBE_ERR_FORMAT, "'options' must be"},
        {"\"zero\"", "{}", CBE_ERR_FORMAT, "'options' must be"},
        {"\"post\"", "\"behind\"", CBE_ERR_FORMAT, "'options.site' must be pre or post"},
        {"\"skip_positions\": 1", "\"skip_positions\": -1", CBE_ERR_FORMAT,
         "'skip_positions' must be"},
        {"\"hidden_size\": 5", "\"hidden_size\": 6", CBE_ERR_SHAPE, "do not belong together"},
        {"\"hidden_size\": 5", "\"hidden_size\": \"5\"", CBE_ERR_SHAPE, "do not belong together"},
    };
    save_result(state, "changed");
    size_t size;
    char *record = temp_read(temp_path(state, "changed/basis.json"), &size),
         *changed = malloc(size + 64);
    assert_non_null(changed);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *at = strstr(record, cases[i].from);
        if (!at) fail_msg("no %s", cases[i].from);
        sprintf(changed, "%.*s%s%s", (int)(at - record), record, cases[i].to,
                at + strlen(cases[i].from));
        write_text(temp_path(state, "changed/basis.json"), changed);
        expect_refused(temp_path(state, "changed"), cases[i].status, cases[i].wanted);
        expect_refused(temp_path(state, "changed/basis.safetensors"), cases[i].status,
                       cases[i].wanted);
    }
    write_text(temp_path(state, "changed/basis.json"), "");
    expect_refused(temp_path(state, "changed"), CBE_ERR_FORMAT, "basis.json");
    free(record);
    free(changed);
}

static void open__survives_every_failed_allocation(void **state)
{
    char path[256];
    snprintf(path, sizeof path, "%s", temp_path(state, "result"));
    size_t failures = 0;
    for (cbe_status st = CBE_ERR_NOMEM; st != CBE_OK; failures++) {
        cbe_basis_file *b = NULL;
        cbe_inputs inputs = {.digests = true};
        double v[FEWER * D];
        cbe_memory_fail_after((long)failures);
        st = cbe_basis_open(&b, path, &err);
        if (st == CBE_OK) st = cbe_basis_vectors(b, 7, FEWER, v, &err);
        if (st == CBE_OK) st = cbe_basis_note(b, &inputs, CBE_INPUT_INIT, &err);
        cbe_memory_fail_after(-1);
        if (st == CBE_OK) assert_int_equal(inputs.n, 2);
        cbe_inputs_free(&inputs);
        cbe_basis_close(b);
        if (st != CBE_OK && st != CBE_ERR_NOMEM)
            fail_msg("allocation %zu: %s", failures, err.message);
        assert_true(failures < 100);
    }
    assert_true(failures > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(basis__has_the_numbers_that_were_saved),
        cmocka_unit_test(basis__says_how_it_was_made),
        cmocka_unit_test(check_model__compares_digests),
        cmocka_unit_test(bare_file__needs_no_record),
        cmocka_unit_test(tensors__that_are_no_basis_are_refused),
        cmocka_unit_test(records__that_are_none_are_refused),
        cmocka_unit_test(open__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
