/* completions.h - completion of command lines by shells, from the same tables as --help. */
#ifndef CBE_CLI_COMPLETIONS_H
#define CBE_CLI_COMPLETIONS_H

#include <stdio.h>

/** A script for bash: names of commands and options, choices, files and folders. */
void cli_completions_bash(FILE *script);
/** The same for zsh, with the help of each. */
void cli_completions_zsh(FILE *script);

#endif
