/*
 * mpi.c - the transport by MPI, with calls that every version since 3 has.
 *
 * A sum is reduced to rank 0 and broadcast from there, so that all processes have the same bits
 * whatever the library's algorithm for MPI_Allreduce. An error of MPI ends the job at once by MPI's
 * own handler, whose message says where.
 */
#include "processes/transport.h"

#include <limits.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

enum {
    AT_ONCE = 1 << 24, /* doubles in one call: lengths are of type int */
    BYTES_AT_ONCE = 1 << 30,
    MESSAGE_TAG = 1
};

typedef struct {
    cbe_processes head;
    MPI_Comm comm;
    bool world;
    int *counts, *places, *other_counts, *other_places; /* (size) each: scratch of calls */
    void *sent;          /* message on its way to rank 0; NULL: none */
    MPI_Request request; /* request of the message in `sent` */
} mpi_processes;

/* Callers see a constant object, in which only the scratch of calls changes. */
static mpi_processes *of(const cbe_processes *self)
{
    union {
        const cbe_processes *given;
        mpi_processes *mine;
    } both = {self};
    return both.mine;
}

static void finish_sending(mpi_processes *p)
{
    if (!p->sent) return;
    MPI_Wait(&p->request, MPI_STATUS_IGNORE);
    cbe_free(p->sent);
    p->sent = NULL;
}

static void mpi_destroy(cbe_processes *self)
{
    mpi_processes *p = of(self);
    finish_sending(p);
    void *owned[] = {p->counts, p->places, p->other_counts, p->other_places};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    if (p->world)
        MPI_Finalize();
    else
        MPI_Comm_free(&p->comm);
    cbe_free(p);
}

static void mpi_abort(const cbe_processes *self, int status)
{
    MPI_Abort(of(self)->comm, status);
}

/* Adds the parts of all processes; rank 0's part becomes the sum. */
static void reduce(const mpi_processes *p, void *part, int count, MPI_Datatype type, MPI_Op op)
{
    if (p->head.rank == 0)
        MPI_Reduce(MPI_IN_PLACE, part, count, type, op, 0, p->comm);
    else
        MPI_Reduce(part, NULL, count, type, op, 0, p->comm);
}

static void mpi_sum(const cbe_processes *self, size_t n, double *x)
{
    const mpi_processes *p = of(self);
    for (size_t first = 0; first < n; first += AT_ONCE) {
        const int count = (int)cbe_min_size(AT_ONCE, n - first);
        double *part = x + first;
        reduce(p, part, count, MPI_DOUBLE, MPI_SUM);
        MPI_Bcast(part, count, MPI_DOUBLE, 0, p->comm);
    }
}

/* The MPI_User_function that adds cbe_long_sum. */
static void add_pairs(void *in, void *inout, int *count, MPI_Datatype *type)
{
    const cbe_long_sum *from = in;
    cbe_long_sum *to = inout;
    (void)type;
    for (int i = 0; i < *count; i++) cbe_long_add_sum(&to[i], &from[i]);
}

static void mpi_add_up(const cbe_processes *self, size_t n, cbe_long_sum *sums)
{
    const mpi_processes *p = of(self);
    MPI_Datatype pair;
    MPI_Op add;
    MPI_Type_contiguous(2, MPI_DOUBLE, &pair);
    MPI_Type_commit(&pair);
    MPI_Op_create(add_pairs, 1, &add);
    for (size_t first = 0; first < n; first += AT_ONCE) {
        const int count = (int)cbe_min_size(AT_ONCE, n - first);
        cbe_long_sum *part = sums + first;
        reduce(p, part, count, pair, add);
        /* The way back takes rounded doubles, packed at the front of the pairs. */
        double *values = (double *)(void *)part;
        for (int i = 0; p->head.rank == 0 && i < count; i++) values[i] = cbe_long_value(&part[i]);
        MPI_Bcast(values, count, MPI_DOUBLE, 0, p->comm);
        for (int i = count; i-- > 0;) part[i] = (cbe_long_sum){values[i], 0};
    }
    MPI_Op_free(&add);
    MPI_Type_free(&pair);
}

