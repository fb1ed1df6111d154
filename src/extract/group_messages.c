/* group_messages.c - see group_messages.h. A message is a header and lists, whose lengths the
 * header says. */
#include "extract/group_messages.h"

#include <string.h>

#include "extract/checkpoint_rows.h"
#include "core/fail.h"
#include "core/memory.h"

typedef struct {
    size_t kind, layer, hidden_size, n_vectors, n_runner_ups;
    uint64_t random[4];
    double layer_numbers[CBE_ROW_LAYER];
    bool has_mean, has_read;
    cbe_error why;
} header;

/* A message being put together, or taken apart. */
typedef struct {
    unsigned char *bytes;
    size_t size, at;
} message;

enum { LISTS = 5 };

typedef struct {
    const void *data;
    size_t bytes;
} list;

static cbe_status tell(cbe_processes *run, const header *head, size_t n, const list *lists,
                       cbe_error *err)
{
    message m = {.size = sizeof *head};
    for (size_t i = 0; i < n; i++) m.size += lists[i].bytes;
    if (!(m.bytes = cbe_alloc(m.size, 1, "message", err))) return CBE_ERR_NOMEM;
    memcpy(m.bytes, head, sizeof *head);
    m.at = sizeof *head;
    for (size_t i = 0; i < n; i++) {
        if (lists[i].bytes) memcpy(m.bytes + m.at, lists[i].data, lists[i].bytes);
        m.at += lists[i].bytes;
    }
    const cbe_status st = cbe_processes_send(run, m.size, m.bytes, err);
    cbe_free(m.bytes);
    return st;
}

/* Returns a header of zeros, in its padding too. */
static header blank(cbe_heard_kind kind)
{
    header head;
    memset(&head, 0, sizeof head);
    head.kind = kind;
    return head;
}

cbe_status cbe_tell_point(cbe_processes *run, size_t layer, const cbe_search_point *p,
                          cbe_error *err)
{
    const size_t row = p->hidden_size * sizeof(double), n = p->n_vectors, m = p->n_runner_ups;
    const list lists[LISTS] = {{p->vectors, n * row},
                               {p->records, n * sizeof *p->records},
                               {p->runner_ups, m * row},
                               {p->runner_up_energies, m * sizeof *p->runner_up_energies},
                               {p->runner_up_kinds, m * sizeof *p->runner_up_kinds}};
    header head = blank(CBE_HEARD_POINT);
    head.layer = layer;
    head.hidden_size = p->hidden_size;
    head.n_vectors = n;
    head.n_runner_ups = m;
    memcpy(head.random, p->random, sizeof head.random);
    return tell(run, &head, LISTS, lists, err);
}

cbe_status cbe_tell_result(cbe_processes *run, const cbe_layer_result *result, cbe_error *err)
{
    const cbe_basis *b = &result->basis;
    const size_t row = b->hidden_size * sizeof(double);
    const list lists[] = {{b->vectors, b->n_vectors * row},
                          {b->records, b->n_vectors * sizeof *b->records},
                          {result->reports, b->n_vectors * sizeof *result->reports},
                          {result->controls, sizeof result->controls},
                          {result->mean, result->mean ? row : 0},
                          {result->read, result->read ? b->n_vectors * row : 0},
                          {result->write, result->write ? b->n_vectors * row : 0}};
    header head = blank(CBE_HEARD_RESULT);
    head.layer = result->layer;
    head.hidden_size = b->hidden_size;
    head.n_vectors = b->n_vectors;
    cbe_row_of_layer(result, head.layer_numbers);
    head.has_mean = result->mean;
    head.has_read = result->read && result->write;
    return tell(run, &head, sizeof lists / sizeof *lists, lists, err);
}

cbe_status cbe_tell_end(cbe_processes *run, cbe_status st, const cbe_error *why, cbe_error *err)
{
    header head = blank(CBE_HEARD_END);
    if (st != CBE_OK) head.why = *why;
    return tell(run, &head, 0, NULL, err);
}

