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

/* Those that run a model on a text. */
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
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static const char *result_of(const char *command)
{
    return strncmp(command, "extract", 7) == 0 ? "%F/out/basis.safetensors"
                                               : "%F/out/params.safetensors";
}

/* A text that is a pipe is read once: for the search and for the lens that is fitted before it. */
static void commands__read_a_text_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const char *file = result_of(commands[i]);
        char line[500], want[65];
        temp_clear(program_expand("%F/out"));
        snprintf(line, sizeof line, "%s --text %%F/text", commands[i]);
        program_done(line);
        snprintf(want, sizeof want, "%s", file_sha256(program_expand(file)));
        for (size_t w = 1; w < N_WAYS; w += 7) {
            temp_clear(program_expand("%F/out"));
            if (run_way(ways[w], commands[i], "%F/text") != 0)
                fail_msg("%s, %s: %s", commands[i], ways[w], program_err);
            if (strstr(program_err_but_verdicts(), "warning"))
                fail_msg("%s, %s: %s", commands[i], ways[w], program_err);
            assert_string_equal(file_sha256(program_expand(file)), want);
        }
    }
}

/* The same results as without the documents that are empty or null, and one warning that counts
 * them. */
static void commands__leave_out_documents_without_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        char line[500], want[65];
        temp_clear(program_expand("%F/out"));
        snprintf(line, sizeof line, "%s --text %%F/full.jsonl", commands[i]);
        program_done(line);
        assert_null(strstr(program_err_but_verdicts(), "warning"));
        snprintf(want, sizeof want, "%s", file_sha256(program_expand(result_of(commands[i]))));
        temp_clear(program_expand("%F/out"));
        snprintf(line, sizeof line, "%s --text %%F/gaps.json %%F/nothing", commands[i]);
        program_done(line);
        /* With fewer tokens than there are the text is not read to its end. */
        const int n_left_out = strstr(commands[i], "lens train") ? 2 : 5;
        snprintf(line, sizeof line,
                 "cbe: warning: %d documents of the text are empty or null, and were left out\n",
                 n_left_out);
        assert_string_equal(program_err_but_verdicts(), line);
        assert_string_equal(file_sha256(program_expand(result_of(commands[i]))), want);
    }
}

/* An empty document has a line of ids without any; null is no document. */
static void tokenize__counts_lines_with_null(void **state)
{
    (void)state;
    program_done("tokenize " GGUF " --text %F/nulls.jsonl");
    assert_string_equal(program_err, "cbe: warning: 1 parts of the text are not UTF-8 and were "
                                     "replaced by U+FFFD\ncbe: warning: 2 lines have null in the "
                                     "place of a text and were left out\n");
    size_t n_lines = 0;
    for (const char *c = program_out; *c; c++) n_lines += *c == '\n';
    assert_int_equal(n_lines, 2);
    assert_int_equal(program_out[0], '\n');
}

/* The ids of a text in a file of raw ones are cut and used like the text. */
static void commands__take_raw_ids(void **state)
{
    (void)state;
    uint16_t ids[PROGRAM_TEXT];
    size_t n = 0;
    program_done("tokenize " GGUF " --text %F/text");
    for (char *at = program_out, *end = at; *at && *at != '\n'; at = end)
        ids[n++] = (uint16_t)strtoul(at, &end, 10);
    assert_true(n > 600);
    temp_write(program_expand("%F/train.bin"), ids, n * sizeof *ids);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        char line[500], want[65];
        temp_clear(program_expand("%F/out"));
        snprintf(line, sizeof line, "%s --text %%F/text", commands[i]);
        program_done(line);
        snprintf(want, sizeof want, "%s", file_sha256(program_expand(result_of(commands[i]))));
        temp_clear(program_expand("%F/out"));
        snprintf(line, sizeof line, "%s --tokens %%F/train.bin", commands[i]);
        program_done(line);
        assert_string_equal(program_err_but_verdicts(), "");
        assert_string_equal(file_sha256(program_expand(result_of(commands[i]))), want);
    }
    temp_clear(program_expand("%F/out"));
    program_done("extract " GGUF " --tokens %F/train.bin -t 1 -k 1 -l 0 --starts 1 --max-iter 2 "
                 "--context-length 32 --max-tokens 64 -o %F/out");
    char note[100];
    snprintf(note, sizeof note, "token ids: %zu of uint16, %zu of them not used\n", n, n - 64);
    assert_non_null(strstr(program_err, note));
    assert_non_null(strstr(program_err, "tokens: 2 sequences of 32\n"));
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
        "cbe: standard input: no documents but empty ones, so no tokens; give a file that holds "
        "text\n");
}

static int set_up(void **state)
{
    enum { PART = 3000 };
    size_t size;
    if (program_set_up(state) != 0) return -1;
    char *text = temp_read(program_expand("%D/../data/sample.txt"), &size);
    assert_true(size > PART);
    temp_write(program_expand("%F/text"), text, PART);
    /* Documents as lines of JSON, with others that hold no text among them, and without. */
    static char full[2 * PART], gaps[2 * PART];
    size_t n_full = 0, n_gaps = 0;
    for (size_t at = 0, n = 0; at + 200 <= PART; at += 200, n++) {
        char line[500], *to = line + sprintf(line, "{\"text\": \"");
        for (size_t i = at; i < at + 200; i++)
            *to++ = text[i] >= ' ' && text[i] != '"' && text[i] != '\\' ? text[i] : ' ';
        to += sprintf(to, "\"}\n");
        n_full += (size_t)sprintf(full + n_full, "%s", line);
        n_gaps += (size_t)sprintf(gaps + n_gaps, "%s%s", line,
                                  n % 5 == 0    ? "{\"text\": \"\"}\n"
                                  : n % 14 == 1 ? "{\"text\": null}\n"
                                                : "");
    }
    free(text);
    temp_write(program_expand("%F/full.jsonl"), full, n_full);
    temp_write(program_expand("%F/gaps.json"), gaps, n_gaps);
    temp_write(program_expand("%F/nothing"), "", 0);
    static const char nulls[] = "{\"text\": null}\n{\"text\": \"\"}\n{\"text\": \"a\xff\"}\n"
                                "{\"text\": null}\n";
    temp_write(program_expand("%F/nulls.jsonl"), nulls, sizeof nulls - 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenize__has_the_same_tokens_whatever_the_text_is),
        cmocka_unit_test(commands__read_a_text_once),
        cmocka_unit_test(commands__leave_out_documents_without_text),
        cmocka_unit_test(tokenize__counts_lines_with_null),
        cmocka_unit_test(commands__take_raw_ids),
        cmocka_unit_test(standard_input__can_be_given_once),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
