/*
 * options.h - command-line options as one table for each command: the parser, --help and the record
 * of a run all read it.
 *
 * Values go to fields of a struct of the command's own, so there are no globals and tests can
 * parse.
 */
#ifndef CBE_CLI_OPTIONS_H
#define CBE_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

typedef enum {
    OPT_FLAG,   /* bool */
    OPT_COUNT,  /* size_t; has bounds */
    OPT_NUMBER, /* double, finite; has bounds */
    /* size_t: bytes, as in 500M or 1.5G (powers of 1024), CLI_LEAST_SIZE to CLI_MOST_SIZE; 0: not
     * given */
    OPT_SIZE,
    OPT_SEED,   /* uint64_t */
    OPT_STRING, /* const char * */
    OPT_CHOICE, /* int: index into choices */
    OPT_FILES,  /* cli_files: all arguments up to the next option; may be given again */
    OPT_LAYERS, /* cli_ranges: 0-3,7 or all */
    OPT_SKIP    /* cli_skip: a count or auto; CLI_MOST_TOKENS at most */
} cli_kind;

/** What a number that is meant lies within. A default that is negative, for "not given", is taken
 * too. */
typedef struct {
    double low, high;    /* both taken, unless: */
    bool above, below;   /* low is too little; high is too much */
    const char *refusal; /* the message, %s being the value; NULL: the option and its bounds */
} cli_bounds;

/** For a row of an options table: both taken, or members by name. */
#define CLI_RANGE(least, most) CLI_BOUNDS(.low = (least), .high = (most))
#define CLI_BOUNDS(...)        (&(const cli_bounds){__VA_ARGS__})

/** OpenBLAS, as Debian builds it, has buffers for so many threads; with more it warns on standard
 * output. */
#define CLI_MOST_THREADS 256.0
/** Numbers above these are slips of the keyboard on any machine. Every one is exact as a double. */
#define CLI_MOST_CONTEXT 1e9  /* tokens of one sequence */
#define CLI_MOST_TOKENS  1e15 /* tokens of a run, positions */
#define CLI_MOST_COUNT   1e6  /* vectors, starts, processes */
#define CLI_MOST_STEPS   1e9  /* iterations, steps */
#define CLI_MOST_NUMBER  1e9  /* numbers with a unit */
#define CLI_LEAST_SIZE   1e6
#define CLI_MOST_SIZE    1125899906842624.0 /* 1024T */

typedef struct {
    size_t n;
    const char **paths; /* owned */
} cli_files;

typedef struct {
    bool all;
    size_t n, (*ranges)[2]; /* inclusive; owned */
} cli_ranges;

typedef struct {
    bool automatic;
    size_t positions;
} cli_skip;

typedef struct {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    cli_kind kind;
    size_t field;         /* offset in the command's struct */
    const char *preset;   /* default, as it would be typed; NULL: none (a flag is off) */
    const char *argument; /* in --help: "FILE", "N" */
    const char *help;
    const char *const *choices; /* for OPT_CHOICE, NULL-ended */
    const cli_bounds *bounds;   /* for OPT_COUNT and OPT_NUMBER; NULL elsewhere */
} cli_option;

/** A command: its options end with a NULL name; positional arguments go to up to three string
 * fields. */
typedef struct {
    const char *name, *usage, *summary, *details;
    const cli_option *options;
    size_t n_positional;
    size_t positional[3]; /* offsets of const char * fields */
} cli_command;

/** Sets every field to its default, then reads the arguments. *help is set when --help is among
 * them.
 * @return CBE_OK or CBE_ERR_ARG (what, and what may be given) */
cbe_status cli_parse(const cli_command *command, int argc, char **argv, void *fields, bool *help,
                     cbe_error *err);
/** Frees what cli_parse allocated in the fields. */
void cli_free(const cli_command *command, void *fields);
/** --help, on standard output. */
void cli_print_help(const cli_command *command);
/** An option's value in force, as it would be typed, into text (size bytes). false: not given and
 * no default. */
bool cli_value(const cli_option *option, const void *fields, char *text, size_t size);

#endif
