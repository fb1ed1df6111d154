/* Lens folders: read, written, refused; logits through PyTorch's lenses (tests/golden/lens). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/model.h"
#include "formats/safetensors.h"
#include "lens/tuned_lens.h"
#include "core/memory.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/temp_folder.h"

static cbe_error err;
static const char *const models[] = {"gpt2", "llama"};

/* x = h + A h + b, plainly. */
static void translate(cbe_translator t, size_t n, size_t d, const float *h, float *x)
{
    for (size_t i = 0; i < n; i++)
        for (size_t row = 0; row < d; row++) {
            double sum = (double)h[i * d + row] + (t.bias ? (double)t.bias[row] : 0);
            for (size_t k = 0; t.weight && k < d; k++)
                sum += (double)t.weight[row * d + k] * (double)h[i * d + k];
            x[i * d + row] = (float)sum;
        }
}

static void logits_and_hash__are_those_of_tuned_lens(void **state)
{
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        char *folder = cbe_golden_path("lens/%s", models[m]),
             *golden_path = cbe_golden_path("lens/%s/golden.safetensors", models[m]);
        char *model_path = cbe_golden_path("models/%s", models[m]),
             *states_path = cbe_golden_path("models/%s/golden.safetensors", models[m]);
        cbe_model *model = NULL;
        cbe_tuned_lens *lens = NULL;
        cbe_tuned_lens_config *config = NULL;
        cbe_safetensors *golden = NULL, *states = NULL;
        cbe_assert_ok(cbe_model_open(&model, model_path, &err), &err);
        cbe_assert_ok(cbe_tuned_lens_load(&lens, &config, folder, NULL, &err), &err);
        cbe_assert_ok(cbe_safetensors_open(&golden, golden_path, &err), &err);
        cbe_assert_ok(cbe_safetensors_open(&states, states_path, &err), &err);
        const cbe_decoder *decoder = cbe_model_decoder(model);
        const size_t d = lens->hidden_size, vocab = decoder->vocab_size;
        assert_int_equal(lens->n_layers, 3);
        assert_false(cbe_tuned_lens_config_differs(config, decoder));
        cbe_assert_ok(cbe_tuned_lens_check(lens, folder, 3, decoder->hidden_size, model_path, &err),
                      &err);
        for (size_t layer = 0; layer < lens->n_layers; layer++) {
            char name[40];
            size_t count, n_logits;
            snprintf(name, sizeof name, "hidden_states.%zu", layer);
            float *h = cbe_golden_floats(states, name, &count);
            snprintf(name, sizeof name, "tuned.%zu.logits", layer);
            float *want = cbe_golden_floats(golden, name, &n_logits);
            const size_t n = count / d;
            assert_int_equal(n_logits, n * vocab);
            float *x = malloc(count * sizeof *x), *logits = malloc(n_logits * sizeof *logits);
            translate(cbe_tuned_lens_translator(lens, layer), n, d, h, x);
            cbe_assert_ok(cbe_decoder_logits(decoder, n, x, logits, &err), &err);
            cbe_assert_close_f32(logits, want, n_logits, 1e-3, 0, "%s %s", models[m], name);
            free(h);
            free(want);
            free(x);
            free(logits);
        }
        cbe_safetensors_close(golden);
        cbe_safetensors_close(states);
        cbe_tuned_lens_config_free(config);
        cbe_tuned_lens_free(lens);
        cbe_model_close(model);
        free(folder);
        free(golden_path);
        free(model_path);
        free(states_path);
    }
}

/* Numbers that are all different, and a config with keys that nobody knows. */
static void make_lens(cbe_tuned_lens **lens, size_t n_layers, size_t d, bool bias)
{
    cbe_assert_ok(cbe_tuned_lens_create(lens, n_layers, d, bias, &err), &err);
    for (size_t i = 0; i < n_layers; i++)
        for (size_t k = 0; k < d * d; k++) {
            (*lens)->weight[i][k] = (float)(i * 1000 + k) * 0.37f - 3;
            if (bias && k < d) (*lens)->bias[i][k] = (float)(i * 100 + k) * -0.11f;
        }
}

static void assert_equal(const cbe_tuned_lens *a, const cbe_tuned_lens *b)
{
    assert_true(a->n_layers == b->n_layers && a->hidden_size == b->hidden_size &&
                !a->bias == !b->bias);
    for (size_t i = 0; i < a->n_layers; i++) {
        assert_memory_equal(a->weight[i], b->weight[i],
                            a->hidden_size * a->hidden_size * sizeof(float));
        if (a->bias) assert_memory_equal(a->bias[i], b->bias[i], a->hidden_size * sizeof(float));
    }
}

