/* Numbers that are not finite: models that overflow, weights that hold NaN, directions that are too
 * long. What each command says, and that no file holds any of them unasked. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/program.h"
#include "support/temp_folder.h"

#define MODEL "%G/models/llama"
#define IDS   " --tokens %G/models/llama/golden.safetensors"

static cbe_error err;

/* A copy of the model in which every number of a tensor is another. */
static void make_model(void **state, const char *name, const char *source, const char *tensor,
                       float value)
{
    char path[600], key[200];
    size_t size;
    mkdir(temp_path(state, name), 0700);
    snprintf(path, sizeof path, "%s/config.json", source);
    char *data = temp_read(program_expand(path), &size);
    snprintf(path, sizeof path, "%s/config.json", name);
    temp_write(temp_path(state, path), data, size);
    free(data);
    snprintf(path, sizeof path, "%s/model.safetensors", source);
    data = temp_read(program_expand(path), &size);
    uint64_t header = 0;
    memcpy(&header, data, sizeof header);
    snprintf(key, sizeof key, "\"%s\":{", tensor);
    const char *at = strstr(data + 8, key);
    assert_non_null(at);
    assert_non_null(strstr(at, "\"F32\""));
    at = strstr(at, "\"data_offsets\":[") + strlen("\"data_offsets\":[");
    char *comma;
    const size_t from = strtoull(at, &comma, 10), to = strtoull(comma + 1, NULL, 10);
    for (size_t i = from; i < to; i += sizeof value)
        memcpy(data + 8 + header + i, &value, sizeof value);
    snprintf(path, sizeof path, "%s/model.safetensors", name);
    temp_write(temp_path(state, path), data, size);
    free(data);
}