/* Takes a list of some bytes; false: the message is too short. */
static bool take(message *m, void *to, size_t bytes)
{
    if (bytes > m->size - m->at) return false;
    if (bytes) memcpy(to, m->bytes + m->at, bytes);
    m->at += bytes;
    return true;
}

static cbe_status take_point(message *m, const header *head, cbe_stored_point *p, bool *whole,
                             cbe_error *err)
{
    const size_t row = head->hidden_size * sizeof(double), n = head->n_vectors,
                 k = head->n_runner_ups;
    const cbe_status st = cbe_stored_point_make(p, head->hidden_size, n, k, err);
    if (st != CBE_OK) return st;
    memcpy(p->view.random, head->random, sizeof head->random);
    *whole = take(m, p->vectors, n * row) && take(m, p->records, n * sizeof *p->records) &&
             take(m, p->runner_ups, k * row) && take(m, p->energies, k * sizeof *p->energies) &&
             take(m, p->kinds, k * sizeof *p->kinds);
    return CBE_OK;
}

static cbe_status take_result(message *m, const header *head, cbe_layer_result *r, bool *whole,
                              cbe_error *err)
{
    const size_t row = head->hidden_size * sizeof(double), n = head->n_vectors;
    *r = (cbe_layer_result){.layer = head->layer};
    r->basis = (cbe_basis){.hidden_size = head->hidden_size, .n_vectors = n};
    *whole = cbe_layer_of_row(head->layer_numbers, r);
    r->basis.vectors = cbe_alloc(n, row, "result of a layer", err);
    r->basis.records = cbe_alloc(n, sizeof *r->basis.records, "result of a layer", err);
    r->reports = cbe_alloc(n, sizeof *r->reports, "result of a layer", err);
    if (!r->basis.vectors || !r->basis.records || !r->reports) return CBE_ERR_NOMEM;
    if ((head->has_mean && !(r->mean = cbe_alloc(1, row, "result of a layer", err))) ||
        (head->has_read && (!(r->read = cbe_alloc(n, row, "result of a layer", err)) ||
                            !(r->write = cbe_alloc(n, row, "result of a layer", err)))))
        return CBE_ERR_NOMEM;
    *whole = *whole && take(m, r->basis.vectors, n * row) &&
             take(m, r->basis.records, n * sizeof *r->basis.records) &&
             take(m, r->reports, n * sizeof *r->reports) &&
             take(m, r->controls, sizeof r->controls) &&
             (!head->has_mean || take(m, r->mean, row)) &&
             (!head->has_read || (take(m, r->read, n * row) && take(m, r->write, n * row)));
    return CBE_OK;
}

cbe_status cbe_hear(const cbe_processes *run, bool wait, cbe_heard *heard, cbe_error *err)
{
    header head;
    message m = {0};
    void *data;
    cbe_status st = cbe_processes_receive(run, wait, &heard->from, &m.size, &data, err);
    if (st != CBE_OK || !data) return st;
    m.bytes = data;
    bool whole = take(&m, &head, sizeof head);
    if (whole) {
        heard->kind = (cbe_heard_kind)head.kind;
        heard->layer = head.layer;
        heard->why = head.why;
        if (heard->kind == CBE_HEARD_POINT) st = take_point(&m, &head, &heard->point, &whole, err);
        if (heard->kind == CBE_HEARD_RESULT)
            st = take_result(&m, &head, &heard->result, &whole, err);
    }
    if (st == CBE_OK && (!whole || m.at != m.size))
        st = cbe_fail(err, CBE_ERR_INTERNAL, -1, "process %zu runs another version of cbe",
                      heard->from);
    cbe_free(data);
    return st;
}

void cbe_heard_free(cbe_heard *heard)
{
    cbe_stored_point_free(&heard->point);
    cbe_layer_results_free(1, &heard->result);
    *heard = (cbe_heard){0};
}
