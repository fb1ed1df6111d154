/* Options of the command line: every kind, every way to write them, and what is refused. */
#include "cli/arguments.h"
#include "core/fail.h"

#include <stdio.h>
#include <string.h>

#include "run/inputs.h"
#include "core/memory.h"
#include "support/assert_close.h"

typedef struct {
    const char *first, *second, *name;
    bool loud;
    size_t count;
    double number;
    uint64_t seed;
    int colour;
    cbe_file_names files;
    cbe_ranges layers;
    cbe_skip skip;
} fields;

static const char *const colours[] = {"red", "green", "blue", NULL};

#define AT(field) offsetof(fields, field)
static const cbe_option options[] = {
    {"loud", 'L', OPT_FLAG, AT(loud), NULL, NULL, "a flag", NULL, 0},
    {"count", 'k', OPT_COUNT, AT(count), "4", "K", "a count", NULL, CBE_RANGE(2, 1000)},
    {"number", 0, OPT_NUMBER, AT(number), "0.5", "X", "a number", NULL, CBE_RANGE(-10, 10)},
    {"seed", 0, OPT_SEED, AT(seed), "0", "N", "a seed", NULL, 0},
    {"name", 'n', OPT_STRING, AT(name), NULL, "NAME", "a string", NULL, 0},
    {"colour", 0, OPT_CHOICE, AT(colour), "green", "COLOUR", "a choice", colours, 0},
    {"text", 0, OPT_FILES, AT(files), NULL, "FILE...", "files", NULL, 0},
    {"layers", 'l', OPT_LAYERS, AT(layers), "all", "LIST", "layers", NULL, 0},
    {"skip", 0, OPT_SKIP, AT(skip), "auto", "P|auto", "positions", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
static const cli_command command = {"try", "FIRST [SECOND]",       "a command", NULL, options,
                                    2,     {AT(first), AT(second)}};

static cbe_error err;
static char words[1024], *arguments[32];

static cbe_status parse(const char *line, fields *f, bool *help)
{
    int argc = 0;
    memset(f, 0, sizeof *f);
    memset(&err, 0, sizeof err);
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) arguments[argc++] = word;
    return cli_parse(&command, argc, arguments, f, help, &err);
}

static fields parsed(const char *line)
{
    fields f;
    bool help;
    cbe_assert_ok(parse(line, &f, &help), &err);
    assert_false(help);
    return f;
}

static void parse__of_nothing_gives_the_defaults(void **state)
{
    (void)state;
    fields f = parsed("");
    assert_true(!f.first && !f.second && !f.name && !f.loud);
    assert_int_equal(f.count, 4);
    assert_true(f.number == 0.5);
    assert_int_equal(f.seed, 0);
    assert_int_equal(f.colour, 1);
    assert_int_equal(f.files.n, 0);
    assert_true(f.layers.all && f.skip.automatic);
    cli_free(&command, &f);
}

static void parse__reads_every_kind(void **state)
{
    (void)state;
    fields f = parsed("one --loud -k 7 --number -2.5e-3 --seed 18446744073709551615 -n x --colour "
                      "blue two --skip 3");
    assert_string_equal(f.first, "one");
    assert_string_equal(f.second, "two");
    assert_string_equal(f.name, "x");
    assert_true(f.loud);
    assert_int_equal(f.count, 7);
    assert_true(f.number == -2.5e-3);
    assert_true(f.seed == UINT64_MAX);
    assert_int_equal(f.colour, 2);
    assert_true(!f.skip.automatic && f.skip.positions == 3);
    cli_free(&command, &f);
    f = parsed("--skip 3 --skip auto"); /* the last one, and not what was there before */
    assert_true(f.skip.automatic && f.skip.positions == 0);
    cli_free(&command, &f);
}

static void parse__takes_values_in_each_way_of_writing(void **state)
{
    (void)state;
    static const char *const lines[] = {"-k 9", "-k9", "--count 9", "--count=9", "-k 3 --count 9"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        fields f = parsed(lines[i]);
        if (f.count != 9) fail_msg("%s: %zu", lines[i], f.count);
        cli_free(&command, &f);
    }
    fields f = parsed("--name=a=b -- --loud -k");
    assert_string_equal(f.name, "a=b");
    assert_string_equal(f.first, "--loud");
    assert_string_equal(f.second, "-k");
    cli_free(&command, &f);
    /* a value may look like an option; a dash alone is an argument */
    f = parsed("--name --loud -");
    assert_string_equal(f.name, "--loud");
    assert_string_equal(f.first, "-");
    cli_free(&command, &f);
}

static void parse__gathers_files_up_to_the_next_option(void **state)
{
    (void)state;
    static const char *const want[] = {"a", "b", "c", "-5"};
    fields f = parsed("model --text a b --loud --text c -5 -- second");
    assert_int_equal(f.files.n, 4);
    for (size_t i = 0; i < 4; i++) assert_string_equal(f.files.paths[i], want[i]);
    assert_string_equal(f.first, "model");
    assert_string_equal(f.second, "second");
    cli_free(&command, &f);
}

static void parse__reads_lists_of_layers(void **state)
{
    (void)state;
    static const struct {
        const char *line, *value;
        size_t n, layers[6];
    } cases[] = {
        {"--layers all", "all", 6, {0, 1, 2, 3, 4, 5}},
        {"--layers 3", "3", 1, {3}},
        {"-l 0-2,4", "0-2,4", 4, {0, 1, 2, 4}},
        {"-l 4,1-1,0-1", "4,1,0-1", 3, {0, 1, 4}}, /* rising, once each */
        {"-l 5 --layers 2", "2", 1, {2}},
        {"-l 5 --layers all", "all", 6, {0, 1, 2, 3, 4, 5}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fields f = parsed(cases[i].line);
        size_t *layers = NULL, n = 0;
        char value[64];
        cbe_assert_ok(cbe_choose_layers(&f.layers, 6, &layers, &n, &err), &err);
        assert_int_equal(n, cases[i].n);
        assert_memory_equal(layers, cases[i].layers, n * sizeof *layers);
        assert_true(cbe_option_text(&options[7], &f, value, sizeof value));
        assert_string_equal(value, cases[i].value);
        cbe_free(layers);
        cli_free(&command, &f);
    }
}

static void choose_layers__names_the_layer_that_is_not_there(void **state)
{
    (void)state;
    fields f = parsed("-l 1,4-6");
    size_t *layers = NULL, n = 0;
    assert_int_equal(cbe_choose_layers(&f.layers, 6, &layers, &n, &err), CBE_ERR_ARG);
    assert_string_equal(cbe_error_typed(&err),
                        "--layers: there is no layer 6; layers 0 to 5 can be given");
    assert_null(layers);
    cli_free(&command, &f);
}

static void parse__refuses_with_the_option_and_what_may_be_given(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"--frob", "--frob is not an option of cbe try"},
        {"--", NULL},
        {"-x", "-x is not an option"},
        {"--=3", "is not an option"},
        {"--coun 3", "--coun is not an option"},
        {"--loud=1", "--loud takes no value"},
        {"-Lx", "--loud takes no value"},
        {"--count", "--count needs a value: K"},
        {"--count 1", "--count 1: a whole number of 2 or more expected"},
        {"--count -3", "whole number"},
        {"--count 3.5", "whole number"},
        {"--count 3x", "whole number"},
        {"--count=", "whole number"},
        {"--count 18446744073709551615", "whole number"},
        {"--count 99999999999999999999999", "whole number"},
        {"--number ten", "--number ten: a number expected"},
        {"--number nan", "a number expected"},
        {"--number inf", "a number expected"},
        {"--number 1e999", "a number expected"},
        {"--seed -1", "whole number"},
        {"--colour pink", "--colour pink: red, green or blue expected"},
        {"--colour gree", "red, green or blue"},
        {"--text", "--text needs a value: FILE..."},
        {"--text --loud", "--text needs a value"},
        {"--skip -1", "a number of positions or auto"},
        {"--skip many", "a number of positions or auto"},
        {"--layers 3-1", "--layers 3-1: layers such as 0-29,31 or all expected"},
        {"--layers=", "layers such as"},
        {"--layers 1,,2", "layers such as"},
        {"--layers 1,", "layers such as"},
        {"--layers -2", "layers such as"},
        {"--layers 1-", "layers such as"},
        {"--layers 1-2-3", "layers such as"},
        {"--layers 0-99999999999999999999", "layers such as"},
        {"--layers 0-100000", "layers such as"},
        {"--layers every", "layers such as"},
        {"a b c", "'c' is one argument too many"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fields f;
        bool help;
        const cbe_status st = parse(bad[i][0], &f, &help);
        if (!bad[i][1] ? st != CBE_OK
                       : st != CBE_ERR_ARG || !strstr(cbe_error_typed(&err), bad[i][1]))
            fail_msg("%s: %s \"%s\"", bad[i][0], cbe_status_name(st), cbe_error_typed(&err));
        cli_free(&command, &f);
    }
}

static void parse__finds_help_among_anything(void **state)
{
    (void)state;
    static const char *const lines[] = {"--help", "-h", "a b c d --frob --help", "--count x -h"};
    fields f;
    bool help;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        cbe_assert_ok(parse(lines[i], &f, &help), &err);
        assert_true(help);
        cli_free(&command, &f);
    }
    cbe_assert_ok(parse("-- --help", &f, &help), &err);
    assert_false(help);
    cli_free(&command, &f);
}