static int set_up(void **state)
{
    if (program_set_up(state) != 0) return -1;
    make_model(state, "middle", MODEL, "model.layers.1.mlp.down_proj.weight", 3e38f);
    make_model(state, "attention", MODEL, "model.layers.0.self_attn.q_proj.weight", 3e38f);
    make_model(state, "logits", MODEL, "lm_head.weight", 3e38f);
    make_model(state, "nan", MODEL, "model.layers.1.mlp.down_proj.weight", NAN);
    make_model(state, "infinite", MODEL, "lm_head.weight", INFINITY);
    make_model(state, "projected", "%G/models/opt-post-norm", "model.decoder.project_out.weight",
               3e38f);
    int64_t ids[8][4];
    for (size_t i = 0; i < 32; i++) ids[i / 4][i % 4] = (int64_t)(7 * i % 100);
    const cbe_tensor_spec id_spec = {"input_ids", CBE_I64, 2, {8, 4}};
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(
        cbe_safetensors_writer_create(&writer, temp_path(state, "ids"), 1, &id_spec, 0, NULL, &err),
        &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 32, ids, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    double v[4][24] = {{0}};
    for (size_t i = 0; i < 24; i++) v[0][i] = 1e30, v[1][i] = i == 3, v[2][i] = i == 0 ? 1e200 : 0;
    const cbe_tensor_spec spec = {"v", CBE_F64, 2, {4, 24}};
    cbe_assert_ok(
        cbe_safetensors_writer_create(&writer, temp_path(state, "v"), 1, &spec, 0, NULL, &err),
        &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 4 * 24, v, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    return 0;
}

static void models__that_overflow_are_told_and_nothing_is_written(void **state)
{
    static const struct {
        const char *line, *says; /* the message, or its beginning */
    } cases[] = {
        {"capture %F/middle" IDS " -q -o %F/out",
         "hidden_states.2: sequence 0, position 0 holds infinity: the model's numbers overflow "
         "float32 with these weights; nothing is written\n"},
        {"capture %F/middle" IDS " -q -l 3 --memory 1M -o %F/out",
         "--memory is not an option of cbe capture"},
        {"capture %F/middle" IDS " -q -l 3 -o %F/out",
         "hidden_states.3: sequence 0, position 0 holds NaN: the model's numbers overflow"},
        {"capture %F/middle" IDS " -q --logits -l 0 -o %F/out",
         "logits: sequence 0, position 0 holds NaN: the model's numbers overflow"},
        {"capture %F/attention" IDS " -q -l 1 -o %F/out", "hidden_states.1: sequence 0, position "},
        {"capture %F/logits" IDS " -q --logits -o %F/out",
         "logits: sequence 0, position 0 holds infinity: the model's numbers overflow float32 with "
         "these weights; nothing is written\n"},
        {"capture %F/nan" IDS " -q -o %F/out",
         "%F/nan/model.safetensors: tensor 'model.layers.1.mlp.down_proj.weight': element 0 is "},
        {"decoder %F/infinite -o %F/out", "%F/infinite/model.safetensors: tensor 'lm_head.weight': "
                                          "element 0 is inf; a model needs finite"},
        {"decoder %F/projected -o %F/out",
         "%F/projected: tensor 'model.decoder.project_out.weight': its product with the embedding "
         "of token "},
        {"capture %F/projected" IDS " -q -o %F/out",
         "%F/projected: tensor 'model.decoder.project_out.weight': its product with"},
        {"extract %F/middle" IDS " -q -l 2 -k 1 -o %F/made",
         "hidden_states.2: sequence 0, position 0 holds "},
        {"extract %F/logits" IDS " -q -l 2 -k 1 -o %F/made",
         "token 0 has logits that are not finite"},
        {"extract %F/logits" IDS " -q -l 2 -k 1 --lens model -o %F/made",
         "the model's logits of token 0 are not finite"},
        {"lens fit %F/middle" IDS " -q -o %F/made", "hidden_states.3 holds NaN or infinity"},
        {"lens train %F/middle --tokens %F/ids -q --step-tokens 2 -o %F/made",
         "hidden_states.3 holds NaN or infinity"},
        {"lens eval %F/middle" IDS " -q -o %F/made",
         "the model, layer 3: logits of sequence 0, position 0 are not finite"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[700];
        snprintf(want, sizeof want, "cbe: %s", program_expand(cases[i].says));
        const int status = program_run(cases[i].line);
        const char *end = strchr(program_err, '\n');
        if (status != 2 || strncmp(program_err, want, strlen(want)) != 0 || !end || end[1])
            fail_msg("cbe %s: status %d: %s", cases[i].line, status, program_err);
        if (access(temp_path(state, "out"), F_OK) == 0)
            fail_msg("cbe %s left a file", cases[i].line);
        mkdir(temp_path(state, "made"), 0700);
        if (rmdir(temp_path(state, "made")) != 0) fail_msg("cbe %s left files", cases[i].line);
    }
}

/* Layers before the one that overflows are right, and written. */
static void layers__that_are_finite_are_captured(void **state)
{
    (void)state;
    program_done("capture %F/middle" IDS " -q -l 0,1 -o %F/two");
    program_done("capture " MODEL IDS " -q -l 0,1 -o %F/whole");
    size_t n, m;
    char *two = temp_read(program_expand("%F/two"), &n),
         *whole = temp_read(program_expand("%F/whole"), &m);
    assert_int_equal(n, m);
    assert_memory_equal(two, whole, n);
    free(two);
    free(whole);
    program_done("capture %F/logits" IDS " -q -o %F/states"); /* without its logits */
}

/* What was there stays. */
static void output__of_before_stays(void **state)
{
    size_t size;
    temp_write(temp_path(state, "kept"), "before", 6);
    assert_int_equal(program_run("capture %F/middle" IDS " -q -o %F/kept"), 2);
    char *kept = temp_read(temp_path(state, "kept"), &size);
    assert_int_equal(size, 6);
    assert_memory_equal(kept, "before", 6);
    free(kept);
}

/* Energies of directions that are too long are told as such; the other energies are as ever. */
static void energies__that_overflow_are_told(void **state)
{
    program_done("probe --hidden-states %H --decoder %E --vectors-file %F/v -q -l 0 -o %F/probed");
    assert_string_equal(program_err, "cbe: warning: 2 of 4 energies are not finite, and NaN in the "
                                     "file: these directions are so long that what is left of "
                                     "the hidden states overflows float32; give shorter ones\n");
    const char *row = strstr(program_out, "\n        1 ");
    assert_non_null(row);
    assert_null(strstr(row, "nan"));
    cbe_safetensors *file = NULL;
    cbe_tensor t;
    cbe_assert_ok(cbe_safetensors_open(&file, temp_path(state, "probed"), &err), &err);
    cbe_assert_ok(cbe_safetensors_get(file, "layers.0.energy", &t, &err), &err);
    double energy[4];
    memcpy(energy, t.data, sizeof energy);
    assert_true(isnan(energy[0]) && isnan(energy[2]));
    assert_true(isfinite(energy[1]) && energy[1] > 0 && fabs(energy[3]) < 1e-6);
    cbe_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models__that_overflow_are_told_and_nothing_is_written),
        cmocka_unit_test(layers__that_are_finite_are_captured),
        cmocka_unit_test(output__of_before_stays),
        cmocka_unit_test(energies__that_overflow_are_told),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
