/* starts.h - directions that a search starts from. */
#ifndef CBE_SEARCH_STARTS_H
#define CBE_SEARCH_STARTS_H

#include <stddef.h>

/** Where a start of a vector's search came from. */
typedef enum {
    CBE_FROM_RANDOM = 0,
    CBE_FROM_GIVEN,       /* a basis that the caller gave */
    CBE_FROM_LENS,        /* a vector of the lens's basis at the same site */
    CBE_FROM_BOTH,        /* eigenvector of what logits answer to and how states vary, added */
    CBE_FROM_UNEMBEDDING, /* singular direction of the unembedding as the lens sees it */
    CBE_FROM_COMPONENT,   /* principal component of D_n / |h_n| */
    CBE_FROM_TOKEN,       /* D_n of one token */
    CBE_FROM_ENTRY,       /* what moves the logit of one vocabulary entry */
    CBE_FROM_IDENTITY,    /* a column of the identity */
    CBE_FROM_RUNNER_UP,   /* a maximum that the search for the vector before met and did not take */
    CBE_N_START_KINDS
} cbe_start_kind;

/* "random", "given", "lens", ... "runner-up" */
const char *cbe_start_kind_name(cbe_start_kind kind);

/** Directions to start from, any length, best kinds first. */
typedef struct {
    size_t n;
    const double *v;             /* (n, d) */
    const cbe_start_kind *kinds; /* (n) */
} cbe_start_list;

#endif
