/*
 * processes.h - several processes at work on one run, on one machine or many, by MPI if it is built
 * in.
 *
 * Each function that takes a cbe_processes is collective, called by all processes alike, unless it
 * says otherwise; NULL stands for a process on its own, which has nothing to exchange. A process
 * that fails before a collective call must still make the call: cbe_processes_agree tells all
 * processes of the failure. A process that dies ends the job, and MPI's launcher names it.
 */
#ifndef CBE_PROCESSES_PROCESSES_H
#define CBE_PROCESSES_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

typedef struct cbe_processes cbe_processes;

/** Joins the other processes of this run, if a launcher (mpirun, srun) started several. Called once
 * in a process, before anything else.
 * @param out [out] ended by cbe_processes_end; NULL: the process is alone
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (started as one of several, but built without MPI);
 * CBE_ERR_INTERNAL; CBE_ERR_NOMEM */
cbe_status cbe_processes_start(cbe_processes **out, cbe_error *err);
/** Leaves the run, after waiting for the other processes. */
void cbe_processes_end(cbe_processes *processes);
/** Ends all processes at once with an exit status, whatever they do. Not collective; returns only
 * if `processes` is NULL. */
void cbe_processes_abort(const cbe_processes *processes, int status);
/** Name of the MPI that is built in, "Open MPI 4.1.4"; NULL: none. Not collective. */
const char *cbe_processes_library(void);

/** Splits the processes into groups of `size` neighbouring ranks; size must divide the number of
 * processes. *out is the caller's group, NULL if the caller is alone in it. The caller frees it
 * with cbe_processes_free, before `processes` ends.
 * @return CBE_OK; CBE_ERR_ARG (size does not divide the number); CBE_ERR_NOMEM */
cbe_status cbe_processes_split(cbe_processes **out, const cbe_processes *processes, size_t size,
                               cbe_error *err);
void cbe_processes_free(cbe_processes *group); /* NULL is allowed */

/** Rank of the caller, 0 .. size - 1, and the number of processes. Not collective. */
size_t cbe_processes_rank(const cbe_processes *processes);
size_t cbe_processes_size(const cbe_processes *processes);
/** Number of processes on the caller's machine. Not collective: it is known from the start. */
size_t cbe_processes_on_machine(const cbe_processes *processes);

/** Replaces x (n) by its sums over processes, the same bits in every process. */
void cbe_processes_sum(const cbe_processes *processes, size_t n, double *x);
/** Copies x (bytes) of rank 0 to all processes. */
void cbe_processes_broadcast(const cbe_processes *processes, size_t bytes, void *x);
/** Fills all (size) with the numbers of all processes, in the order of ranks. */
void cbe_processes_list(const cbe_processes *processes, size_t mine, size_t *all);
/** Sums the numbers of lower ranks (*before) and of all ranks (*all). */
void cbe_processes_place(const cbe_processes *processes, size_t mine, size_t *before, size_t *all);
/** Concatenates the lists of all processes in the order of ranks; counts (size), the lengths of the
 * lists, are those of cbe_processes_list. */
void cbe_processes_join(const cbe_processes *processes, const double *mine, const size_t *counts,
                        double *all);
/** Fetches rows of floats that other processes hold: rank r holds rows first[r] to
 * first[r + 1] - 1.
 * @param first  (size + 1), the same in all processes
 * @param rows   (first[rank + 1] - first[rank], width), the caller's rows
 * @param wanted (n), numbers of rows
 * @param out    (n, width)
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_processes_fetch_rows(const cbe_processes *processes, const size_t *first,
                                    size_t width, const float *rows, size_t n, const size_t *wanted,
                                    float *out, cbe_error *err);

/** Waits for all processes. Shared memory that any of them wrote before the call can be read after
 * it. */
void cbe_processes_barrier(const cbe_processes *processes);
/** Allocates memory that all processes see: segments (size) has one segment of `bytes` for each
 * process. *segments is NULL if the processes are on several machines. cbe_processes_unshare,
 * collective too, frees the segments.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_processes_share(const cbe_processes *processes, size_t bytes, void ***segments,
                               cbe_error *err);
void cbe_processes_unshare(const cbe_processes *processes, void **segments); /* NULL is allowed */

/** Gives all processes the same status: CBE_OK if all have CBE_OK, else the status of the lowest
 * rank that failed. err then has the message of that rank in every process, with the number of the
 * process unless it is 0. */
cbe_status cbe_processes_agree(const cbe_processes *processes, cbe_status st, cbe_error *err);

/* Messages to rank 0, which receives them at its own time. Not collective. */

/** Sends a copy of the bytes to rank 0, after waiting for the message that this process sent
 * before.
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_INTERNAL (too long a message) */
cbe_status cbe_processes_send(cbe_processes *processes, size_t bytes, const void *data,
                              cbe_error *err);
/** Receives, in rank 0, the next message of any process.
 * @param wait  whether to wait until there is a message
 * @param data [out] the caller frees it with cbe_free; NULL if there is no message
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_processes_receive(const cbe_processes *processes, bool wait, size_t *from,
                                 size_t *bytes, void **data, cbe_error *err);

#endif
