/* command_tables.c - see command_tables.h. */
#include "support/command_tables.h"

#include <stdlib.h>

#include "cli/commands.h"
#include "core/fail.h"

static int (*const commands[])(int argc, char **argv) = {
    cli_extract, cli_probe,    cli_ablate,     cli_capture,   cli_decoder,      cli_tokenize,
    cli_info,    cli_lens_fit, cli_lens_train, cli_lens_eval, cli_lens_convert, cli_plan,
};
_Static_assert(sizeof commands / sizeof *commands == N_COMMAND_TABLES, "their number is told");

static const cli_command *kept;

cbe_status __wrap_cli_parse(const cli_command *command, int argc, char **argv, void *fields,
                            bool *help, cbe_error *err);
cbe_status __wrap_cli_parse(const cli_command *command, int argc, char **argv, void *fields,
                            bool *help, cbe_error *err)
{
    (void)argc, (void)argv, (void)fields;
    kept = command;
    *help = false;
    return cbe_fail(err, CBE_ERR_ARG, -1, "only the table is wanted");
}

const cli_command *command_table(size_t i)
{
    static const cli_command *tables[N_COMMAND_TABLES];
    char *none[] = {NULL};
    if (tables[i]) return tables[i];
    kept = NULL;
    commands[i](0, none);
    if (!kept) abort(); /* a command parses its options first */
    return tables[i] = kept;
}

size_t command_fields_size(const cli_command *command)
{
    static const size_t sizes[] = {
        [OPT_FLAG] = sizeof(bool),         [OPT_COUNT] = sizeof(size_t),
        [OPT_NUMBER] = sizeof(double),     [OPT_SIZE] = sizeof(size_t),
        [OPT_SEED] = sizeof(uint64_t),     [OPT_STRING] = sizeof(const char *),
        [OPT_CHOICE] = sizeof(int),        [OPT_FILES] = sizeof(cbe_file_names),
        [OPT_LAYERS] = sizeof(cbe_ranges), [OPT_SKIP] = sizeof(cbe_skip),
    };
    size_t size = 0;
    for (const cbe_option *o = command->options; o->name; o++)
        if (o->field + sizes[o->kind] > size) size = o->field + sizes[o->kind];
    for (size_t i = 0; i < command->n_positional; i++)
        if (command->positional[i] + sizeof(char *) > size)
            size = command->positional[i] + sizeof(char *);
    return size;
}
