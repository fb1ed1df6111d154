/* cbe extract, probe, info and lens convert with tuned lenses (tests/golden/lens,
 * tests/golden/extract). */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/inputs.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

static cbe_error err;
static const char *const models[] = {"gpt2", "llama"};
static const char *const modes[] = {"mean", "resample", "zero"}, *const objectives[] = {"kl", "ce"};

static cbe_safetensors *open_file(const char *line)
{
    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_safetensors_open(&file, program_expand(line), &err), &err);
    return file;
}

/* A copy of some tensors, from -> to, of two files. */
static void write_tensors(const char *path, const cbe_safetensors *a, const cbe_safetensors *b,
                          const char *const (*names)[2], size_t n)
{
    cbe_tensor_spec specs[8] = {0};
    cbe_tensor t[8];
    cbe_safetensors_writer *writer = NULL;
    for (size_t i = 0; i < n; i++) {
        cbe_assert_ok(cbe_safetensors_get(cbe_safetensors_has(b, names[i][0]) ? b : a, names[i][0],
                                          &t[i], &err),
                      &err);
        specs[i] = (cbe_tensor_spec){names[i][1], t[i].dtype, t[i].n_dims, {0}};
        memcpy(specs[i].dims, t[i].dims, sizeof t[i].dims);
    }
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, n, specs, 0, NULL, &err), &err);
    for (size_t i = 0; i < n; i++)
        cbe_assert_ok(cbe_safetensors_writer_put(writer, i, 0, t[i].n_elements, t[i].data, &err),
                      &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

/* %F/tokens, %F/hidden (of no known model) and %F/v of a golden lens: derangement and direction are
 * its own. */
static void write_inputs(void **state, const char *model)
{
    char line[200];
    snprintf(line, sizeof line, "%%G/models/%s/golden.safetensors", model);
    cbe_safetensors *states = open_file(line);
    snprintf(line, sizeof line, "%%G/lens/%s/golden.safetensors", model);
    cbe_safetensors *golden = open_file(line);
    static const char *const names[][2] = {
        {"ablate.perm", "derangement"},         {"input_ids", "input_ids"},
        {"hidden_states.0", "hidden_states.0"}, {"hidden_states.1", "hidden_states.1"},
        {"hidden_states.2", "hidden_states.2"}, {"hidden_states.3", "hidden_states.3"}};
    static const char *const direction[][2] = {{"ablate.v", "v"}};
    write_tensors(temp_path(state, "tokens"), states, golden, names, 2);
    write_tensors(temp_path(state, "hidden"), states, golden, names, 6);
    write_tensors(temp_path(state, "v"), states, golden, direction, 1);
    cbe_safetensors_close(states);
    cbe_safetensors_close(golden);
}

/* layers.<layer>.<part> against the golden tensor. */
static void compare(const cbe_safetensors *got, const cbe_safetensors *golden, size_t layer,
                    const char *wanted, const char *part, double absolute, double relative,
                    double of_largest)
{
    char name[700];
    cbe_tensor g, w;
    snprintf(name, sizeof name, "layers.%zu.%s", layer, part);
    cbe_assert_ok(cbe_safetensors_get(got, name, &g, &err), &err);
    snprintf(name, sizeof name, "%s.%s", wanted, part);
    cbe_assert_ok(cbe_safetensors_get(golden, name, &w, &err), &err);
    assert_true(g.dtype == CBE_F64 && w.dtype == CBE_F64 && g.n_elements == w.n_elements);
    double *a = malloc(g.n_bytes), *b = malloc(w.n_bytes), largest = 0;
    memcpy(a, g.data, g.n_bytes);
    memcpy(b, w.data, w.n_bytes);
    for (size_t i = 0; i < w.n_elements; i++) largest = fmax(largest, fabs(b[i]));
    cbe_assert_close(a, b, w.n_elements, absolute + of_largest * largest, relative, "%s", name);
    free(a);
    free(b);
}

static void probe__meets_pytorch_through_the_lenses_of_both_models(void **state)
{
    for (size_t m = 0; m < 2; m++) {
        char line[600];
        write_inputs(state, models[m]);
        snprintf(line, sizeof line, "%%G/lens/%s/golden.safetensors", models[m]);
        cbe_safetensors *golden = open_file(line);
        snprintf(line, sizeof line, "decoder %%G/models/%s -o %%F/decoder", models[m]);
        program_done(line);
        /* modes, objectives; from a model, and from files */
        for (size_t run = 0; run < 12; run++) {
            const char *mode = modes[run % 3], *objective = objectives[run / 3 % 2];
            char inputs[200];
            if (run < 6)
                snprintf(inputs, sizeof inputs, "%%G/models/%s --tokens %%F/tokens", models[m]);
            else
                snprintf(inputs, sizeof inputs, "--hidden-states %%F/hidden --decoder %%F/decoder");
            snprintf(line, sizeof line,
                     "probe %s --lens tuned=%%G/lens/%s --vectors-file %%F/v --ablation %s "
                     "--objective %s -o %%F/out",
                     inputs, models[m], mode, objective);
            program_done(line);
            assert_null(strstr(program_err, "unembed_hash"));
            cbe_safetensors *got = open_file("%F/out");
            /* four tensors of three layers: hidden_states.3 is known to be the last */
            assert_int_equal(cbe_safetensors_count(got), 12);
            for (size_t layer = 0; layer < 3; layer++) {
                snprintf(line, sizeof line, "tuned.%zu.%s.%s", layer, mode, objective);
                compare(got, golden, layer, line, "energy", 1e-6, 1e-5, 0);
                compare(got, golden, layer, line, "grad", 0, 0, 1e-4);
            }
            cbe_safetensors_close(got);
        }
        cbe_safetensors_close(golden);
    }
}

static void probe__meets_pytorch_in_the_tuned_extractions(void **state)
{
    static const char *const cases[] = {"layernorm", "rmsnorm"};
    for (size_t c = 0; c < 2; c++) {
        char line[600];
        snprintf(line, sizeof line, "%%G/extract/%s-tuned/golden.safetensors", cases[c]);
        cbe_safetensors *golden = open_file(line);
        /* modes and optimal, objectives; layers; both formats of the lens */
        for (size_t run = 0; run < 28; run++) {
            const bool optimal = run % 7 == 6;
            const char *mode = optimal ? "optimal" : modes[run % 7 % 3],
                       *objective = objectives[optimal ? 0 : run % 7 / 3];
            const size_t layer = run / 7 % 2;
            char from[40];
            snprintf(from, sizeof from, "layers.%zu.v", layer);
            const char *const direction[][2] = {{from, "v"}};
            write_tensors(temp_path(state, "v"), golden, golden, direction, 1);
            char lens[100];
            if (run < 14)
                snprintf(lens, sizeof lens, "%%G/lens/extract-%s", cases[c]);
            else
                snprintf(lens, sizeof lens, "%%G/extract/%s-tuned/lens", cases[c]);
            snprintf(line, sizeof line,
                     "probe --hidden-states %%G/extract/%s-tuned/hidden.safetensors --decoder "
                     "%%G/extract/%s-tuned/decoder.safetensors "
                     "--lens tuned=%s --vectors-file %%F/v --ablation %s --objective %s -l %zu -o "
                     "%%F/out",
                     cases[c], cases[c], lens, mode, objective, layer);
            program_done(line);
            cbe_safetensors *got = open_file("%F/out");
            snprintf(line, sizeof line, "layers.%zu.%s.%s", layer, mode, objective);
            compare(got, golden, layer, line, "energy", 1e-6, 1e-5, 0);
            compare(got, golden, layer, line, "grad", 0, 0, 1e-4);
            compare(got, golden, layer, line, "energy_per_token", 5e-5, 1e-5, 0);
            cbe_safetensors_close(got);
        }
        cbe_safetensors_close(golden);
    }
}

/* Inputs of the role lens: config.json, then the parameters, each with its SHA-256. */
static void assert_lens_recorded(const char *params)
{
    json_t *record = json_load_file(program_expand("%F/result/basis.json"), 0, NULL), *input;
    size_t i, n = 0;
    assert_non_null(record);
    json_array_foreach(json_object_get(record, "inputs"), i, input)
    {
        if (strcmp(json_string_value(json_object_get(input, "role")), "lens") != 0) continue;
        char path[700];
        assert_true(n < 2);
        snprintf(path, sizeof path, "%s/%s", program_expand("%F/lens"),
                 n == 0 ? "config.json" : params);
        assert_string_equal(json_string_value(json_object_get(input, "path")), path);
        assert_string_equal(json_string_value(json_object_get(input, "sha256")), file_sha256(path));
        n++;
    }
    assert_int_equal(n, 2);
    assert_non_null(strstr(
        json_string_value(json_object_get(json_object_get(record, "options"), "lens")), "tuned="));
    json_decref(record);
}

/* Bases are the same whichever format the lens is in, and its files are recorded; site post ends
 * with the plain decoder. */
static void extract__through_a_lens_in_both_formats(void **state)
{
    char *first = NULL;
    size_t n_first = 0;
    for (int format = 0; format < 2; format++) {
        size_t n;
        char line[600];
        program_done(format ? "lens convert %G/lens/extract-rmsnorm -o %F/lens --format safetensors"
                            : "lens convert %G/lens/extract-rmsnorm -o %F/lens --format pt");
        snprintf(line, sizeof line,
                 "extract --hidden-states %%G/extract/rmsnorm-tuned/hidden.safetensors --decoder "
                 "%%G/extract/rmsnorm-tuned/decoder.safetensors --lens tuned=%%F/lens -k 2 "
                 "--starts 4 -o %%F/result");
        program_done(line);
        assert_lens_recorded(format ? "params.safetensors" : "params.pt");
        char *basis = temp_read(program_expand("%F/result/basis.safetensors"), &n);
        if (first) {
            assert_int_equal(n, n_first);
            assert_memory_equal(basis, first, n);
        }
        remove(program_expand(format ? "%F/lens/params.safetensors" : "%F/lens/params.pt"));
        free(first);
        first = basis;
        n_first = n;
    }
    free(first);
    write_inputs(state, "gpt2");
    program_done("decoder %G/models/gpt2 -o %F/decoder");
    program_done("probe --hidden-states %F/hidden --decoder %F/decoder --lens tuned=%G/lens/gpt2 "
                 "--site post "
                 "--vectors-file %F/v -o %F/tuned");
    program_done("probe --hidden-states %F/hidden --decoder %F/decoder --site post --vectors-file "
                 "%F/v -o %F/logit");
    cbe_safetensors *tuned = open_file("%F/tuned"), *logit = open_file("%F/logit");
    double a, b;
    cbe_tensor t;
    for (size_t layer = 0; layer < 3; layer++) {
        char name[40];
        snprintf(name, sizeof name, "layers.%zu.energy", layer);
        cbe_assert_ok(cbe_safetensors_get(tuned, name, &t, &err), &err);
        memcpy(&a, t.data, sizeof a);
        cbe_assert_ok(cbe_safetensors_get(logit, name, &t, &err), &err);
        memcpy(&b, t.data, sizeof b);
        assert_int_equal(fabs(a - b) < 1e-9, layer == 2);
    }
    cbe_safetensors_close(tuned);
    cbe_safetensors_close(logit);
}

static void convert__goes_both_ways_and_info_tells_of_both(void **state)
{
    (void)state;
    size_t n, m;
    program_done("lens convert %G/lens/gpt2 -o %F/safetensors");
    assert_string_equal(
        program_expand("3 layers of hidden size 48 in %F/safetensors/params.safetensors\n"),
        program_out);
    program_done("info %F/safetensors");
    assert_string_equal(
        program_out,
        "tuned lens, in params.safetensors\nlayers: 3\nhidden size: 48\nbias: yes\n"
        "base_model_name_or_path: models/gpt2\n"
        "unembed_hash: 1f25d6a4f63c0cc8111338692a9ab99bfb7f2004531678c3d5604bede593d960\n"
        "lens_type: linear_tuned_lens\n");
    program_done("lens convert %F/safetensors -o %F/pt");
    program_done("info %F/pt");
    assert_non_null(strstr(program_out, "tuned lens, in params.pt\n"));
    program_done("lens convert --format safetensors -o %F/again %F/pt");
    char *a = temp_read(program_expand("%F/safetensors/params.safetensors"), &n),
         *b = temp_read(program_expand("%F/again/params.safetensors"), &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
    json_t *first = json_load_file(program_expand("%G/lens/gpt2/config.json"), 0, NULL);
    json_t *last = json_load_file(program_expand("%F/again/config.json"), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(last, "written_by")), "cbe " CBE_VERSION);
    json_object_del(last, "written_by");
    assert_true(json_equal(first, last));
    json_decref(first);
    json_decref(last);
}

static void another_unembedding__is_a_warning(void **state)
{
    program_done("lens convert %G/lens/llama -o %F/other");
    const char *path = program_expand("%F/other/config.json");
    json_t *config = json_load_file(path, 0, NULL);
    json_object_set_new(config, "unembed_hash", json_string("00"));
    json_dump_file(config, path, 0);
    json_decref(config);
    write_inputs(state, "llama");
    program_done("probe %G/models/llama --tokens %F/tokens --lens tuned=%F/other --vectors-file "
                 "%F/v --quiet -o %F/out");
    assert_non_null(
        strstr(program_err, "its unembed_hash is not that of this model's unembedding"));
}

/* The line that is run, and a word of its one line of error. */
static void bad_lenses__are_answered_by_one_line(void **state)
{
    static const struct {
        const char *line, *wanted;
    } cases[] = {
        {"extract %G/models/llama --tokens %F/tokens --lens tuned -o %F/x",
         "--lens tuned: give logit, tuned=FOLDER"},
        {"extract %G/models/llama --tokens %F/tokens --lens tuned= -o %F/x",
         "--lens tuned=: give logit, tuned=FOLDER"},
        {"extract %G/models/llama --tokens %F/tokens --lens logits -o %F/x",
         "--lens logits: give logit"},
        {"extract %G/models/llama --tokens %F/tokens --lens tuned=%F/none -o %F/x",
         "none: cannot be opened"},
        {"extract %G/models/llama --tokens %F/tokens --lens tuned=%G/models/llama -o %F/x",
         "neither params.pt nor params.safetensors"},
        {"extract %G/models/llama --tokens %F/tokens --lens tuned=%G/lens/gpt2 -o %F/x",
         "3 layers of hidden size 48, but %G/models/llama has 3 layers of hidden size 64"},
        {"probe %G/models/llama --tokens %F/tokens --lens tuned=%G/lens/gpt2 --vectors-file %F/v "
         "-o %F/y",
         "made for another model"},
        {"extract --hidden-states %F/hidden --decoder %F/decoder --lens tuned=%G/lens/gpt2 -o %F/x",
         "but %F/hidden has hidden size 64"},
        {"extract --hidden-states %F/hidden --decoder %F/decoder --lens tuned=%F/short -o %F/x",
         "the lens is one for 1 layers, but %F/hidden holds hidden_states.3"},
        {"extract --hidden-states %F/hidden --decoder %F/decoder --lens tuned=%G/lens/llama -l 3 "
         "-o %F/x",
         "no layer 3; layers 0 to 2"},
        {"lens convert", "LENS is missing"},
        {"lens convert %G/lens/gpt2", "-o FOLDER is missing"},
        {"lens convert %G/lens/gpt2 -o %F/x --format onnx", "other, pt or safetensors"},
        {"lens convert %G/lens/gpt2/params.pt -o %F/x", "a lens is a folder"},
        {"lens convert %G/lens/gpt2 -o %F/tokens", "tokens: is not a folder"},
        {"lens convert %F/short -o %F/short", "holds params.safetensors already"},
        {"lens convert %F/evil -o %F/x", "refused: the pickle names 'os.system'"},
        {"info %F/evil", "refused: the pickle names 'os.system'"},
        {"extract %G/models/llama --tokens %F/tokens --lens tuned=%F/evil -o %F/x",
         "refused: the pickle names 'os.system'"},
    };
    write_inputs(state, "llama");
    program_done("decoder %G/models/llama -o %F/decoder");
    mkdir(program_expand("%F/evil"), 0777);
    mkdir(program_expand("%F/short"), 0777);
    size_t n;
    unsigned char *data = cbe_read_file(program_expand("%G/torch/bad/os_system.pt"), &n);
    cbe_write_file(program_expand("%F/evil/params.pt"), data, n);
    free(data);
    static const char config[] = "{\"d_model\": 64, \"num_hidden_layers\": 1, \"bias\": false}";
    temp_write(program_expand("%F/evil/config.json"), config, strlen(config));
    temp_write(program_expand("%F/short/config.json"), config, strlen(config));
    const cbe_tensor_spec spec = {"0.weight", CBE_F32, 2, {64, 64}};
    static const float zeros[64 * 64];
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&writer,
                                                program_expand("%F/short/params.safetensors"), 1,
                                                &spec, 0, NULL, &err),
                  &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 64 * 64, zeros, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int status = program_run(cases[i].line);
        const char *end = strchr(program_err, '\n');
        if (status != 2 || *program_out || !strstr(program_err, program_expand(cases[i].wanted)) ||
            !end || end[1])
            fail_msg("%s: status %d, output '%s', errors '%s'", cases[i].line, status, program_out,
                     program_err);
    }
    assert_int_equal(temp_count(state, "cbe-was-executed"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe__meets_pytorch_through_the_lenses_of_both_models),
        cmocka_unit_test(probe__meets_pytorch_in_the_tuned_extractions),
        cmocka_unit_test(extract__through_a_lens_in_both_formats),
        cmocka_unit_test(convert__goes_both_ways_and_info_tells_of_both),
        cmocka_unit_test(another_unembedding__is_a_warning),
        cmocka_unit_test(bad_lenses__are_answered_by_one_line),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
