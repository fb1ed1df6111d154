/* command_tables.h - the option tables of all commands. */
#ifndef CBE_TESTS_COMMAND_TABLES_H
#define CBE_TESTS_COMMAND_TABLES_H

#include "cli/arguments.h"

enum { N_COMMAND_TABLES = 12 };

/** The i-th of them, i below N_COMMAND_TABLES. */
const cli_command *command_table(size_t i);
/** Bytes of the command's struct up to the end of the last field that the table names. */
size_t command_fields_size(const cli_command *command);

#endif
