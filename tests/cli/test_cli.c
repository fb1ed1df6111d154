/* The program as a user meets it: --help, --version, tokenize, capture, decoder and info. Others:
 * test_cli_*.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

static cbe_error err;

#define INPUT_OPTIONS                                                                              \
    "text", "tokens", "hidden-states", "decoder", "output", "lens", "layers", "ablation",          \
        "objective", "site", "context-length", "max-tokens", "skip-positions", "seed", "threads",  \
        "metric", "quiet", "verbose"

static const struct {
    const char *name, *options[32];
} commands[] = {
    {"extract", {INPUT_OPTIONS, "vectors", "preset", "starts", "max-iter", "min-energy", "within"}},
    {"probe", {INPUT_OPTIONS, "vectors-file", "strength"}},
    {"capture",
     {"text", "tokens", "output", "layers", "logits", "context-length", "max-tokens", "threads"}},
    {"decoder", {"output"}},
    {"tokenize", {"text", "special", "decode"}},
    {"info", {"tensors"}},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void help__names_every_command_and_option(void **state)
{
    (void)state;
    static const char *const ways[] = {"--help", "-h", "help"};
    for (size_t w = 0; w < 3; w++) {
        program_done(ways[w]);
        for (size_t i = 0; i < N_COMMANDS; i++)
            assert_non_null(strstr(program_out, commands[i].name));
        assert_string_equal(program_err, "");
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        char line[80];
        snprintf(line, sizeof line, "%s --help", commands[i].name);
        program_done(line);
        assert_string_equal(program_err, "");
        assert_non_null(strstr(program_out, "Usage: cbe"));
        for (const char *const *o = commands[i].options; *o; o++) {
            snprintf(line, sizeof line, "--%s ", *o);
            if (!strstr(program_out, line))
                fail_msg("cbe %s --help does not mention %s", commands[i].name, line);
        }
    }
}

static void help__shows_the_defaults(void **state)
{
    (void)state;
    program_done("extract --help");
    static const char *const defaults[] = {"[logit]",  "[all]", "[mean]", "[kl]",
                                           "else pre", "[256]", "[4]",    "[default]"};
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        assert_non_null(strstr(program_out, defaults[i]));
}

static void version__is_the_build_s(void **state)
{
    (void)state;
    program_done("--version");
    assert_string_equal(program_out, "cbe " CBE_VERSION "\n");
}

static void tokenize__goes_there_and_back(void **state)
{
    (void)state;
    temp_write(temp_path(state, "two"), "ab\n", 3);
    temp_write(temp_path(state, "ids"), "72 69 76 76 79\n", 15);
    program_done("tokenize %G/gguf/tiny-llama/llama-f32.gguf hello");
    assert_string_equal(program_out, "72 69 76 76 79\n");
    program_done("tokenize %G/gguf/tiny-llama/llama-f32.gguf --decode --text %F/ids");
    assert_string_equal(program_out, "hello\n");
    program_done("tokenize %G/gguf/tiny-llama/llama-f32.gguf --text %F/two %F/two");
    char *line = strchr(program_out, '\n');
    assert_non_null(line);
    assert_int_equal(strlen(program_out), 2 * (size_t)(line + 1 - program_out));
    temp_write(temp_path(state, "odd"), "a\xff\xfe z", 5);
    program_done("tokenize %G/gguf/tiny-llama/llama-f32.gguf --text %F/odd");
    assert_non_null(strstr(program_err, "cbe: warning: 2 parts of the text are not UTF-8"));
}

static void capture__writes_layers_ids_and_logits(void **state)
{
    (void)state;
    program_done("capture %G/models/llama --tokens %G/models/llama/golden.safetensors --layers 0,3 "
                 "--logits -o %F/h");
    cbe_safetensors *got = NULL, *want = NULL;
    cbe_assert_ok(cbe_safetensors_open(&got, program_expand("%F/h"), &err), &err);
    cbe_assert_ok(
        cbe_safetensors_open(&want, program_expand("%G/models/llama/golden.safetensors"), &err),
        &err);
    static const struct {
        const char *name;
        double tolerance;
    } tensors[] = {{"hidden_states.0", 1e-6}, {"hidden_states.3", 5e-5}, {"logits", 2e-4}};
    assert_int_equal(cbe_safetensors_count(got), 5); /* with input_ids and derangement */
    for (size_t i = 0; i < 3; i++) {
        size_t n, m;
        float *a = cbe_golden_floats(got, tensors[i].name, &n),
              *b = cbe_golden_floats(want, tensors[i].name, &m);
        assert_int_equal(n, m);
        cbe_assert_close_f32(a, b, n, tensors[i].tolerance, 0, "%s", tensors[i].name);
        free(a);
        free(b);
    }
    cbe_safetensors_close(got);
    cbe_safetensors_close(want);
}

