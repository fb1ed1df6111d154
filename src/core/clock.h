/*
 * clock.h - seconds, for reports and for being heard (core/pulse.h); no result depends on them.
 */
#ifndef CBE_CORE_CLOCK_H
#define CBE_CORE_CLOCK_H

#include <time.h>

/** Seconds since a fixed moment; the clock never goes back. */
static inline double cbe_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
