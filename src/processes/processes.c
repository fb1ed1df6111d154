/* processes.c - see processes/processes.h: what a process alone answers, and what is made of a
 * transport's few calls. */
#include "processes/processes.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "processes/long_sums.h"
#include "processes/transport.h"

void cbe_processes_end(cbe_processes *p)
{
    cbe_processes_free(p);
}

void cbe_processes_abort(const cbe_processes *p, int status)
{
    if (p) p->transport->abort(p, status);
}

cbe_status cbe_processes_split(cbe_processes **out, const cbe_processes *p, size_t size,
                               cbe_error *err)
{
    *out = NULL;
    return p ? p->transport->split(out, p, size, err) : CBE_OK;
}

void cbe_processes_free(cbe_processes *p)
{
    if (p) p->transport->destroy(p);
}

size_t cbe_processes_rank(const cbe_processes *p)
{
    return p ? p->rank : 0;
}

size_t cbe_processes_size(const cbe_processes *p)
{
    return p ? p->size : 1;
}

size_t cbe_processes_on_machine(const cbe_processes *p)
{
    return p ? p->on_machine : 1;
}

void cbe_processes_sum(const cbe_processes *p, size_t n, double *x)
{
    if (p) p->transport->sum(p, n, x);
}

void cbe_processes_add_up(const cbe_processes *p, size_t n, cbe_long_sum *sums)
{
    if (p) p->transport->add_up(p, n, sums);
}

void cbe_processes_broadcast(const cbe_processes *p, size_t bytes, void *x)
{
    if (p) p->transport->broadcast(p, 0, bytes, x);
}

enum { LISTED_AT_ONCE = 256 };

/* Numbers of ranks first .. first + n - 1: each is a sum in which all other ranks have 0, exact
 * below 2^53. */
static void list_some(const cbe_processes *p, size_t mine, size_t first, size_t n,
                      double numbers[LISTED_AT_ONCE])
{
    memset(numbers, 0, n * sizeof *numbers);
    if (p->rank >= first && p->rank < first + n) numbers[p->rank - first] = (double)mine;
    p->transport->sum(p, n, numbers);
}

void cbe_processes_list(const cbe_processes *p, size_t mine, size_t *all)
{
    double some[LISTED_AT_ONCE];
    if (!p) all[0] = mine;
    for (size_t first = 0; p && first < p->size; first += LISTED_AT_ONCE) {
        const size_t n = cbe_min_size(LISTED_AT_ONCE, p->size - first);
        list_some(p, mine, first, n, some);
        for (size_t r = 0; r < n; r++) all[first + r] = (size_t)some[r];
    }
}

void cbe_processes_place(const cbe_processes *p, size_t mine, size_t *before, size_t *all)
{
    double some[LISTED_AT_ONCE];
    *before = 0;
    *all = p ? 0 : mine;
    for (size_t first = 0; p && first < p->size; first += LISTED_AT_ONCE) {
        const size_t n = cbe_min_size(LISTED_AT_ONCE, p->size - first);
        list_some(p, mine, first, n, some);
        for (size_t r = 0; r < n; r++) {
            if (first + r < p->rank) *before += (size_t)some[r];
            *all += (size_t)some[r];
        }
    }
}

void cbe_processes_join(const cbe_processes *p, const double *mine, const size_t *counts,
                        double *all)
{
    if (p)
        p->transport->join(p, mine, counts, all);
    else
        memcpy(all, mine, counts[0] * sizeof *all);
}

/* Rows that this process asks of the other processes, and rows that they ask of it. */
typedef struct {
    size_t *counts, *asked; /* (size): number of rows asked of each process, and by each */
    size_t *next;           /* (size): next place in `wanted`, then in `got`, of each owner */
    /* (n): numbers of the rows asked for, by owner; (sum of asked): numbers of the rows asked of
     * this process. */
    size_t *wanted, *numbers;
    float *answers, *got; /* (sum of asked, width), (n, width) */
} rows_trade;

static void free_trade(rows_trade *t)
{
    void *owned[] = {t->counts, t->asked, t->next, t->wanted, t->numbers, t->answers, t->got};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
}

