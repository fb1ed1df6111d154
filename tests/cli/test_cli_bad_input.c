/* Bad usage and bad input: exit status 2, and one line that says what, where, and what to do. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/decoder.h"
#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

static cbe_error err;

/* The line that is run, and a word of the message. Files in %F are made by set_up. */
static const struct {
    const char *line, *wanted;
} cases[] = {
    /* usage */
    {"", "command is missing"},
    {"extrct", "'extrct' is not a command"},
    {"--frobnicate", "not a command"},
    {"extract --lens", "--lens needs a value"},
    {"extract --frobnicate", "--frobnicate is not an option of cbe extract"},
    {"extract -o %F/x", "MODEL is missing"},
    {"extract %G/models/llama -o %F/x", "text is missing"},
    {"extract %G/models/llama --tokens %F/ids", "-o is missing"},
    {"extract %G/models/llama extra --tokens %F/ids -o %F/x", "'extra' is one argument too many"},
    {"extract %G/models/llama --tokens %F/ids --text %F/text -o %F/x", "--text and --tokens"},
    {"extract %G/models/llama --tokens %F/ids --decoder %E -o %F/x",
     "--decoder goes with --hidden-states"},
    {"extract %G/models/llama --hidden-states %H --decoder %E -o %F/x", "takes the place of MODEL"},
    {"extract --hidden-states %H -o %F/x", "--hidden-states needs --decoder"},
    {"extract --hidden-states %H --decoder %E", "-o is missing"},
    {"extract --hidden-states %H --decoder %E --lens model -o %F/x",
     "give MODEL instead of --hidden-states"},
    {"probe --hidden-states %H --decoder %E --lens model --vectors-file %F/good-v -o %F/x",
     "give MODEL instead"},
    {"extract %G/models/llama --tokens %F/ids --lens other -o %F/x", "--lens other"},
    {"extract %G/models/llama --tokens %F/ids --precision bf16 -o %F/x",
     "--precision bf16 is for --lens model"},
    {"extract %G/models/llama --tokens %F/ids --lens model --precision half -o %F/x",
     "float32, bf16x3 or bf16"},
    {"extract --hidden-states %H --decoder %E --ablation median -o %F/x",
     "mean, resample, zero or optimal"},
    {"extract --hidden-states %H --decoder %E --starts 0 -o %F/x", "--starts 0"},
    {"extract --hidden-states %H --decoder %E --memory 0 -o %F/x", "--memory 0"},
    {"extract --hidden-states %H --decoder %E --memory 12Q -o %F/x", "--memory 12Q"},
    {"extract --hidden-states %H --decoder %E --memory 1000 -o %F/x", "--memory"},
    {"extract %G/models/llama --tokens %F/ids --memory 1000 -o %F/x", "memory"},
    {"extract --hidden-states %H --decoder %E --held-out 1 -o %F/x", "give 0 or more, less than 1"},
    {"extract --hidden-states %H --decoder %E --held-out -0.5 -o %F/x",
     "give 0 or more, less than 1"},
    {"extract --hidden-states %H --decoder %E --held-out 0.99 -o %F/x", "leaves none to search"},
    {"capture %G/models/llama --tokens %F/ids", "-o FILE is missing"},
    {"capture -o %F/x", "MODEL is missing"},
    {"decoder %G/models/llama", "-o FILE is missing"},
    {"tokenize %G/gguf/tiny-llama/llama-f32.gguf", "usage: cbe tokenize"},
    {"tokenize %G/gguf/tiny-llama/llama-f32.gguf --decode 99999", "99999"},
    {"tokenize %G/gguf/tiny-llama/llama-f32.gguf --decode x", "ids separated by spaces"},
    {"info", "usage: cbe info"},
    {"probe --hidden-states %H --decoder %E -o %F/x", "--vectors-file FILE is missing"},
    /* sizes and ranges */
    {"extract --hidden-states %H --decoder %E -k 25 -o %F/x", "at most 24 vectors"},
    {"extract %G/models/llama --tokens %F/ids -k 65 -o %F/x", "at most 64 vectors"},
    {"extract --hidden-states %H --decoder %E --layers 9 -o %F/x", "no layer 9"},
    {"extract %G/models/llama --tokens %F/ids --layers 0-3 -o %F/x", "no layer 3; layers 0 to 2"},
    {"capture %G/models/llama --tokens %F/ids --layers 4 -o %F/x", "no layer 4; layers 0 to 3"},
    {"extract --hidden-states %H --decoder %E --layers 3-1 -o %F/x", "--layers 3-1"},
    {"extract --hidden-states %F/gap --decoder %E --layers 1 -o %F/x", "hidden_states.1"},
    {"extract --hidden-states %F/nan --decoder %E --site post -o %F/x", "site post"},
    {"extract --hidden-states %H --decoder %E --skip-positions 24 -o %F/x", "no token is left"},
    {"extract --hidden-states %H --decoder %E --skip-positions 99999999999 -o %F/x",
     "no token is left"},
    {"extract --hidden-states %F/one --decoder %E -o %F/x",
     "mean ablation needs at least 2 tokens"},
    {"extract --hidden-states %F/one --decoder %E --ablation resample -o %F/x",
     "resample ablation needs at least 2"},
    {"extract --hidden-states %H --decoder %E --skip-positions 23 --objective ce -o %F/x",
     "no token has a next token"},
    {"extract --hidden-states %F/gap --decoder %E --objective ce -o %F/x", "no input_ids"},
    {"extract --hidden-states %F/labels --decoder %E --objective ce -o %F/x",
     "not below the vocabulary size"},
    {"extract --hidden-states %F/fixed --decoder %E --ablation resample -o %F/x", "derangement"},
    {"extract %G/gguf/tiny-llama/llama-f32.gguf --text %F/text --max-tokens 1 --quiet -o %F/x",
     "at least 2 tokens"},
    {"extract %G/gguf/tiny-llama/llama-f32.gguf --text %F/empty -o %F/x", "no tokens"},
    {"extract %G/models/llama --tokens %G/smollm2/golden.safetensors -o %F/x",
     "vocabulary has 139 tokens"},
    /* files that are not what they should be */
    {"extract %F/none.gguf --text %F/text -o %F/x", "none.gguf"},
    {"extract %F/empty.gguf --text %F/text -o %F/x", "empty.gguf"},
    {"extract %F/truncated.gguf --text %F/text -o %F/x", "truncated"},
    {"extract %F/folder --text %F/text -o %F/x", "config.json"},
    {"extract %F/mamba --tokens %F/ids -o %F/x", "mamba"},
    {"extract %F/mamba.gguf --text %F/text -o %F/x", "xlama"},
    {"extract %F/m-00001-of-00002.gguf --text %F/text -o %F/x",
     "m-00002-of-00002.gguf: part 2 of 2"},
    {"extract %G/gguf/q4_k.gguf --text %F/text -o %F/x", "q4_k.gguf"},
    {"extract %G/gguf/tiny-llama/llama-f32.gguf --text %F/none -o %F/x", "none"},
    {"extract %G/gguf/tiny-llama/llama-f32.gguf --text %F/empty %F/empty -o %F/x",
     "empty: no documents but empty ones, nor in the other texts, so no tokens"},
    {"extract %G/gguf/tiny-llama/llama-f32.gguf --text %F/bad.jsonl -o %F/x",
     "bad.jsonl: line 2: not JSON"},
    {"capture %G/gguf/tiny-llama/llama-f32.gguf --text %F/bad.gz -o %F/x",
     "bad.gz: damaged gzip data"},
    {"capture %G/gguf/tiny-llama/llama-f32.gguf --text %F/text --documents words -o %F/x",
     "--documents"},
    {"tokenize %G/models/llama hello", "tokenizer.json"},
    {"capture %F/other-tokenizer --text %F/text -o %F/x",
     "the tokenizer has 320 tokens, but the model's embedding only 139"},
    {"extract %G/models/llama --tokens %F/none -o %F/x", "none"},
    {"extract %G/models/llama --tokens %H.none -o %F/x", "No such file"},
    {"extract %G/models/llama --tokens %G/npy/states.npz -o %F/x",
     "attention_mask leaves tokens out"},
    {"extract %G/models/llama --tokens %G/npy/fortran.npy -o %F/x", "ascontiguousarray"},
    {"extract --hidden-states %G/npy/hidden_states.2.npy --decoder %E -o %F/x", "decoder takes 24"},
    {"extract --hidden-states %G/npy/states.npz --decoder %E --layers 1 -o %F/x",
     "no tensor hidden_states.1"},
    {"extract %G/models/llama --tokens %E -o %F/x", "input_ids"},
    {"extract --hidden-states %F/none --decoder %E -o %F/x", "none"},
    {"extract --hidden-states %F/empty --decoder %E -o %F/x", "empty"},
    {"extract --hidden-states %F/short --decoder %E -o %F/x", "short"},
    {"extract --hidden-states %E --decoder %E -o %F/x", "hidden_states.<layer>"},
    {"extract --hidden-states %H --decoder %H -o %F/x", "metadata 'norm' is missing"},
    {"extract --hidden-states %F/nan --decoder %E -o %F/x", "hidden_states.0"},
    {"extract --hidden-states %F/infinite --decoder %E -o %F/x", "hidden_states.0"},
    {"extract --hidden-states %H --decoder %F/nan-decoder -o %F/x", "unembedding.weight"},
    {"extract --hidden-states %F/narrow --decoder %E -o %F/x", "different models"},
    {"probe --hidden-states %H --decoder %E --vectors-file %H -o %F/x", "'v'"},
    {"probe --hidden-states %H --decoder %E --vectors-file %F/narrow-v -o %F/x", "have 23 numbers"},
    {"probe --hidden-states %H --decoder %E --vectors-file %F/nan-v -o %F/x",
     "direction 0 of tensor 'v'"},
    {"probe %G/models/llama --tokens %F/ids --vectors-file %F/none -o %F/x", "none"},
    {"info %F/none", "none"},
    {"info %F/text", "text"},
    {"decoder %G/gguf/f32.gguf -o %F/x", "f32.gguf"},
    /* output that cannot be written: below a file */
    {"extract --hidden-states %H --decoder %E -o %F/text", "not a folder"},
    {"extract --hidden-states %H --decoder %E -o %F/text/x", "cannot be made"},
    {"extract --hidden-states %H --decoder %E -o %F/no/such", "cannot be made"},
    {"capture %G/models/llama --tokens %F/ids --quiet -o %F/text/x", "cannot be written"},
    {"decoder %G/models/llama -o %F/text/x", "cannot be written"},
    {"probe --hidden-states %H --decoder %E --vectors-file %F/good-v -o %F/text/x",
     "cannot be written"},
};

