/*
 * commands.h - the commands, one file each, and their list, which help, man pages and completions
 * are made from. A command gets the arguments after its name and returns the exit status.
 */
#ifndef CBE_CLI_COMMANDS_H
#define CBE_CLI_COMMANDS_H

#include <stdbool.h>
#include <stdio.h>

#include "cbe/status.h"
#include "cli/arguments.h"

/** Exit statuses (the contract of the command line). */
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_BAD_INPUT = 2 };

/** Exit status of an error, whose one line goes to standard error. */
int cli_report(const cbe_error *err);
/** Ends writing results to standard output: CLI_DONE, or CLI_FAILED with a line when the output
 * could not be written (a full disk, a closed pipe). */
int cli_finish_output(void);
/** Writes out what was printed so far. A failure is told by cli_finish_output, at the end: files
 * come first. */
void cli_flush_output(void);

int cli_extract(int argc, char **argv);
int cli_probe(int argc, char **argv);
int cli_ablate(int argc, char **argv);
int cli_capture(int argc, char **argv);
int cli_decoder(int argc, char **argv);
int cli_lens(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_tokenize(int argc, char **argv);
int cli_info(int argc, char **argv);

/* Of cbe lens; each gets the arguments after its own name. */
int cli_lens_fit(int argc, char **argv);
int cli_lens_train(int argc, char **argv);
int cli_lens_eval(int argc, char **argv);
int cli_lens_convert(int argc, char **argv);

extern const cli_command cli_extract_command, cli_probe_command, cli_ablate_command,
    cli_capture_command, cli_decoder_command, cli_plan_command, cli_tokenize_command,
    cli_info_command, cli_lens_fit_command, cli_lens_train_command, cli_lens_eval_command,
    cli_lens_convert_command;

/** A row of the list. */
typedef struct cli_entry {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
    const cli_command *command;       /* its options; NULL: it has commands of its own */
    const struct cli_entry *commands; /* these; NULL: it has none */
    /* several processes can share its work; of any other each would do the whole, and write the
     * same files */
    bool shared;
} cli_entry;

/** All commands, ended by a row without a name. */
extern const cli_entry cli_commands[];
/** Those of cbe lens, likewise. */
extern const cli_entry cli_lens_commands[];

/** The command of that name; NULL: the list has none. */
const cli_entry *cli_find_command(const cli_entry *commands, const char *name);
/** A line for each command, on standard output. */
void cli_print_commands(const cli_entry *commands);

#endif
