/* within.c - see within.h. */
#include "extract/within.h"

#include "search/rules.h"
#include "core/sizes.h"

size_t cbe_within_auto(size_t n_vectors, size_t rank)
{
    const size_t half = rank / cbe_within_rules.rank_share;
    if (n_vectors == 0 || n_vectors > half / cbe_within_rules.for_each) return 0;
    const size_t wanted =
        cbe_max_size(cbe_within_rules.components, n_vectors * cbe_within_rules.for_each);
    return cbe_min_size(wanted, half);
}
