/* quantised_load.h - numbers of quantised blocks, which lie at any address. */
#ifndef CBE_FORMATS_QUANTISED_LOAD_H
#define CBE_FORMATS_QUANTISED_LOAD_H

#include <stdint.h>
#include <string.h>

#include "formats/half.h"

static inline uint16_t cbe_load_short(const unsigned char *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t cbe_load_word(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline float cbe_load_half(const unsigned char *at)
{
    return cbe_float_of_half(cbe_load_short(at));
}

#endif
