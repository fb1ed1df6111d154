/* command_tables.c - see command_tables.h. */
#include "support/command_tables.h"

#include <stdlib.h>

#include "cli/commands.h"

/* Counts *i down to the command wanted. */
static const cli_command *find(const cli_entry *entries, size_t *i)
{
    for (const cli_entry *e = entries; e->name; e++) {
        const cli_command *command = e->command;
        if (e->commands)
            command = find(e->commands, i);
        else if ((*i)-- > 0)
            command = NULL;
        if (command) return command;
    }
    return NULL;
}

const cli_command *command_table(size_t i)
{
    const cli_command *command = find(cli_commands, &i);
    if (!command) abort(); /* N_COMMAND_TABLES is too large */
    return command;
}

size_t command_fields_size(const cli_command *command)
{
    static const size_t sizes[] = {
        [OPT_FLAG] = sizeof(bool),         [OPT_COUNT] = sizeof(size_t),
        [OPT_NUMBER] = sizeof(double),     [OPT_SIZE] = sizeof(size_t),
        [OPT_SEED] = sizeof(uint64_t),     [OPT_STRING] = sizeof(const char *),
        [OPT_CHOICE] = sizeof(int),        [OPT_FILES] = sizeof(cbe_file_names),
        [OPT_LAYERS] = sizeof(cbe_ranges), [OPT_SKIP] = sizeof(cbe_skip),
        [OPT_SHARE] = sizeof(double),
    };
    size_t size = 0;
    for (const cbe_option *o = command->options; o->name; o++)
        if (o->field + sizes[o->kind] > size) size = o->field + sizes[o->kind];
    for (size_t i = 0; i < command->n_positional; i++)
        if (command->positional[i] + sizeof(char *) > size)
            size = command->positional[i] + sizeof(char *);
    return size;
}
