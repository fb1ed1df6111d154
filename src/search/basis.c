/* basis.c - see basis.h. */
#include "search/basis.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"

void cbe_basis_free(cbe_basis *basis)
{
    cbe_free(basis->vectors);
    cbe_free(basis->records);
    *basis = (cbe_basis){0};
}

static double sort_key(double energy)
{
    return isfinite(energy) ? energy : -HUGE_VAL;
}

cbe_status cbe_basis_make(cbe_basis *out, size_t d, size_t n, const double *found,
                          const cbe_vector_record *records, cbe_error *err)
{
    cbe_basis b = {.hidden_size = d, .n_vectors = n};
    b.vectors = cbe_alloc(n * d, sizeof(double), "basis", err);
    b.records = cbe_alloc(n, sizeof *b.records, "basis", err);
    if (!b.vectors || !b.records) {
        cbe_basis_free(&b);
        return CBE_ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        size_t rank = 0;
        const double energy = sort_key(records[i].energy);
        for (size_t j = 0; j < n; j++) {
            const double other = sort_key(records[j].energy);
            rank += other > energy || (j < i && other == energy);
        }
        b.records[rank] = records[i];
        memcpy(b.vectors + rank * d, found + i * d, d * sizeof(double));
    }
    *out = b;
    return CBE_OK;
}
