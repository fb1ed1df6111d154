/* manual_page.h - man pages of the commands, from the tables of --help. */
#ifndef CBE_CLI_MANUAL_PAGE_H
#define CBE_CLI_MANUAL_PAGE_H

#include <stdio.h>

#include "cli/commands.h"

/** Writes cbe.1, which lists all commands. */
void cli_manual_overview(FILE *page);
/** Writes the page of a command with options.
 * @param entry  the command's row. `parent` stands before its name if it belongs to another
 * command */
void cli_manual_page(FILE *page, const cli_entry *entry);
/** Writes the page of a command that has commands of its own. */
void cli_manual_group(FILE *page, const cli_entry *entry);
/** Writes the name of a command's page, "cbe-lens-fit" for "lens fit". */
void cli_manual_name(char *name, size_t size, const char *command);

#endif