static const char *write_folder(void **state, const char *name, const char *config)
{
    char path[600];
    const char *folder = temp_path(state, name);
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/config.json", folder);
    temp_write(path, config, strlen(config));
    return folder;
}

static void both_formats__keep_numbers_and_every_key(void **state)
{
    static const char config_text[] =
        "{\"zeta\": [1, {\"deep\": null}], \"d_model\": 5, \"num_hidden_layers\": 12, "
        "\"base_model_name_or_path\": \"a \\u00e9 b\","
        " \"unemebd_hash\": 12345678901234, \"rate\": 0.1, \"bias\": false}";
    for (int bias = 0; bias < 2; bias++)
        for (int format = 0; format < CBE_N_LENS_FORMATS; format++) {
            char name[40], path[600];
            cbe_tuned_lens *lens = NULL, *again = NULL;
            cbe_tuned_lens_config *config = NULL;
            cbe_lens_format found;
            make_lens(&lens, 12, 5, bias);
            snprintf(name, sizeof name, "lens-%d-%d", bias, format);
            const char *folder = temp_path(state, name);
            cbe_assert_ok(cbe_tuned_lens_config_create(&config, "model \xff name", NULL, &err),
                          &err);
            cbe_assert_ok(cbe_tuned_lens_save(lens, config, folder, (cbe_lens_format)format, &err),
                          &err);
            cbe_tuned_lens_config_free(config);
            cbe_assert_ok(cbe_tuned_lens_find(folder, &found, &err), &err);
            assert_int_equal(found, format);
            cbe_assert_ok(cbe_tuned_lens_load(&again, &config, folder, NULL, &err), &err);
            assert_equal(lens, again);
            assert_string_equal(cbe_tuned_lens_config_get(config, "base_model_name_or_path"),
                                "model \xef\xbf\xbd name");
            assert_string_equal(cbe_tuned_lens_config_get(config, "lens_type"),
                                "linear_tuned_lens");
            assert_null(cbe_tuned_lens_config_get(config, "unembed_hash"));
            cbe_tuned_lens_free(again);
            cbe_tuned_lens_config_free(config);
            /* Keys of another config, kept when what was loaded is saved. */
            if (!bias) {
                write_folder(state, name, config_text);
                cbe_assert_ok(cbe_tuned_lens_load(&again, &config, folder, NULL, &err), &err);
                cbe_assert_ok(cbe_tuned_lens_config_set(config, "trained_with", "cbe", &err), &err);
                cbe_assert_ok(
                    cbe_tuned_lens_save(again, config, folder, (cbe_lens_format)format, &err),
                    &err);
                cbe_tuned_lens_config_free(config);
                cbe_tuned_lens_free(again);
                snprintf(path, sizeof path, "%s/config.json", folder);
                json_t *got = json_load_file(path, 0, NULL),
                       *want = json_loads(config_text, 0, NULL);
                json_object_set_new(want, "trained_with", json_string("cbe"));
                json_object_set_new(want, "written_by", json_string("cbe " CBE_VERSION));
                assert_true(json_equal(got, want));
                json_decref(got);
                json_decref(want);
            }
            cbe_tuned_lens_free(lens);
        }
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void config__refuses_what_is_not_utf8(void **state)
{
    (void)state;
    cbe_tuned_lens_config *config = NULL;
    cbe_assert_ok(cbe_tuned_lens_config_create(&config, "m", NULL, &err), &err);
    assert_int_equal(cbe_tuned_lens_config_set(config, "x", "\xff", &err), CBE_ERR_ARG);
    cbe_assert_ok(cbe_tuned_lens_config_set(config, "x", NULL, &err), &err);
    assert_null(cbe_tuned_lens_config_get(config, "x"));
    cbe_tuned_lens_config_free(config);
}

/* A lens of 2 layers of width 3 with bias, and a config.json that may say something else. */
static void shapes_and_keys__that_do_not_fit_are_named(void **state)
{
    static const struct {
        const char *config;
        cbe_status status;
        const char *message;
    } cases[] = {
        {"{\"d_model\": 3, \"num_hidden_layers\": 2}", CBE_OK, ""},
        {"{\"d_model\": 3, \"num_hidden_layers\": 2, \"lens_type\": null, \"unembed_hash\": null}",
         CBE_OK, ""},
        {"{\"d_model\": 4, \"num_hidden_layers\": 2}", CBE_ERR_SHAPE, "has shape [3"},
        {"{\"d_model\": 3, \"num_hidden_layers\": 3}", CBE_ERR_SHAPE,
         "tensor '2.weight' is missing"},
        {"{\"d_model\": 3, \"num_hidden_layers\": 1}", CBE_ERR_SHAPE,
         "has no place in a lens of 1 layers"},
        {"{\"d_model\": 3, \"num_hidden_layers\": 2, \"bias\": false}", CBE_ERR_SHAPE,
         "bias' has no place in a lens of 2 layers without bias"},
        {"{\"d_model\": 3}", CBE_ERR_FORMAT, "key 'num_hidden_layers' is missing"},
        {"{\"num_hidden_layers\": 3}", CBE_ERR_FORMAT, "key 'd_model' is missing"},
        {"{\"d_model\": \"3\", \"num_hidden_layers\": 2}", CBE_ERR_FORMAT,
         "'d_model' must be an integer"},
        {"{\"d_model\": 0, \"num_hidden_layers\": 2}", CBE_ERR_FORMAT, "'d_model' is 0"},
        {"{\"d_model\": 3, \"num_hidden_layers\": 99999999999}", CBE_ERR_FORMAT,
         "'num_hidden_layers' is 99999999999"},
        {"{\"d_model\": 16777216, \"num_hidden_layers\": 10000}", CBE_ERR_SHAPE,
         "has shape [3"}, /* nothing is allocated for it */
        {"{\"d_model\": 3, \"num_hidden_layers\": 2, \"bias\": 1}", CBE_ERR_FORMAT,
         "'bias' must be true or false"},
        {"{\"d_model\": 3, \"num_hidden_layers\": 2, \"unembed_hash\": 7}", CBE_ERR_FORMAT,
         "'unembed_hash' must be a string"},
        {"{\"d_model\": 3, \"num_hidden_layers\": 2, \"lens_type\": \"mlp\"}", CBE_ERR_UNSUPPORTED,
         "lens_type 'mlp'"},
        {"[3, 2]", CBE_ERR_FORMAT, "is not a JSON object"},
        {"{", CBE_ERR_FORMAT, "line 1"},
        {"", CBE_ERR_FORMAT, "config.json"},
    };
    for (int format = 0; format < CBE_N_LENS_FORMATS; format++) {
        const char *name = format ? "cases-safetensors" : "cases-pt";
        cbe_tuned_lens *lens = NULL;
        make_lens(&lens, 2, 3, true);
        cbe_assert_ok(
            cbe_tuned_lens_save(lens, NULL, temp_path(state, name), (cbe_lens_format)format, &err),
            &err);
        cbe_tuned_lens_free(lens);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            cbe_tuned_lens *loaded = NULL;
            const char *folder = write_folder(state, name, cases[i].config);
            const cbe_status st = cbe_tuned_lens_load(&loaded, NULL, folder, NULL, &err);
            if (st != cases[i].status || (st != CBE_OK && !strstr(err.message, cases[i].message)))
                fail_msg("%s: %s: %s", cases[i].config, cbe_status_name(st),
                         st == CBE_OK ? "read" : err.message);
            cbe_tuned_lens_free(loaded);
        }
    }
}

