/* Texts that a shell hands over: standard input, pipes, named pipes, descriptors, files without a
 * size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/assert_close.h"
#include "support/inputs.h"
#include "support/program.h"
#include "support/temp_folder.h"

#define GGUF "%G/gguf/tiny-llama/llama-f32.gguf"

/* Lines of a shell, which run COMMAND on the text in $3; $2 is a name that is free. */
static const char *const ways[] = {
    "COMMAND --text - <\"$3\"",
    "cat \"$3\" | COMMAND --text -",
    "cat \"$3\" | COMMAND --text=-",
    "COMMAND --text /dev/stdin <\"$3\"",
    "cat \"$3\" | COMMAND --text /dev/stdin",
    "COMMAND --text /dev/fd/5 5<\"$3\"",
    "cat \"$3\" | COMMAND --text /proc/self/fd/5 5<&0",
    "{ head -c 1 \"$3\"; sleep 0.5; tail -c +2 \"$3\"; } | COMMAND --text -",
    "mkfifo \"$2\" && { cat \"$3\" >\"$2\" & COMMAND --text \"$2\"; }",
    "mkfifo \"$2\" && { (sleep 0.5; cat \"$3\" >\"$2\") & COMMAND --text \"$2\"; }",
    "{ echo dropped; cat \"$3\"; } >\"$2\" && { read dropped; COMMAND --text -; } <\"$2\"",
};
enum { N_WAYS = sizeof ways / sizeof *ways };

/* Runs a way's line with a command. */
static int run_way(const char *way, const char *command, const char *text)
{
    char script[2000], line[1000];
    const char *place = strstr(way, "COMMAND");
    snprintf(script, sizeof script, "%.*s\"$1\" %s%s\n", (int)(place - way), way,
             program_expand(command), place + strlen("COMMAND"));
    temp_write(program_expand("%F/way.sh"), script, strlen(script));
    unlink(program_expand("%F/free"));
    snprintf(line, sizeof line, "%%F/way.sh %%P %%F/free %s", text);
    return program_run_under("sh", line);
}

static void tokenize__has_the_same_tokens_whatever_the_text_is(void **state)
{
    (void)state;
    static char want[PROGRAM_TEXT];
    program_done("tokenize " GGUF " --text %F/text");
    strcpy(want, program_out);
    assert_true(strlen(want) > 2000);
    for (size_t i = 0; i < N_WAYS; i++) {
        if (run_way(ways[i], "tokenize " GGUF, "%F/text") != 0)
            fail_msg("%s: %s", ways[i], program_err);
        if (strcmp(program_out, want) != 0) fail_msg("%s: other tokens", ways[i]);
    }
    /* And back. */
    temp_write(program_expand("%F/ids"), want, strlen(want));
    program_done("tokenize " GGUF " --decode --text %F/ids");
    strcpy(want, program_out);
    for (size_t i = 0; i < N_WAYS; i++) {
        if (run_way(ways[i], "tokenize " GGUF " --decode", "%F/ids") != 0)
            fail_msg("%s: %s", ways[i], program_err);
        if (strcmp(program_out, want) != 0) fail_msg("%s: another text", ways[i]);
    }
}

/* A text that is a pipe is read once: for the search and for the lens that is fitted before it. */
static void commands__read_a_text_once(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "extract " GGUF " -q -t 1 -k 1 -l 0 --starts 1 --max-iter 2 --context-length 32 -o %F/out",
        "extract " GGUF " -q -t 1 -k 1 -l 0 --starts 1 --max-iter 2 --context-length 32 "
        "--max-tokens 64 --lens affine -o %F/out",
        "extract " GGUF " -q -t 1 -k 1 -l 0 --starts 1 --max-iter 2 --context-length 32 --lens "
        "affine --lens-tokens 512 -o %F/out",
        "lens fit " GGUF " -q -t 1 --context-length 32 -o %F/out --format safetensors",
        "lens train " GGUF " -q -t 1 --context-length 32 --max-tokens 512 --step-tokens 16 -o "
        "%F/out --format safetensors",
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *file = strncmp(commands[i], "extract", 7) == 0 ? "%F/out/basis.safetensors"
                                                                   : "%F/out/params.safetensors";
        char line[500], want[65];
        temp_clear(program_expand("%F/out"));
        snprintf(line, sizeof line, "%s --text %%F/text", commands[i]);
        program_done(line);
        snprintf(want, sizeof want, "%s", file_sha256(program_expand(file)));
        for (size_t w = 1; w < N_WAYS; w += 7) {
            temp_clear(program_expand("%F/out"));
            if (run_way(ways[w], commands[i], "%F/text") != 0)
                fail_msg("%s, %s: %s", commands[i], ways[w], program_err);
            if (strstr(program_err, "warning"))
                fail_msg("%s, %s: %s", commands[i], ways[w], program_err);
            assert_string_equal(file_sha256(program_expand(file)), want);
        }
    }
}

static void standard_input__can_be_given_once(void **state)
{
    (void)state;
    assert_int_equal(run_way(ways[0], "capture " GGUF " -o %F/h.safetensors --text -", "%F/text"),
                     2);
    assert_string_equal(program_err,
                        "cbe: --text - is given 2 times, but standard input can be read once\n");
    assert_int_equal(run_way(ways[0], "tokenize " GGUF " --text -", "%F/text"), 2);
    assert_string_equal(program_err,
                        "cbe: --text - is given 2 times, but standard input can be read once\n");
    assert_int_equal(run_way(ways[0], "capture " GGUF " -o %F/h.safetensors", "/dev/null"), 2);
    assert_string_equal(
        program_err,
        "cbe: standard input: the document is empty, no tokens are in it; leave it out\n");
}

static int set_up(void **state)
{
    enum { PART = 3000 };
    size_t size;
    if (program_set_up(state) != 0) return -1;
    char *text = temp_read(program_expand("%D/../data/sample.txt"), &size);
    assert_true(size > PART);
    temp_write(program_expand("%F/text"), text, PART);
    free(text);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenize__has_the_same_tokens_whatever_the_text_is),
        cmocka_unit_test(commands__read_a_text_once),
        cmocka_unit_test(standard_input__can_be_given_once),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