/* models/llama-bytes and gguf/tiny-llama are one model. */
static void capture__of_a_folder_and_of_its_gguf_begins_with_the_same_tokens(void **state)
{
    static const char *const files[][2] = {
        {"models/llama-bytes/config.json", "bytes/config.json"},
        {"models/llama-bytes/model.safetensors", "bytes/model.safetensors"},
        {"gguf/tiny-llama/tokenizer.json", "bytes/tokenizer.json"}};
    static const char ends[] = "{\"eos_token\": \"<|endoftext|>\"}";
    static const char lines[] =
        "{\"body\": \"first text\"}\n{\"body\": \"another <|endoftext|>\"}\n";
    assert_int_equal(mkdir(temp_path(state, "bytes"), 0700), 0);
    for (size_t i = 0; i < 3; i++) {
        size_t size;
        char *from = cbe_golden_path("%s", files[i][0]);
        unsigned char *data = cbe_read_file(from, &size);
        temp_write(temp_path(state, files[i][1]), data, size);
        free(data);
        free(from);
    }
    temp_write(temp_path(state, "bytes/tokenizer_config.json"), ends, sizeof ends - 1);
    temp_write(temp_path(state, "t.jsonl"), lines, sizeof lines - 1);
    program_done(
        "capture %F/bytes --text %F/t.jsonl --text-field body --context-length 5 -o %F/h1");
    assert_non_null(strstr(program_err, "text: 2 documents, "));
    program_done("capture %G/gguf/tiny-llama/llama-f32.gguf --text %F/t.jsonl --documents jsonl "
                 "--text-field body "
                 "--context-length 5 -o %F/h2");
    cbe_safetensors *one = NULL, *other = NULL;
    cbe_assert_ok(cbe_safetensors_open(&one, program_expand("%F/h1"), &err), &err);
    cbe_assert_ok(cbe_safetensors_open(&other, program_expand("%F/h2"), &err), &err);
    for (size_t i = 0; i < cbe_safetensors_count(one); i++) {
        cbe_tensor a, b;
        const char *name = cbe_safetensors_name(one, i);
        cbe_assert_ok(cbe_safetensors_get(one, name, &a, &err), &err);
        cbe_assert_ok(cbe_safetensors_get(other, name, &b, &err), &err);
        assert_int_equal(a.n_bytes, b.n_bytes);
        assert_memory_equal(a.data, b.data, a.n_bytes);
    }
    cbe_safetensors_close(one);
    cbe_safetensors_close(other);
}

static void decoder__is_what_the_model_has(void **state)
{
    (void)state;
    program_done("decoder %G/models/llama -o %F/d");
    assert_non_null(strstr(program_out, "rmsnorm, hidden size 64, vocabulary 139"));
    cbe_safetensors *got = NULL;
    cbe_assert_ok(cbe_safetensors_open(&got, program_expand("%F/d"), &err), &err);
    assert_string_equal(cbe_safetensors_metadata(got, "norm"), "rmsnorm");
    assert_true(cbe_safetensors_has(got, "norm.weight") &&
                cbe_safetensors_has(got, "unembedding.weight"));
    cbe_safetensors_close(got);
}

static void info__tells_what_each_kind_of_file_holds(void **state)
{
    (void)state;
    static const char *const lines[][2] = {
        {"info %H", "hidden_states.1"},
        {"info %E", "norm: rmsnorm"},
        {"info %G/npy/compressed.npz", "F16   [3, 4, 5]"},
        {"info %G/npy/compressed.npz", "cannot be read"},
        {"info %G/npy/ids.npy", "I32   [3, 4]"},
        {"info %G/models/llama", "hidden size: 64"},
        {"info %G/gguf/tiny-llama/llama-f32.gguf", "general.architecture: llama"},
        {"info %G/gguf/tiny-llama/llama-q5_0.gguf --tensors", "q5_0"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        program_done(lines[i][0]);
        if (!strstr(program_out, lines[i][1])) fail_msg("cbe %s: %s", lines[i][0], program_out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help__names_every_command_and_option),
        cmocka_unit_test(help__shows_the_defaults),
        cmocka_unit_test(version__is_the_build_s),
        cmocka_unit_test(tokenize__goes_there_and_back),
        cmocka_unit_test(capture__writes_layers_ids_and_logits),
        cmocka_unit_test(capture__of_a_folder_and_of_its_gguf_begins_with_the_same_tokens),
        cmocka_unit_test(decoder__is_what_the_model_has),
        cmocka_unit_test(info__tells_what_each_kind_of_file_holds),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
