/*
 * status.h - how every function of the library reports failure.
 *
 * A function that can fail returns a cbe_status and takes a cbe_error as its last argument; NULL
 * is allowed there. The message is one line that says what is wrong, in which file, where, and what
 * to do. On failure outputs are untouched unless a function says otherwise.
 */
#ifndef CBE_STATUS_H
#define CBE_STATUS_H

#include <stdint.h>

/** Marks what the shared library exports; its own build defines CBE_BUILDING. */
#ifdef CBE_BUILDING
#define CBE_API __attribute__((visibility("default")))
#else
#define CBE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    CBE_OK = 0,
    CBE_ERR_ARG,   /* a caller's value: k > hidden size, layer 40 of 30 */
    CBE_ERR_NOMEM, /* an allocation failed, or a size overflowed size_t */
    /* a name that cannot be read or written: a missing file, a folder without permission */
    CBE_ERR_IO,
    CBE_ERR_SYSTEM,      /* the machine: a full disk, a device's error, too many open files */
    CBE_ERR_FORMAT,      /* a file that breaks its own format: truncated, overlapping tensors */
    CBE_ERR_SHAPE,       /* valid files that do not fit together: a lens of another width */
    CBE_ERR_UNSUPPORTED, /* valid, but not something we read: an unknown architecture */
    CBE_ERR_NUMERIC,     /* NaN or infinity in the inputs */
    CBE_ERR_CANCELLED,   /* a callback asked to stop */
    CBE_ERR_INTERNAL,    /* our own mistake */
    CBE_N_STATUS
} cbe_status;

enum { CBE_MESSAGE_SIZE = 512, CBE_OPTION_SIZE = 32 };

typedef struct {
    cbe_status code;
    int64_t offset;                 /* byte in the input file, -1 when there is none */
    char message[CBE_MESSAGE_SIZE]; /* one line, no newline at its end */
    char option[CBE_OPTION_SIZE];   /* the first option that the message names, "memory"; else "" */
    /* the line of the program cbe, with options as they are typed, "--memory"; "" where it is the
     * same as the message */
    char command_line[CBE_MESSAGE_SIZE];
} cbe_error;

/** Name of a status as it is written in the source, "CBE_ERR_FORMAT"; "?" for other numbers. */
CBE_API const char *cbe_status_name(cbe_status status);

#ifdef __cplusplus
}
#endif
#endif
