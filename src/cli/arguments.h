/*
 * arguments.h - the arguments of a command, by its table of options; and --help, by the same table.
 */
#ifndef CBE_CLI_ARGUMENTS_H
#define CBE_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "run/options.h"

/** A command: its options end with a NULL name; positional arguments go to up to three string
 * fields. */
typedef struct {
    const char *name, *usage, *summary, *details;
    const cbe_option *options;
    size_t n_positional;
    size_t positional[3]; /* offsets of const char * fields */
} cli_command;

/** Sets every field to its default, then reads the arguments. *help is set when --help is among
 * them.
 * @return CBE_OK or CBE_ERR_ARG (what, and what may be given) */
cbe_status cli_parse(const cli_command *command, int argc, char **argv, void *fields, bool *help,
                     cbe_error *err);
/** Frees what cli_parse allocated in the fields. */
void cli_free(const cli_command *command, void *fields);
/** --help, on standard output. */
void cli_print_help(const cli_command *command);

#endif