static void value__is_what_would_be_typed(void **state)
{
    (void)state;
    fields f = parsed("-L -k 12 --number 0.1 --seed 7 --colour red --skip 2 --text a");
    static const char *const want[] = {"true", "12", "0.10000000000000001", "7", NULL, "red", NULL,
                                       "all",  "2"};
    for (size_t i = 0; options[i].name; i++) {
        char value[64] = "";
        assert_int_equal(cbe_option_text(&options[i], &f, value, sizeof value), want[i] != NULL);
        if (want[i]) assert_string_equal(value, want[i]);
    }
    cli_free(&command, &f);
}

static void value__of_many_layers_is_cut_to_its_space(void **state)
{
    (void)state;
    fields f = parsed("-l 10,20,30,40,50");
    char value[10];
    memset(value, 'x', sizeof value);
    assert_true(cbe_option_text(&options[7], &f, value, 8));
    assert_string_equal(value, "10,20,3");
    assert_int_equal(value[8], 'x');
    cli_free(&command, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse__of_nothing_gives_the_defaults),
        cmocka_unit_test(parse__reads_every_kind),
        cmocka_unit_test(parse__takes_values_in_each_way_of_writing),
        cmocka_unit_test(parse__gathers_files_up_to_the_next_option),
        cmocka_unit_test(parse__reads_lists_of_layers),
        cmocka_unit_test(choose_layers__names_the_layer_that_is_not_there),
        cmocka_unit_test(parse__refuses_with_the_option_and_what_may_be_given),
        cmocka_unit_test(parse__finds_help_among_anything),
        cmocka_unit_test(value__is_what_would_be_typed),
        cmocka_unit_test(value__of_many_layers_is_cut_to_its_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
