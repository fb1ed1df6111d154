/*
 * arguments.h - reading a command's arguments by its table of options, and --help from that table.
 */
#ifndef CBE_CLI_ARGUMENTS_H
#define CBE_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "run/options.h"

/** A command. A row without a name ends its options. Its positional arguments, three at most, are
 * put into string fields. */
typedef struct {
    const char *name, *usage, *summary, *details;
    const cbe_option *options;
    size_t n_positional;
    size_t positional[3]; /* offsets of the const char * fields */
} cli_command;

/** Sets every field to its default, then reads the arguments. With --help among them, *help becomes
 * true and nothing else is read.
 * @return CBE_OK; CBE_ERR_ARG, and err says what is wrong and what may be given */
cbe_status cli_parse(const cli_command *command, int argc, char **argv, void *fields, bool *help,
                     cbe_error *err);
/** Frees what cli_parse allocated in the fields. */
void cli_free(const cli_command *command, void *fields);
/** --help, on standard output. */
void cli_print_help(const cli_command *command);

#endif
