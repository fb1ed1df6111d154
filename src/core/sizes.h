/*
 * sizes.h - arithmetic of sizes that every subject needs.
 */
#ifndef CBE_CORE_SIZES_H
#define CBE_CORE_SIZES_H

#include <stdint.h>

#include "core/memory.h"

static inline size_t cbe_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t cbe_max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/** a b c, or SIZE_MAX on overflow, which no allocation can satisfy. */
static inline size_t cbe_times(size_t a, size_t b, size_t c)
{
    size_t product;
    return cbe_mul_size(a, b, &product) && cbe_mul_size(product, c, &product) ? product : SIZE_MAX;
}

#endif
