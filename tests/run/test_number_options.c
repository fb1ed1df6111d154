/* Numbers that cannot be meant, given to every number option of every command: refused before any
 * file is looked at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/options.h"
#include "core/fail.h"
#include "support/assert_close.h"
#include "support/command_tables.h"
#include "support/program.h"
#include "support/temp_folder.h"

/* No number of any kind. */
static const char *const words[] = {"",     " ",     " 5",       "5 ",   "\t5",  "+5",
                                    "0x10", "0X1p3", "\xd9\xa3", "five", "5_0",  "5x",
                                    "--5",  "1e400", "-1e400",   "nan",  "-nan", "NAN(1)",
                                    "inf",  "-inf",  "Infinity", "1e",   "."};
static const char *const counts[] = {"5,5",
                                     "-1",
                                     "-0",
                                     "1e3",
                                     "2.5",
                                     "5.",
                                     "18446744073709551616",
                                     "99999999999999999999999999",
                                     "1000000000000001"};
static const char *const numbers[] = {"5,5",     "-0",    "-0.5",
                                      "-1e-300", "1e300", "99999999999999999999"};
static const char *const sizes[] = {"0",
                                    "0M",
                                    "-1G",
                                    "1",
                                    "1K",
                                    "976K",
                                    "5X",
                                    "5MM",
                                    "1 G",
                                    "1e30",
                                    "1000000000000000000000000000000",
                                    "1025T",
                                    "0x10G",
                                    "G",
                                    "1,5G",
                                    "1.5.2G"};
static const char *const seeds[] = {"-1", "1e3", "2.5", "18446744073709551616"};
static const char *const layers[] = {"5-3",
                                     "-3",
                                     "0-",
                                     "1,,2",
                                     ",1",
                                     "1,",
                                     "100000000000000000000",
                                     "0-100000000000000000000",
                                     "1e3",
                                     "0-0x5",
                                     "0- 5",
                                     "100000",
                                     "2.5",
                                     "all,1"};
static const char *const skips[] = {
    "-1", "-0", "1e3", "2.5", "AUTO", "auto ", "1000000000000001", "18446744073709551616"};
static const char *const shares[] = {"1e3", "-1", "-0", "AUTO", "auto ", "0.5x"};
static const char *const divisions[] = {
    "0", "-1", "1e3", "2.5", "1000001", "18446744073709551616", "layers "};

#define LIST(list) list, sizeof list / sizeof *list

static const struct {
    cbe_option_kind kind;
    const char *const *values;
    size_t n;
} kinds[] = {{OPT_COUNT, LIST(counts)}, {OPT_NUMBER, LIST(numbers)}, {OPT_SIZE, LIST(sizes)},
             {OPT_SEED, LIST(seeds)},   {OPT_LAYERS, LIST(layers)},  {OPT_SKIP, LIST(skips)},
             {OPT_SHARE, LIST(shares)}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* @return whether it was refused by a message that names the option, or says what its bounds say */
static bool refused(const cli_command *command, const cbe_option *option, const char *value)
{
    char argument[256], name[64], *arguments[] = {argument};
    bool help;
    cbe_error err = {0};
    void *fields = calloc(1, command_fields_size(command));
    assert_non_null(fields);
    snprintf(argument, sizeof argument, "--%s=%s", option->name, value);
    snprintf(name, sizeof name, "--%s ", option->name);
    const cbe_status st = cli_parse(command, 1, arguments, fields, &help, &err);
    cli_free(command, fields);
    free(fields);
    const bool own = option->bounds && option->bounds->refusal;
    return st == CBE_ERR_ARG && (own || strncmp(cbe_error_typed(&err), name, strlen(name)) == 0);
}

static bool is_number(const cbe_option *option, size_t *kind)
{
    for (*kind = 0; *kind < N_KINDS && kinds[*kind].kind != option->kind;) ++*kind;
    return *kind < N_KINDS;
}

static void numbers__that_cannot_be_meant_are_refused_by_every_option(void **state)
{
    (void)state;
    size_t n = 0, failed = 0, kind;
    for (size_t c = 0; c < N_COMMAND_TABLES; c++) {
        const cli_command *command = command_table(c);
        for (const cbe_option *o = command->options; o->name; o++) {
            if (!is_number(o, &kind)) continue;
            n++;
            for (size_t i = 0; i < sizeof words / sizeof *words + kinds[kind].n; i++) {
                const bool word = i < sizeof words / sizeof *words;
                const char *value =
                    word ? words[i] : kinds[kind].values[i - sizeof words / sizeof *words];
                if (refused(command, o, value)) continue;
                print_error("cbe %s --%s='%s' is taken, or refused without its name\n",
                            command->name, o->name, value);
                failed++;
            }
        }
    }
    assert_int_equal(failed, 0);
    assert_in_range(n, 50, 200); /* the tables were found */
}

/* The last number that is taken, and the next one. */
static void bounds__are_where_they_are_said_to_be(void **state)
{
    (void)state;
    size_t n = 0;
    for (size_t c = 0; c < N_COMMAND_TABLES; c++) {
        const cli_command *command = command_table(c);
        for (const cbe_option *o = command->options; o->name; o++) {
            char value[64];
            if (o->kind != OPT_COUNT && o->kind != OPT_NUMBER && o->kind != OPT_SHARE) continue;
            const cbe_bounds *b = o->bounds;
            if (!b) fail_msg("cbe %s --%s has no bounds", command->name, o->name);
            assert_true(b->low >= 0 && b->low < b->high);
            const double step = o->kind == OPT_COUNT ? 1 : 1e-9;
            const struct {
                double value;
                bool taken;
            } edges[] = {{b->low, !b->above},
                         {b->low + step, true},
                         {b->high - step, true},
                         {b->high, !b->below},
                         {b->high + 1, false}};
            for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
                snprintf(value, sizeof value, "%.*f", o->kind == OPT_COUNT ? 0 : 9, edges[i].value);
                if (b->high >= 1e9 && o->kind == OPT_NUMBER && i == 2)
                    continue; /* as good as the bound */
                if (refused(command, o, value) == edges[i].taken)
                    fail_msg("cbe %s --%s %s", command->name, o->name, value);
            }
            if (o->preset && refused(command, o, o->preset))
                fail_msg("cbe %s: the default of --%s is refused", command->name, o->name);
            n++;
        }
    }
    assert_in_range(n, 35, 200);
}

