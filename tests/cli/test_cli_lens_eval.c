/* cbe lens eval as a user runs it: its table, its files, and what it says of bad input. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "lens/tuned_lens.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

static cbe_error err;

static const char text[] =
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must "
    "be in want of a wife. However little known the feelings or views of such a man may be.";

static int set_up(void **state)
{
    if (program_set_up(state) != 0) return -1;
    cbe_safetensors *golden = NULL;
    cbe_assert_ok(
        cbe_safetensors_open(&golden, program_expand("%G/models/llama/golden.safetensors"), &err),
        &err);
    size_t shape[2];
    int64_t *ids = cbe_golden_ids(golden, "input_ids", &shape[0], &shape[1]);
    const cbe_tensor_spec spec = {"input_ids", CBE_I64, 2, {shape[0], shape[1]}};
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(
        cbe_safetensors_writer_create(&writer, temp_path(state, "ids"), 1, &spec, 0, NULL, &err),
        &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, shape[0] * shape[1], ids, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    free(ids);
    cbe_safetensors_close(golden);

    temp_write(temp_path(state, "text"), text, strlen(text));
    temp_write(temp_path(state, "empty"), "", 0);
    temp_write(temp_path(state, "short"), "a", 1);
    cbe_tuned_lens *lens = NULL;
    cbe_assert_ok(cbe_tuned_lens_create(&lens, 2, 64, true, &err), &err); /* llama has 3 layers */
    cbe_assert_ok(
        cbe_tuned_lens_save(lens, NULL, temp_path(state, "two"), CBE_LENS_SAFETENSORS, &err), &err);
    cbe_tuned_lens_free(lens);
    /* zeros: the logit lens */
    cbe_assert_ok(cbe_tuned_lens_create(&lens, 3, 64, true, &err), &err);
    cbe_assert_ok(
        cbe_tuned_lens_save(lens, NULL, temp_path(state, "zeros"), CBE_LENS_SAFETENSORS, &err),
        &err);
    cbe_tuned_lens_free(lens);
    return 0;
}

/* The numbers of the table's row of a layer below a heading. */
static size_t table_row(const char *heading, size_t layer, double *out)
{
    char start[16];
    snprintf(start, sizeof start, "\n%5zu ", layer);
    char *at = strstr(program_out, heading);
    assert_non_null(at);
    at = strstr(at, start);
    assert_non_null(at);
    at += strlen(start);
    size_t n = 0;
    for (char *end = strchr(at, '\n'); at < end && n < 16;) {
        while (*at == ' ') at++;
        if (*at == '-' && at[1] != '.' && (at[1] == ' ' || at[1] == '\n')) {
            out[n++] = NAN;
            at++;
        } else {
            out[n++] = strtod(at, &at);
        }
    }
    return n;
}

static void table__has_the_golden_cross_entropies(void **state)
{
    (void)state;
    cbe_safetensors *golden = NULL;
    cbe_assert_ok(
        cbe_safetensors_open(&golden, program_expand("%G/lens/llama/golden.safetensors"), &err),
        &err);
    program_done("lens eval %G/models/llama --tokens %F/ids --lens %G/lens/llama -l 0,2");
    static const char *const headings[] = {"logit lens", "golden/lens/llama"}, *const kinds[] = {
                                                                                   "logit",
                                                                                   "tuned"};
    for (size_t kind = 0; kind < 2; kind++)
        for (size_t layer = 0; layer <= 2; layer += 2) {
            char name[32];
            double row[16], want;
            cbe_tensor ce;
            snprintf(name, sizeof name, "%s.%zu.ce", kinds[kind], layer);
            cbe_assert_ok(cbe_safetensors_get(golden, name, &ce, &err), &err);
            memcpy(&want, ce.data, sizeof want);
            assert_int_equal(table_row(headings[kind], layer, row), 10);
            cbe_assert_close(row, &want, 1, 6e-5, 0, "%s", name); /* four decimals are printed */
            assert_true(isnan(row[2])); /* no tokenizer: no bits per byte */
        }
    assert_null(strstr(program_out, "\n    1 "));
    assert_non_null(strstr(program_err, "bits per byte are not known"));
    cbe_safetensors_close(golden);
}

static void table__gives_bits_per_byte_of_a_text(void **state)
{
    (void)state;
    double row[16], got[2], want[2];
    size_t bytes = 0, tokens = 0;
    program_done("lens eval %G/gguf/tiny-llama/llama-f32.gguf --text %F/text --context-length 20 "
                 "--skip-positions 3 -q");
    assert_string_equal(program_err, "");
    const char *end = strstr(program_out, "sequences of 20, ");
    assert_non_null(end);
    assert_int_equal(
        sscanf(end, "sequences of 20, %zu tokens measured, %zu bytes", &tokens, &bytes), 2);
    assert_int_equal(tokens % 17, 0);
    assert_true(bytes > 0 && bytes < sizeof text);
    assert_int_equal(table_row("logit lens", 1, row), 10);
    const double bits = (double)(tokens / 17 * 16) / (double)bytes / log(2);
    got[0] = row[2];
    got[1] = row[5];
    want[0] = bits * row[0];
    want[1] = bits * row[3];
    cbe_assert_close(got, want, 2, 1.5e-4, 0, "bits per byte");
}

