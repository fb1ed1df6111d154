/*
 * commands.h - the commands, one file each, and their list. Help, man pages and completions are
 * made from the list. A command gets the arguments after its name and returns the exit status.
 */
#ifndef CBE_CLI_COMMANDS_H
#define CBE_CLI_COMMANDS_H

#include <stdbool.h>
#include <stdio.h>

#include "cbe/status.h"
#include "cli/arguments.h"

/** Exit statuses (the contract of the command line). */
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_BAD_INPUT = 2 };

/** Writes the one line of an error to standard error, and returns its exit status. */
int cli_report(const cbe_error *err);
/** Ends the results on standard output.
 * @return CLI_DONE; CLI_FAILED, after a line on standard error, if not everything could be written
 * (a full disk, a closed pipe) */
int cli_finish_output(void);
/** Writes out what was printed so far. Files are more important than the table: a failure is kept
 * until cli_finish_output tells it at the end. */
void cli_flush_output(void);

int cli_extract(int argc, char **argv);
int cli_probe(int argc, char **argv);
int cli_ablate(int argc, char **argv);
int cli_fidelity(int argc, char **argv);
int cli_spectrum(int argc, char **argv);
int cli_capture(int argc, char **argv);
int cli_decoder(int argc, char **argv);
int cli_lens(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_tokenize(int argc, char **argv);
int cli_info(int argc, char **argv);

/* The commands of cbe lens. Each gets the arguments after its own name. */
int cli_lens_fit(int argc, char **argv);
int cli_lens_train(int argc, char **argv);
int cli_lens_eval(int argc, char **argv);
int cli_lens_convert(int argc, char **argv);

extern const cli_command cli_extract_command, cli_probe_command, cli_ablate_command,
    cli_fidelity_command, cli_capture_command, cli_decoder_command, cli_plan_command,
    cli_tokenize_command, cli_info_command, cli_spectrum_command, cli_lens_fit_command,
    cli_lens_train_command, cli_lens_eval_command, cli_lens_convert_command;

/** A row of the list. */
typedef struct cli_entry {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
    const cli_command *command;       /* NULL: the row has commands of its own */
    const struct cli_entry *commands; /* NULL: the row has none */
    /* Whether several processes can share its work. Without that, each process would do the whole
     * work and write the same files. */
    bool shared;
} cli_entry;

/** All commands. A row without a name ends the list. */
extern const cli_entry cli_commands[];
/** The commands of cbe lens, ended in the same way. */
extern const cli_entry cli_lens_commands[];

/** Finds a command by its name; NULL: the list has none. */
const cli_entry *cli_find_command(const cli_entry *commands, const char *name);
/** Prints a line for each command. */
void cli_print_commands(const cli_entry *commands);

#endif