static void bad_input__is_exit_status_2_and_one_line(void **state)
{
    size_t failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int status = program_run(cases[i].line);
        const char *end = strchr(program_err, '\n');
        if (status != 2 || strncmp(program_err, "cbe: ", 5) != 0 || !end || end[1] ||
            !strstr(program_err, cases[i].wanted) || program_out[0]) {
            print_error("cbe %s: exit status %d, expected \"%s\" in one line: %s%s", cases[i].line,
                        status, cases[i].wanted, program_err, program_out);
            failed++;
        }
        rmdir(temp_path(state, "x")); /* an empty folder may be there, results must not */
        if (access(temp_path(state, "x"), F_OK) == 0) fail_msg("cbe %s left a file", cases[i].line);
    }
    assert_int_equal(failed, 0);
}

static void put(void **state, const char *name, const cbe_tensor_spec *specs, size_t n,
                const void *const *data)
{
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(
        cbe_safetensors_writer_create(&writer, temp_path(state, name), n, specs, 0, NULL, &err),
        &err);
    for (size_t i = 0; i < n; i++) {
        size_t count = 1;
        for (size_t k = 0; k < specs[i].n_dims; k++) count *= specs[i].dims[k];
        cbe_assert_ok(cbe_safetensors_writer_put(writer, i, 0, count, data[i], &err), &err);
    }
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

/* One float tensor of rows x columns, its last number but two replaced. */
static void put_floats(void **state, const char *file, const char *name, size_t rows,
                       size_t columns, float odd)
{
    float x[512];
    const size_t n = rows * columns;
    for (size_t i = 0; i < n; i++) x[i] = (float)(i % 7);
    x[n - 3] = odd;
    const void *data = x;
    put(state, file, &(cbe_tensor_spec){name, CBE_F32, 2, {rows, columns}}, 1, &data);
}

/* Hidden states with an int64 tensor beside them. */
static void put_with_ids(void **state, const char *file, const char *name, const int64_t *ids)
{
    static float x[8 * 24];
    for (size_t i = 0; i < 8 * 24; i++) x[i] = (float)(i % 5);
    const cbe_tensor_spec specs[] = {{"hidden_states.0", CBE_F32, 2, {8, 24}},
                                     {name, CBE_I64, 1, {8}}};
    put(state, file, specs, 2, (const void *const[]){x, ids});
}

static void put_texts(void **state)
{
    static const char lines[] = "{\"text\": \"a\"}\n{\"text\": \n",
                      gzip[] = "\x1f\x8b\b\0\0\0\0\0\0\3KL";
    temp_write(temp_path(state, "bad.jsonl"), lines, sizeof lines - 1);
    temp_write(temp_path(state, "bad.gz"), gzip, sizeof gzip - 1);
}

static void put_models(void **state)
{
    size_t size;
    char *path = cbe_golden_path("gguf/tiny-llama/llama-f32.gguf");
    unsigned char *model = cbe_read_file(path, &size);
    temp_write(temp_path(state, "truncated.gguf"), model, size / 2);
    /* The value of general.architecture, behind its type and length: "llama" to "xlama". */
    for (size_t i = 0; i + 40 < size; i++)
        if (memcmp(model + i, "general.architecture", 20) == 0) {
            assert_memory_equal(model + i + 32, "llama", 5);
            model[i + 32] = 'x';
            break;
        }
    temp_write(temp_path(state, "mamba.gguf"), model, size);
    static const char part[] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
                               "\13\0\0\0\0\0\0\0split.count\4\0\0\0\2\0\0"; /* u32 2 */
    temp_write(temp_path(state, "m-00001-of-00002.gguf"), part, sizeof part);
    free(model);
    free(path);
    assert_int_equal(mkdir(temp_path(state, "folder"), 0700), 0);
    assert_int_equal(mkdir(temp_path(state, "mamba"), 0700), 0);
    static const char config[] =
        "{\"model_type\": \"mamba\", \"architectures\": [\"MambaForCausalLM\"]}";
    temp_write(temp_path(state, "mamba/config.json"), config, sizeof config - 1);
    path = cbe_golden_path("models/llama/model.safetensors");
    cbe_copy_safetensors(path, temp_path(state, "mamba/model.safetensors"), &(cbe_copy_edit){0});
    free(path);
    static const char *const files[][2] = {
        {"models/llama/config.json", "other-tokenizer/config.json"},
        {"models/llama/model.safetensors", "other-tokenizer/model.safetensors"},
        {"gguf/tiny-llama/tokenizer.json", "other-tokenizer/tokenizer.json"}};
    assert_int_equal(mkdir(temp_path(state, "other-tokenizer"), 0700), 0);
    for (size_t i = 0; i < 3; i++) {
        path = cbe_golden_path("%s", files[i][0]);
        unsigned char *data = cbe_read_file(path, &size);
        temp_write(temp_path(state, files[i][1]), data, size);
        free(data);
        free(path);
    }
}

static int set_up(void **state)
{
    if (program_set_up(state) != 0) return -1;
    const int64_t ids[8] = {3, 1, 4, 1, 5, 9, 2, 6}, far[8] = {0, 0, 0, 80, 0, 0, 0, 0},
                  fixed[8] = {1, 0, 2, 4, 5, 6, 7, 3};
    const void *data = ids;
    put(state, "ids", &(cbe_tensor_spec){"input_ids", CBE_I64, 2, {2, 4}}, 1, &data);
    temp_write(temp_path(state, "text"), "some plain text, a sentence or two", 34);
    temp_write(temp_path(state, "empty"), "", 0);
    temp_write(temp_path(state, "empty.gguf"), "", 0);
    put_floats(state, "one", "hidden_states.0", 1, 24, 1);
    put_floats(state, "gap", "hidden_states.2", 8, 24, 1);
    put_floats(state, "nan", "hidden_states.0", 8, 24, NAN);
    put_floats(state, "infinite", "hidden_states.0", 8, 24, INFINITY);
    put_floats(state, "narrow", "hidden_states.0", 8, 23, 1);
    put_floats(state, "short", "hidden_states.0", 8, 24, 1);
    assert_int_equal(truncate(temp_path(state, "short"), 300), 0);
    put_floats(state, "good-v", "v", 1, 24, 1);
    put_floats(state, "nan-v", "v", 1, 24, NAN);
    put_floats(state, "narrow-v", "v", 2, 23, 1);
    put_with_ids(state, "labels", "input_ids", far);
    put_with_ids(state, "fixed", "derangement", fixed);
    cbe_decoder *decoder = NULL;
    cbe_assert_ok(cbe_decoder_read(&decoder, program_expand("%E"), NULL, &err), &err);
    decoder->unembedding[7] = NAN;
    cbe_assert_ok(cbe_decoder_save(decoder, temp_path(state, "nan-decoder"), &err), &err);
    cbe_decoder_free(decoder);
    put_models(state);
    put_texts(state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_input__is_exit_status_2_and_one_line),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
