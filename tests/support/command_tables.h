/*
 * command_tables.h - the option tables of all commands.
 *
 * Programs that use it are linked with -Wl,--wrap=cli_parse: the replacement keeps the calling
 * command's table and refuses, so that no command ever runs; __real_cli_parse parses.
 */
#ifndef CBE_TESTS_COMMAND_TABLES_H
#define CBE_TESTS_COMMAND_TABLES_H

#include "cli/arguments.h"

enum { N_COMMAND_TABLES = 12 };

cbe_status __real_cli_parse(const cli_command *command, int argc, char **argv, void *fields,
                            bool *help, cbe_error *err);

/** The i-th table, i below N_COMMAND_TABLES. */
const cli_command *command_table(size_t i);
/** Bytes of the command's struct up to the end of the last field that the table names. */
size_t command_fields_size(const cli_command *command);

#endif