static void nan_in_a_tensor__is_named(void **state)
{
    for (int format = 0; format < CBE_N_LENS_FORMATS; format++) {
        cbe_tuned_lens *lens = NULL, *loaded = NULL;
        const char *folder = temp_path(state, format ? "nan-safetensors" : "nan-pt");
        make_lens(&lens, 2, 3, true);
        const uint32_t bits = 0x7fc00000;
        memcpy(&lens->weight[1][4], &bits, sizeof bits);
        cbe_assert_ok(cbe_tuned_lens_save(lens, NULL, folder, (cbe_lens_format)format, &err), &err);
        assert_int_equal(cbe_tuned_lens_load(&loaded, NULL, folder, NULL, &err), CBE_ERR_NUMERIC);
        assert_non_null(strstr(err.message, "tensor '1.weight': element 4 is NaN"));
        cbe_tuned_lens_free(lens);
    }
}

static void folders__that_are_no_lens_or_hold_something_else(void **state)
{
    cbe_tuned_lens *lens = NULL, *loaded = NULL;
    char path[600];
    make_lens(&lens, 1, 2, true);
    assert_int_equal(cbe_tuned_lens_load(&loaded, NULL, temp_path(state, "nothing"), NULL, &err),
                     CBE_ERR_IO);
    const char *empty = write_folder(state, "empty", "{}");
    assert_int_equal(cbe_tuned_lens_load(&loaded, NULL, empty, NULL, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, "neither params.pt nor params.safetensors"));
    snprintf(path, sizeof path, "%s/config.json", empty);
    assert_int_equal(cbe_tuned_lens_load(&loaded, NULL, path, NULL, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, "a lens is a folder"));
    assert_int_equal(cbe_tuned_lens_prepare(path, CBE_LENS_PT, &err), CBE_ERR_IO);
    /* The other format beside it would leave open which is meant. */
    const char *folder = temp_path(state, "both");
    cbe_assert_ok(cbe_tuned_lens_save(lens, NULL, folder, CBE_LENS_PT, &err), &err);
    cbe_assert_ok(cbe_tuned_lens_prepare(folder, CBE_LENS_PT, &err), &err);
    assert_int_equal(cbe_tuned_lens_prepare(folder, CBE_LENS_SAFETENSORS, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_tuned_lens_save(lens, NULL, folder, CBE_LENS_SAFETENSORS, &err),
                     CBE_ERR_ARG);
    snprintf(path, sizeof path, "%s/params.safetensors", folder);
    temp_write(path, "x", 1);
    assert_int_equal(cbe_tuned_lens_load(&loaded, NULL, folder, NULL, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "holds both"));
    /* A model's config.json is not written over. */
    snprintf(path, sizeof path, "%s/model.safetensors", empty);
    temp_write(path, "x", 1);
    assert_int_equal(cbe_tuned_lens_save(lens, NULL, empty, CBE_LENS_PT, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "holds a model"));
    cbe_tuned_lens_free(lens);
}

static void shapes__of_lens_and_model_are_both_named(void **state)
{
    (void)state;
    cbe_tuned_lens *lens = NULL;
    make_lens(&lens, 2, 3, true);
    cbe_assert_ok(cbe_tuned_lens_check(lens, "lens", 2, 3, "model", &err), &err);
    cbe_assert_ok(cbe_tuned_lens_check(lens, "lens", 0, 3, "model", &err), &err);
    assert_int_equal(cbe_tuned_lens_check(lens, "lens", 4, 3, "model", &err), CBE_ERR_SHAPE);
    assert_non_null(strstr(err.message, "lens: the lens is one for 2 layers of hidden size 3, but "
                                        "model has 4 layers of hidden size 3"));
    assert_int_equal(cbe_tuned_lens_check(lens, "lens", 0, 5, "model", &err), CBE_ERR_SHAPE);
    assert_non_null(strstr(err.message, "but model has hidden size 5"));
    cbe_tuned_lens_free(lens);
}

static void every_failing_allocation__is_an_error(void **state)
{
    for (int format = 0; format < CBE_N_LENS_FORMATS; format++) {
        cbe_tuned_lens *lens = NULL;
        make_lens(&lens, 2, 3, true);
        const char *folder = temp_path(state, format ? "short-safetensors" : "short-pt");
        cbe_status st = CBE_ERR_NOMEM;
        for (long n = 0; st != CBE_OK; n++) {
            cbe_memory_fail_after(n);
            st = cbe_tuned_lens_save(lens, NULL, folder, (cbe_lens_format)format, &err);
            cbe_memory_fail_after(-1);
            assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
        }
        st = CBE_ERR_NOMEM;
        for (long n = 0; st != CBE_OK; n++) {
            cbe_tuned_lens *loaded = NULL;
            cbe_tuned_lens_config *config = NULL;
            cbe_memory_fail_after(n);
            st = cbe_tuned_lens_load(&loaded, &config, folder, NULL, &err);
            cbe_memory_fail_after(-1);
            assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
            cbe_tuned_lens_free(loaded);
            cbe_tuned_lens_config_free(config);
        }
        cbe_tuned_lens_free(lens);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_and_hash__are_those_of_tuned_lens),
        cmocka_unit_test(both_formats__keep_numbers_and_every_key),
        cmocka_unit_test(config__refuses_what_is_not_utf8),
        cmocka_unit_test(shapes_and_keys__that_do_not_fit_are_named),
        cmocka_unit_test(nan_in_a_tensor__is_named),
        cmocka_unit_test(folders__that_are_no_lens_or_hold_something_else),
        cmocka_unit_test(shapes__of_lens_and_model_are_both_named),
        cmocka_unit_test(every_failing_allocation__is_an_error),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
