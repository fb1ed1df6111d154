/* guide.h - what the guided search looks at in place of the energy: second-order energies in a
 * subspace, which cost a ten-thousandth of an evaluation of the model. */
#ifndef CBE_SEARCH_GUIDE_H
#define CBE_SEARCH_GUIDE_H

#include "fisher/apart.h"
#include "search/maxima.h"
#include "search/state.h"

enum { CBE_GUIDE_BATCH = 32 }; /* max_batch of the second-order energies */

/** Borrowed: the energies are of coefficients a, which stand for the direction sum a_i rows_i. */
struct cbe_search_guide {
    cbe_apart *apart;   /* one search at a time: what is removed is set in it */
    size_t m;           /* dimensions of the subspace */
    const double *rows; /* (m, d) orthonormal, the most important first */
};

typedef struct cbe_proposals cbe_proposals; /* room for climbs of a guide */

cbe_status cbe_proposals_create(cbe_proposals **out, const cbe_search *s, cbe_error *err);
void cbe_proposals_free(cbe_proposals *proposals); /* NULL is allowed */
/** Second-order energy of removing the first n vectors of s->found together, by all samples.
 * @param grad  [out] (n, d) gradients in each of them; NULL: not wanted */
double cbe_proposals_energy(cbe_proposals *proposals, const cbe_search *s, size_t n, double *grad);
/** Climbs on either half of the samples from many starts, and judges where climbs end by the other
 * half. Energies are of removing the direction together with the vectors s->found before s->vector.
 * @return the best direction on s->sphere, with the energy of the half that it did not climb on,
 * borrowed until the next call; NULL: there is none */
const cbe_maximum *cbe_proposals_best(cbe_proposals *proposals, cbe_search *s);

#endif