/* As a user meets it: status 2 and one line about the option, though the files named are not
 * there. */
static void refusals__come_before_any_file(void **state)
{
    (void)state;
    char line[512], name[64];
    size_t kind;
    for (size_t c = 0; c < N_COMMAND_TABLES; c++) {
        const cli_command *command = command_table(c);
        for (const cbe_option *o = command->options; o->name; o++) {
            if (!is_number(o, &kind)) continue;
            snprintf(line, sizeof line, "%s %%F/none --%s=0x10", command->name, o->name);
            assert_int_equal(program_run(line), 2);
            snprintf(name, sizeof name, "cbe: --%s 0x10: ", o->name);
            const char *end = strchr(program_err, '\n');
            if (strncmp(program_err, name, strlen(name)) != 0 || !end || end[1])
                fail_msg("cbe %s: %s", line, program_err);
        }
    }
    for (size_t i = 0; i < sizeof divisions / sizeof *divisions; i++) {
        if (strchr(divisions[i], ' ')) continue; /* lines are split at blanks */
        snprintf(line, sizeof line, "extract %%F/none --tokens %%F/none -o %%F/none/o --divide=%s",
                 divisions[i]);
        assert_int_equal(program_run(line), 2);
        if (strncmp(program_err, "cbe: --divide ", 14) != 0)
            fail_msg("cbe %s: %s", line, program_err);
    }
}

/* -1 stands for the optimizer's own momentum, in any way of writing it. */
static void a_default_below_the_bounds__is_taken(void **state)
{
    (void)state;
    static const char *const taken[] = {"-1", "-1.0", "-10e-1"};
    static const char *const not [] = {"-1.5", "-0.5", "-0"};
    for (size_t c = 0; c < N_COMMAND_TABLES; c++)
        for (const cbe_option *o = command_table(c)->options; o->name; o++) {
            if (strcmp(o->name, "momentum") != 0) continue;
            for (size_t i = 0; i < 3; i++) {
                assert_false(refused(command_table(c), o, taken[i]));
                assert_true(refused(command_table(c), o, not [i]));
            }
        }
}

static void refusals__say_what_is_taken(void **state)
{
    (void)state;
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"extract m --threads 100000", "--threads 100000: a whole number of 0 to 256 expected"},
        {"capture m --context-length 1000000001",
         "--context-length 1000000001: a whole number of 1 to 1000000000 expected"},
        {"extract m --min-energy -1", "--min-energy -1: a number of 0 to 1000000000 expected"},
        {"extract m --held-out 1",
         "--held-out 1: such a share of the sequences cannot be held out; "
         "give 0 or more, less than 1"},
        {"lens fit m --held-out 0",
         "0 of the sequences cannot be held out: a share between 0 and 1 can"},
        {"lens train m --positions 0", "--positions 0: a number above 0 and at most 1 expected"},
        {"lens train m --damping 0",
         "--damping 0: a number above 0 and at most 1000000000 expected"},
        {"lens train m --rate -1", "--rate -1: a rate cannot be negative, nor above 1000000000"},
        {"lens train m --momentum -0.5", "the momentum must lie in 0 .. 1, below 1"},
        {"extract m --memory 1K", "--memory 1K: a size of 1000000 bytes to 1024T expected"},
        {"plan m --bandwidth 0", "--bandwidth 0: a number above 0 and at most 1000000000 expected"},
        {"extract m --skip-positions 1000000000000001",
         "--skip-positions 1000000000000001: at most 1000000000000000 positions, or auto, "
         "expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[256];
        snprintf(want, sizeof want, "cbe: %s\n", cases[i].says);
        assert_int_equal(program_run(cases[i].line), 2);
        assert_string_equal(program_err, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers__that_cannot_be_meant_are_refused_by_every_option),
        cmocka_unit_test(bounds__are_where_they_are_said_to_be),
        cmocka_unit_test(refusals__come_before_any_file),
        cmocka_unit_test(a_default_below_the_bounds__is_taken),
        cmocka_unit_test(refusals__say_what_is_taken),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