static void zeros__are_the_logit_lens(void **state)
{
    (void)state;
    program_done("lens eval %G/models/llama --tokens %F/ids --lens %F/zeros --quiet");
    for (size_t layer = 0; layer < 3; layer++) {
        double logit[16], zeros[16];
        assert_int_equal(table_row("logit lens", layer, logit), 10);
        assert_int_equal(table_row("/zeros", layer, zeros), 10);
        for (int i = 0; i < 10; i++) assert_true(i == 2 || i == 5 || logit[i] == zeros[i]);
    }
}

static void files__are_written_and_several_lenses_are_named(void **state)
{
    size_t size;
    program_done("lens eval %G/models/llama --tokens %F/ids --lens %F/zeros %G/lens/llama "
                 "--layer-transfer -o %F/out");
    static const char *const names[] = {"out/eval.json",    "out/eval.csv",
                                        "out/eval.svg",     "out/transfer.csv",
                                        "out/transfer.svg", "out/transfer-2.svg"};
    for (size_t i = 0; i < 6; i++) assert_int_equal(access(temp_path(state, names[i]), R_OK), 0);
    char *csv = temp_read(temp_path(state, "out/transfer.csv"), &size);
    size_t lines = 0;
    for (const char *at = csv; *at; at++) lines += *at == '\n';
    assert_int_equal(lines, 1 + 2 * 9);
    free(csv);
    /* other results of the same folder stay */
    program_done("lens eval %G/models/llama --tokens %F/ids -l 1 -o %F/out");
    csv = temp_read(temp_path(state, "out/eval.csv"), &size);
    assert_non_null(strstr(csv, "\n\"logit lens\",1,"));
    assert_null(strstr(csv, "\n\"logit lens\",0,"));
    free(csv);
}

static void bad_input__is_one_line_that_says_what(void **state)
{
    (void)state;
    static const struct {
        const char *line, *wanted;
    } cases[] = {
        {"lens eval", "MODEL is missing"},
        {"lens eval %G/models/llama", "a text is missing"},
        {"lens eval %G/models/llama --tokens %F/ids --text %F/text", "exclude each other"},
        {"lens eval %G/models/llama --tokens %F/ids --layer-transfer",
         "--layer-transfer needs a tuned lens"},
        {"lens eval %G/models/llama --tokens %F/ids --layers 3", "no layer 3; layers 0 to 2"},
        {"lens eval %G/models/llama --tokens %F/ids --skip-positions 16",
         "no token with a next one"},
        {"lens eval %G/models/llama --tokens %F/ids --skip-positions 99999999999",
         "no token with a next one"},
        {"lens eval %G/models/llama --tokens %F/ids --lens %G/lens/gpt2", "hidden size 48"},
        {"lens eval %G/models/llama --tokens %F/ids --lens %F/two", "2 layers"},
        {"lens eval %G/models/llama --tokens %F/ids --lens %F/absent", "absent"},
        {"lens eval %G/models/llama --tokens %F/ids --lens", "--lens needs a value"},
        {"lens eval %G/models/llama --tokens %F/ids -o %F/text", "not a folder"},
        {"lens eval %G/models/llama --tokens %F/text", "text"},
        {"lens eval %F/absent.gguf --text %F/text", "absent.gguf"},
        {"lens eval %G/gguf/tiny-llama/llama-f32.gguf --text %F/empty", "no token"},
        {"lens eval %G/gguf/tiny-llama/llama-f32.gguf --text %F/text --max-tokens 1",
         "no token with a next one"},
        {"lens eval %G/models/llama --tokens %F/ids --objective kl",
         "--objective is not an option"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int status = program_run(cases[i].line);
        if (status != 2 || !strstr(program_err, cases[i].wanted))
            fail_msg("%s: status %d, '%s' lacks '%s'", cases[i].line, status, program_err,
                     cases[i].wanted);
        assert_string_equal(program_out, "");
        const char *last = strrchr(program_err, '\n');
        assert_true(last && last[1] == 0);
        assert_ptr_equal(strchr(program_err, '\n'), last);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table__has_the_golden_cross_entropies),
        cmocka_unit_test(table__gives_bits_per_byte_of_a_text),
        cmocka_unit_test(zeros__are_the_logit_lens),
        cmocka_unit_test(files__are_written_and_several_lenses_are_named),
        cmocka_unit_test(bad_input__is_one_line_that_says_what),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