static size_t owner_of(const size_t *first, size_t size, size_t row)
{
    size_t low = 0, high = size; /* first[low] <= row < first[high] */
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (first[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Sorts the wanted rows by owner. cbe_processes_fetch_rows finds the place of row i of `wanted` by
 * the same loop. */
static cbe_status sort_wanted(const cbe_processes *p, const size_t *first, size_t width, size_t n,
                              const size_t *wanted, rows_trade *t, cbe_error *err)
{
    t->counts = cbe_alloc_zero(p->size, sizeof *t->counts, "rows of others", err);
    t->asked = cbe_alloc_zero(p->size, sizeof *t->asked, "rows of others", err);
    t->next = cbe_alloc_zero(p->size, sizeof *t->next, "rows of others", err);
    t->wanted = cbe_alloc(n, sizeof *t->wanted, "rows of others", err);
    t->got = cbe_alloc(n, width * sizeof *t->got, "rows of others", err);
    if (!t->counts || !t->asked || !t->next || !t->wanted || !t->got) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) t->counts[owner_of(first, p->size, wanted[i])]++;
    for (size_t r = 1; r < p->size; r++) t->next[r] = t->next[r - 1] + t->counts[r - 1];
    for (size_t i = 0; i < n; i++)
        t->wanted[t->next[owner_of(first, p->size, wanted[i])]++] = wanted[i];
    return CBE_OK;
}

/* Copies the rows that other processes asked for into t->answers. */
static cbe_status answer(const cbe_processes *p, size_t own, size_t width, const float *rows,
                         rows_trade *t, cbe_error *err)
{
    size_t total = 0;
    for (size_t r = 0; r < p->size; r++) total += t->asked[r];
    t->numbers = cbe_alloc(total, sizeof *t->numbers, "rows of others", err);
    t->answers = cbe_alloc(total, width * sizeof *t->answers, "rows of others", err);
    const cbe_status st =
        cbe_processes_agree(p, t->numbers && t->answers ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st != CBE_OK) return st;
    p->transport->exchange(p, sizeof *t->numbers, t->counts, t->wanted, t->asked, t->numbers);
    for (size_t i = 0; i < total; i++)
        memcpy(t->answers + i * width, rows + (t->numbers[i] - own) * width, width * sizeof *rows);
    return CBE_OK;
}

cbe_status cbe_processes_fetch_rows(const cbe_processes *p, const size_t *first, size_t width,
                                    const float *rows, size_t n, const size_t *wanted, float *out,
                                    cbe_error *err)
{
    rows_trade t = {0};
    if (!p) {
        for (size_t i = 0; i < n; i++)
            memcpy(out + i * width, rows + wanted[i] * width, width * sizeof *out);
        return CBE_OK;
    }
    size_t *ones = cbe_alloc(p->size, sizeof *ones, "rows of others", err);
    cbe_status st = ones ? sort_wanted(p, first, width, n, wanted, &t, err) : CBE_ERR_NOMEM;
    if ((st = cbe_processes_agree(p, st, err)) != CBE_OK) goto done;
    for (size_t r = 0; r < p->size; r++) ones[r] = 1;
    p->transport->exchange(p, sizeof *t.counts, ones, t.counts, ones, t.asked);
    if ((st = answer(p, first[p->rank], width, rows, &t, err)) != CBE_OK) goto done;
    p->transport->exchange(p, width * sizeof *rows, t.asked, t.answers, t.counts, t.got);
    t.next[0] = 0;
    for (size_t r = 1; r < p->size; r++) t.next[r] = t.next[r - 1] + t.counts[r - 1];
    for (size_t i = 0; i < n; i++)
        memcpy(out + i * width, t.got + t.next[owner_of(first, p->size, wanted[i])]++ * width,
               width * sizeof *out);
done:
    cbe_free(ones);
    free_trade(&t);
    return st;
}

void cbe_processes_barrier(const cbe_processes *p)
{
    if (p) p->transport->barrier(p);
}

/* segments[size] is the transport's handle. */
cbe_status cbe_processes_share(const cbe_processes *p, size_t bytes, void ***segments,
                               cbe_error *err)
{
    *segments = NULL;
    if (!p || p->on_machine != p->size) return CBE_OK;
    void **made = cbe_alloc_zero(p->size + 1, sizeof *made, "shared memory", err);
    cbe_status st = cbe_processes_agree(p, made ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK) st = p->transport->share(p, bytes, made, &made[p->size], err);
    if (st == CBE_OK)
        *segments = made;
    else
        cbe_free(made);
    return st;
}

void cbe_processes_unshare(const cbe_processes *p, void **segments)
{
    if (!segments) return;
    p->transport->unshare(segments[p->size]);
    cbe_free(segments);
}

cbe_status cbe_processes_agree(const cbe_processes *p, cbe_status st, cbe_error *err)
{
    if (!p) return st;
    double failed = st != CBE_OK;
    p->transport->sum(p, 1, &failed);
    if (failed == 0) return CBE_OK;
    /* Each rank broadcasts its status and message until one has failed, which is rare. */
    cbe_error shared = {.code = st, .offset = -1};
    if (st != CBE_OK && err) shared = *err;
    size_t lowest = p->size;
    for (size_t r = 0; r < p->size && lowest == p->size; r++) {
        cbe_error theirs = shared;
        p->transport->broadcast(p, r, sizeof theirs, &theirs);
        if (theirs.code == CBE_OK) continue;
        lowest = r;
        shared = theirs;
    }
    if (lowest == 0) {
        if (err) *err = shared;
        return shared.code;
    }
    return cbe_fail_as(err, &shared, "process %zu: ", lowest);
}

cbe_status cbe_processes_send(cbe_processes *p, size_t bytes, const void *data, cbe_error *err)
{
    return p ? p->transport->send(p, bytes, data, err) : CBE_OK;
}

cbe_status cbe_processes_receive(const cbe_processes *p, bool wait, size_t *from, size_t *bytes,
                                 void **data, cbe_error *err)
{
    *data = NULL;
    return p ? p->transport->receive(p, wait, from, bytes, data, err) : CBE_OK;
}
