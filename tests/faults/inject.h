/*
 * inject.h - making the n-th call of a kind fail, in this process.
 *
 * inject.c defines the C library's functions of these kinds, so that every library of the process
 * calls it, and passes their calls on. Linked into a test program it is driven by the functions
 * below; as a library of its own, preloaded (inject_preload.c), by the environment. Calls of
 * libraries that end the process when memory is short, by design, are neither counted nor failed:
 * libgomp, BLAS and LAPACK, the dynamic linker, sanitizers' run time.
 */
#ifndef CBE_TESTS_INJECT_H
#define CBE_TESTS_INJECT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum {
    INJECT_MEMORY, /* malloc, calloc, realloc, reallocarray, aligned_alloc, posix_memalign, mmap */
    /* open, openat and fopen for writing, write, pwrite, writev, fsync, close, linkat, rename,
     * flock, mkdir, ftruncate, unlink, unlinkat, remove; and standard output, where the test
     * program lets it through inject_output */
    INJECT_WRITE,
    /* open, openat and fopen for reading, read, pread, fread, stat, lstat, fstat, statfs,
     * readlink */
    INJECT_READ,
    INJECT_N_KINDS
} inject_kind;

typedef enum {
    /* nothing is done, errno is `error`; with ENOSPC, a full disk, calls that take no room go
     * well */
    INJECT_FAIL,
    /* write, pwrite, writev: half of it is written, which is no failure; other calls are left
     * alone */
    INJECT_SHORT,
    INJECT_VANISH, /* INJECT_WRITE: before the call `vanish` is called; the call itself is made */
    INJECT_N_WAYS
} inject_way;

typedef struct {
    inject_kind kind;
    long n;  /* the call that fails, the first is 1; 0: none */
    bool on; /* all that follow fail too */
    inject_way way;
    int error; /* an errno */
    void (*vanish)(void);
} inject_fault;

const char *inject_kind_name(inject_kind kind);

/** Reads KIND:N[+][:ERROR], as in memory:17, write:5:ENOSPC, write:5+:short; N 0 fails nothing. The
 * error is ENOMEM for memory, else EIO. @return false: it is not of this form */
bool inject_parse(inject_fault *out, const char *text);

/** From here on only calls of the program itself count: none of any library. */
void inject_of_program(void);

/** Starts counting, from 0, and failing. */
void inject_begin(const inject_fault *fault);
/** Stops both. What was counted and what is held stays known. */
void inject_end(void);

/** Calls since inject_begin. */
long inject_count(inject_kind kind);
/** The function whose call was failed last, "" when none was. */
const char *inject_failed(void);
/** Of what was allocated, or mapped, since inject_begin by callers that count: blocks that have not
 * been freed. Those of libzip are left out: 1.7.3 leaks some where memory is short. */
size_t inject_held(void);
/** Where one of them was asked for, i < inject_held; NULL past the last. */
const void *inject_held_by(size_t i);

/** Called after each rename that went well while calls are counted, with the new path; NULL:
 * none. */
extern void (*inject_renamed)(const char *path);

/** Standard output's part of INJECT_WRITE: asks whether this write of so many bytes may be made.
 * @return bytes to write, less than size for a short one; -1: it fails, errno is set */
long inject_output(size_t size);

#endif