static void mpi_broadcast(const cbe_processes *self, size_t from, size_t bytes, void *x)
{
    const mpi_processes *p = of(self);
    for (size_t first = 0; first < bytes; first += BYTES_AT_ONCE)
        MPI_Bcast((char *)x + first, (int)cbe_min_size(BYTES_AT_ONCE, bytes - first), MPI_BYTE,
                  (int)from, p->comm);
}

/* Lengths and places as int, which MPI takes. A list that does not fit ends the job, since the
 * other processes are in the same call. */
static void lay_out(const mpi_processes *p, const size_t *counts, int *lengths, int *places)
{
    size_t place = 0;
    for (size_t r = 0; r < p->head.size; r++) {
        if (place > INT_MAX || counts[r] > INT_MAX) {
            fprintf(stderr, "cbe: process %zu: more than %d elements in one exchange\n",
                    p->head.rank, INT_MAX);
            MPI_Abort(p->comm, 1);
        }
        lengths[r] = (int)counts[r];
        places[r] = (int)place;
        place += counts[r];
    }
}

static void mpi_join(const cbe_processes *self, const double *mine, const size_t *counts,
                     double *all)
{
    const mpi_processes *p = of(self);
    lay_out(p, counts, p->counts, p->places);
    MPI_Allgatherv(mine, p->counts[p->head.rank], MPI_DOUBLE, all, p->counts, p->places, MPI_DOUBLE,
                   p->comm);
}

static void mpi_exchange(const cbe_processes *self, size_t unit, const size_t *counts,
                         const void *to, const size_t *from_counts, void *from)
{
    const mpi_processes *p = of(self);
    MPI_Datatype type;
    lay_out(p, counts, p->counts, p->places);
    lay_out(p, from_counts, p->other_counts, p->other_places);
    MPI_Type_contiguous((int)unit, MPI_BYTE, &type);
    MPI_Type_commit(&type);
    MPI_Alltoallv(to, p->counts, p->places, type, from, p->other_counts, p->other_places, type,
                  p->comm);
    MPI_Type_free(&type);
}

static void mpi_barrier(const cbe_processes *self)
{
    MPI_Barrier(of(self)->comm);
}

static cbe_status mpi_share(const cbe_processes *self, size_t bytes, void **segments, void **handle,
                            cbe_error *err)
{
    MPI_Win *window = cbe_alloc(1, sizeof *window, "shared memory", err);
    const cbe_status st = cbe_processes_agree(self, window ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st != CBE_OK) {
        cbe_free(window);
        return st;
    }
    void *mine;
    MPI_Win_allocate_shared((MPI_Aint)bytes, 1, MPI_INFO_NULL, of(self)->comm, &mine, window);
    for (size_t r = 0; r < self->size; r++) {
        MPI_Aint size;
        int unit;
        MPI_Win_shared_query(*window, (int)r, &size, &unit, &segments[r]);
    }
    *handle = window;
    return CBE_OK;
}

static void mpi_unshare(void *handle)
{
    MPI_Win_free(handle);
    cbe_free(handle);
}

static cbe_status mpi_send(cbe_processes *self, size_t bytes, const void *data, cbe_error *err)
{
    mpi_processes *p = of(self);
    if (bytes > INT_MAX)
        return cbe_fail(err, CBE_ERR_INTERNAL, -1, "a message of %zu bytes is too long", bytes);
    finish_sending(p);
    if (!(p->sent = cbe_alloc(bytes, 1, "message", err))) return CBE_ERR_NOMEM;
    memcpy(p->sent, data, bytes);
    MPI_Isend(p->sent, (int)bytes, MPI_BYTE, 0, MESSAGE_TAG, p->comm, &p->request);
    return CBE_OK;
}

