/* commands.h - the commands, one file each; each gets the arguments after its name and returns the
 * exit status. */
#ifndef CBE_CLI_COMMANDS_H
#define CBE_CLI_COMMANDS_H

#include <stdio.h>

#include "cbe/status.h"

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

#endif
