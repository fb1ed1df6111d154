/*
 * transport.h - the table of functions that carry data between processes, for
 * processes/processes.h.
 *
 * mpi.c fills in the only table. A process that is alone has no transport: processes.c answers for
 * it.
 */
#ifndef CBE_PROCESSES_TRANSPORT_H
#define CBE_PROCESSES_TRANSPORT_H

#include "processes/processes.h"
#include "math/long_sum.h"

/* Lists of several processes are concatenated in the order of ranks; counts are (size). */
typedef struct {
    cbe_status (*split)(cbe_processes **out, const cbe_processes *self, size_t size,
                        cbe_error *err);
    void (*destroy)(cbe_processes *self);
    void (*abort)(const cbe_processes *self, int status);
    void (*sum)(const cbe_processes *self, size_t n, double *x);
    void (*add_up)(const cbe_processes *self, size_t n, cbe_long_sum *sums);
    void (*broadcast)(const cbe_processes *self, size_t from, size_t bytes, void *x);
    void (*join)(const cbe_processes *self, const double *mine, const size_t *counts, double *all);
    /* Sends a list from each process to each: counts[r] elements of `unit` bytes to rank r,
     * from_counts[r] elements from rank r. */
    void (*exchange)(const cbe_processes *self, size_t unit, const size_t *counts, const void *to,
                     const size_t *from_counts, void *from);
    void (*barrier)(const cbe_processes *self);
    /* segments (size) is [out]; *handle is the argument of unshare. */
    cbe_status (*share)(const cbe_processes *self, size_t bytes, void **segments, void **handle,
                        cbe_error *err);
    void (*unshare)(void *handle);
    cbe_status (*send)(cbe_processes *self, size_t bytes, const void *data, cbe_error *err);
    cbe_status (*receive)(const cbe_processes *self, bool wait, size_t *from, size_t *bytes,
                          void **data, cbe_error *err);
} cbe_transport;

/** First member of every transport's struct. */
struct cbe_processes {
    const cbe_transport *transport;
    size_t rank, size, on_machine;
};

#ifdef CBE_MPI
/** cbe_processes_start for a process that a launcher started; in mpi.c. */
cbe_status cbe_mpi_start(cbe_processes **out, cbe_error *err);
/** Name of the MPI library, "Open MPI 4.1.4". */
const char *cbe_mpi_library(void);
#endif

#endif
