/*
 * options.h - options by name, as one table for each command: cbe_run_set, the parser of the
 * command line, --help, man pages and the record of a run all read it.
 *
 * Values go to fields of a struct of the command's own, so there are no globals.
 */
#ifndef CBE_RUN_OPTIONS_H
#define CBE_RUN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

typedef enum {
    OPT_FLAG,   /* bool */
    OPT_COUNT,  /* size_t; has bounds */
    OPT_NUMBER, /* double, finite; has bounds */
    /* size_t: bytes, as in 500M or 1.5G (powers of 1024), CBE_LEAST_SIZE to CBE_MOST_SIZE; 0: not
     * given */
    OPT_SIZE,
    OPT_SEED,   /* uint64_t */
    OPT_STRING, /* const char * */
    OPT_CHOICE, /* int: index into choices */
    OPT_FILES,  /* cbe_file_names: all arguments up to the next option; may be given again */
    OPT_LAYERS, /* cbe_ranges: 0-3,7 or all */
    OPT_SKIP,   /* cbe_skip: a count or auto; CBE_MOST_TOKENS at most */
    OPT_SHARE   /* double: a number that has bounds, or auto, which is CBE_SHARE_AUTO */
} cbe_option_kind;

/** What a number that is meant lies within. A default that is negative, for "not given", is taken
 * too. */
typedef struct {
    double low, high;    /* both taken, unless: */
    bool above, below;   /* low is too little; high is too much */
    const char *refusal; /* the message, %s being the value; NULL: the option and its bounds */
} cbe_bounds;

/** The value auto of an OPT_SHARE. */
#define CBE_SHARE_AUTO (-1.0)

/** For a row of an options table: both taken, or members by name. */
#define CBE_RANGE(least, most) CBE_BOUNDS(.low = (least), .high = (most))
#define CBE_BOUNDS(...)        (&(const cbe_bounds){__VA_ARGS__})

/** OpenBLAS, as Debian builds it, has buffers for so many threads; with more it warns on standard
 * output. */
#define CBE_MOST_THREADS 256.0
/** Numbers above these are slips of the keyboard on any machine. Every one is exact as a double. */
#define CBE_MOST_CONTEXT 1e9  /* tokens of one sequence */
#define CBE_MOST_TOKENS  1e15 /* tokens of a run, positions */
#define CBE_MOST_COUNT   1e6  /* vectors, starts, processes */
#define CBE_MOST_STEPS   1e9  /* iterations, steps */
#define CBE_MOST_NUMBER  1e9  /* numbers with a unit */
#define CBE_LEAST_SIZE   1e6
#define CBE_MOST_SIZE    1125899906842624.0 /* 1024T */

typedef struct {
    size_t n;
    const char **paths; /* owned */
} cbe_file_names;

typedef struct {
    bool all;
    size_t n, (*ranges)[2]; /* inclusive; owned */
} cbe_ranges;

typedef struct {
    bool automatic;
    size_t positions;
} cbe_skip;

typedef struct {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    cbe_option_kind kind;
    size_t field;         /* offset in the command's struct */
    const char *preset;   /* default, as it would be typed; NULL: none (a flag is off) */
    const char *argument; /* in --help: "FILE", "N" */
    const char *help;
    const char *const *choices; /* for OPT_CHOICE, NULL-ended */
    const cbe_bounds *bounds;   /* for OPT_COUNT, OPT_NUMBER and OPT_SHARE; NULL elsewhere */
} cbe_option;

/** The option of a name of `length` bytes; NULL: the table has none. */
const cbe_option *cbe_option_find(const cbe_option *options, const char *name, size_t length);
/** Gives every field that has one its default. @return as cbe_option_set */
cbe_status cbe_options_reset(const cbe_option *options, void *fields, cbe_error *err);
/** "flag", "count", "number" ... Borrowed, static. */
const char *cbe_option_kind_name(cbe_option_kind kind);
/** Sets a field from text. Strings and paths are borrowed. Of a flag the text is "true" or "false";
 * NULL is true.
 * @return CBE_OK; CBE_ERR_ARG (the option, and what may be given); CBE_ERR_NOMEM */
cbe_status cbe_option_set(const cbe_option *option, const char *value, void *fields,
                          cbe_error *err);
/** Frees what the fields own. */
void cbe_options_free(const cbe_option *options, void *fields);
/** Bytes of a value as text, with room for a path and for a list of layers. */
enum { CBE_OPTION_TEXT = 4608 };
/** An option's value in force, as it would be typed, into text (size bytes). false: not given and
 * no default. */
bool cbe_option_text(const cbe_option *option, const void *fields, char *text, size_t size);

#endif