static cbe_status mpi_receive(const cbe_processes *self, bool wait, size_t *from, size_t *bytes,
                              void **data, cbe_error *err)
{
    const mpi_processes *p = of(self);
    MPI_Status status;
    int there = 1, length;
    if (wait)
        MPI_Probe(MPI_ANY_SOURCE, MESSAGE_TAG, p->comm, &status);
    else
        MPI_Iprobe(MPI_ANY_SOURCE, MESSAGE_TAG, p->comm, &there, &status);
    if (!there) return CBE_OK;
    MPI_Get_count(&status, MPI_BYTE, &length);
    void *message = cbe_alloc((size_t)length, 1, "message", err);
    if (!message) return CBE_ERR_NOMEM;
    MPI_Recv(message, length, MPI_BYTE, status.MPI_SOURCE, MESSAGE_TAG, p->comm, MPI_STATUS_IGNORE);
    *from = (size_t)status.MPI_SOURCE;
    *bytes = (size_t)length;
    *data = message;
    return CBE_OK;
}

static cbe_status mpi_split(cbe_processes **out, const cbe_processes *self, size_t size,
                            cbe_error *err);

static const cbe_transport transport = {
    mpi_split,    mpi_destroy, mpi_abort, mpi_sum,     mpi_add_up, mpi_broadcast, mpi_join,
    mpi_exchange, mpi_barrier, mpi_share, mpi_unshare, mpi_send,   mpi_receive};

/* Makes *out from comm, which *out owns. world: comm is MPI_COMM_WORLD. */
static cbe_status wrap(cbe_processes **out, MPI_Comm comm, bool world, cbe_error *err)
{
    int rank, size, on_machine;
    MPI_Comm machine;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    MPI_Comm_size(machine, &on_machine);
    MPI_Comm_free(&machine);
    mpi_processes *p = cbe_alloc_zero(1, sizeof *p, "processes", err);
    if (p) {
        p->head = (cbe_processes){&transport, (size_t)rank, (size_t)size, (size_t)on_machine};
        p->comm = comm;
        p->world = world;
        int **scratch[] = {&p->counts, &p->places, &p->other_counts, &p->other_places};
        for (size_t i = 0; i < sizeof scratch / sizeof *scratch; i++)
            if (!(*scratch[i] = cbe_alloc(p->head.size, sizeof(int), "processes", err))) {
                mpi_destroy(&p->head);
                return CBE_ERR_NOMEM;
            }
    }
    *out = p ? &p->head : NULL;
    return p ? CBE_OK : CBE_ERR_NOMEM;
}

static cbe_status mpi_split(cbe_processes **out, const cbe_processes *self, size_t size,
                            cbe_error *err)
{
    MPI_Comm comm;
    if (size == 0 || self->size % size != 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%zu processes cannot be divided into groups of %zu",
                        self->size, size);
    if (size == 1) return CBE_OK;
    MPI_Comm_split(of(self)->comm, (int)(self->rank / size), (int)self->rank, &comm);
    return wrap(out, comm, false, err);
}

cbe_status cbe_mpi_start(cbe_processes **out, cbe_error *err)
{
    int threads, size;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &threads) != MPI_SUCCESS ||
        threads < MPI_THREAD_FUNNELED)
        return cbe_fail(err, CBE_ERR_INTERNAL, -1,
                        "MPI could not be started for processes with threads");
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size > 1) return wrap(out, MPI_COMM_WORLD, true, err);
    MPI_Finalize();
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "started as one of several processes by another MPI than %s, with which cbe is "
                    "built: use its own mpirun",
                    cbe_mpi_library());
}

const char *cbe_mpi_library(void)
{
#ifdef OPEN_MPI
    static char name[48];
    snprintf(name, sizeof name, "Open MPI %d.%d.%d", OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION,
             OMPI_RELEASE_VERSION);
    return name;
#elif defined MPICH_VERSION
    return "MPICH " MPICH_VERSION;
#else
    return "MPI";
#endif
}
