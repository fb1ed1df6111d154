/* stored_point.c - see stored_point.h. */
#include "extract/stored_point.h"

#include "core/memory.h"

void cbe_stored_point_free(cbe_stored_point *p)
{
    void *owned[] = {p->vectors, p->runner_ups, p->energies, p->records, p->kinds};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    *p = (cbe_stored_point){0};
}

cbe_status cbe_stored_point_make(cbe_stored_point *p, size_t d, size_t n, size_t m, cbe_error *err)
{
    cbe_stored_point_free(p);
    p->vectors = cbe_alloc(n, d * sizeof *p->vectors, "point of a search", err);
    p->records = cbe_alloc_zero(n, sizeof *p->records, "point of a search", err);
    p->runner_ups = cbe_alloc(m, d * sizeof *p->runner_ups, "point of a search", err);
    p->energies = cbe_alloc(m, sizeof *p->energies, "point of a search", err);
    p->kinds = cbe_alloc(m, sizeof *p->kinds, "point of a search", err);
    if (!p->vectors || !p->records || !p->runner_ups || !p->energies || !p->kinds) {
        cbe_stored_point_free(p);
        return CBE_ERR_NOMEM;
    }
    p->view = (cbe_search_point){.hidden_size = d,
                                 .n_vectors = n,
                                 .vectors = p->vectors,
                                 .records = p->records,
                                 .n_runner_ups = m,
                                 .runner_ups = p->runner_ups,
                                 .runner_up_energies = p->energies,
                                 .runner_up_kinds = p->kinds};
    return CBE_OK;
}
