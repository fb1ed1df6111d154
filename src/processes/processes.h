/*
 * processes.h - several processes at work on one run, on one machine or many, by MPI where that is
 * built in.
 *
 * Each function that takes a cbe_processes is called by all of them alike, unless it says
 * otherwise; NULL is a process on its own, for which there is nothing to do. A process that fails
 * before such a call must still make it: cbe_processes_agree is where failures meet. One that dies
 * ends the job: MPI's launcher says which.
 */
#ifndef CBE_PROCESSES_PROCESSES_H
#define CBE_PROCESSES_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

typedef struct cbe_processes cbe_processes;

/** Joins the others of this run, when a launcher (mpirun, srun) started several; once in a process,
 * before anything else.
 * @param out [out] NULL: alone. To cbe_processes_end
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (started as one of several, but built without MPI);
 * CBE_ERR_INTERNAL; CBE_ERR_NOMEM */
cbe_status cbe_processes_start(cbe_processes **out, cbe_error *err);
/** Leaves; waits for the others. */
void cbe_processes_end(cbe_processes *processes);
/** Ends all of them at once with an exit status, whatever they do. Not collective; returns only
 * where `processes` is NULL. */
void cbe_processes_abort(const cbe_processes *processes, int status);
/** MPI that is built in, "Open MPI 4.1.4"; NULL: none. Not collective. */
const char *cbe_processes_library(void);

/** Groups of `size` neighbours, which must divide the number of processes; *out is the caller's
 * group, of which it must not be in use beyond that of `processes`; to cbe_processes_free. NULL
 * where the group is the caller alone. */
cbe_status cbe_processes_split(cbe_processes **out, const cbe_processes *processes, size_t size,
                               cbe_error *err);
void cbe_processes_free(cbe_processes *group); /* NULL is allowed */

/** 0 .. size - 1, and how many there are; not collective. */
size_t cbe_processes_rank(const cbe_processes *processes);
size_t cbe_processes_size(const cbe_processes *processes);
/** How many of them are on the caller's machine. Known from the start: not collective. */
size_t cbe_processes_on_machine(const cbe_processes *processes);

/** Replaces x (n) by its sums over processes, which have the same bits in all of them. */
void cbe_processes_sum(const cbe_processes *processes, size_t n, double *x);
/** x (bytes) of rank 0, to all. */
void cbe_processes_broadcast(const cbe_processes *processes, size_t bytes, void *x);
/** The numbers of all processes, in the order of ranks: all (size). */
void cbe_processes_list(const cbe_processes *processes, size_t mine, size_t *all);
/** The sum of the numbers of lower ranks, and that of all. */
void cbe_processes_place(const cbe_processes *processes, size_t mine, size_t *before, size_t *all);
/** The same for lists of numbers, one behind the other; counts (size) as cbe_processes_list gives
 * them. */
void cbe_processes_join(const cbe_processes *processes, const double *mine, const size_t *counts,
                        double *all);
/** Rows of floats that other processes hold: those of rank r are numbered first[r] .. first[r + 1]
 * - 1.
 * @param first  (size + 1), the same in all; @param rows (first[rank + 1] - first[rank], width) of
 * the caller
 * @param wanted (n) numbers of rows; @param out (n, width) */
cbe_status cbe_processes_fetch_rows(const cbe_processes *processes, const size_t *first,
                                    size_t width, const float *rows, size_t n, const size_t *wanted,
                                    float *out, cbe_error *err);

/** Waits for all: what they wrote to shared memory before is seen after. */
void cbe_processes_barrier(const cbe_processes *processes);
/** Memory that all of them see, a segment of `bytes` of each: segments (size). Where not all are on
 * one machine *segments is NULL, and there is none. Until cbe_processes_unshare, which all call
 * too. */
cbe_status cbe_processes_share(const cbe_processes *processes, size_t bytes, void ***segments,
                               cbe_error *err);
void cbe_processes_unshare(const cbe_processes *processes, void **segments); /* NULL is allowed */

/** All get the same result: `st` where all have CBE_OK, else the status of the lowest rank that
 * failed, whose message `err` then has in all of them (with the number of the process, unless that
 * is 0). */
cbe_status cbe_processes_agree(const cbe_processes *processes, cbe_status st, cbe_error *err);

/* Messages to rank 0, which takes them when it comes to it. Not collective. */

/** Sends bytes to rank 0, which are copied; waits for what this process sent before. */
cbe_status cbe_processes_send(cbe_processes *processes, size_t bytes, const void *data,
                              cbe_error *err);
/** In rank 0: the next message, from whichever process.
 * @param wait  until there is one
 * @param data [out] to cbe_free (core/memory.h); NULL when there is none */
cbe_status cbe_processes_receive(const cbe_processes *processes, bool wait, size_t *from,
                                 size_t *bytes, void **data, cbe_error *err);

#endif
