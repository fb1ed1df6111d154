/* manual_page.h - man pages of the commands, from the same tables as --help. */
#ifndef CBE_CLI_MANUAL_PAGE_H
#define CBE_CLI_MANUAL_PAGE_H

#include <stdio.h>

#include "cli/commands.h"

/** cbe.1: the list of all commands. */
void cli_manual_overview(FILE *page);
/** The page of a command with options.
 * @param entry  its row; a command's own commands have pages with `parent` before their names */
void cli_manual_page(FILE *page, const cli_entry *entry);
/** The page of a command that has commands of its own. */
void cli_manual_group(FILE *page, const cli_entry *entry);
/** Writes "cbe-lens-fit" for the command "lens fit": the name of its page. */
void cli_manual_name(char *name, size_t size, const char *command);

#endif
