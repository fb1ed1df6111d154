/* completions.h - scripts by which shells complete command lines, from the tables of --help. */
#ifndef CBE_CLI_COMPLETIONS_H
#define CBE_CLI_COMPLETIONS_H

#include <stdio.h>

/** Writes the script of bash: it completes commands, options, choices, files and folders. */
void cli_completions_bash(FILE *script);
/** Writes the script of zsh, which also shows the help of each option. */
void cli_completions_zsh(FILE *script);

#endif
