/* maxima.h - a list of distinct maxima on a sphere, the highest first, of bounded length. */
#ifndef CBE_SEARCH_MAXIMA_H
#define CBE_SEARCH_MAXIMA_H

#include <stddef.h>

#include "cbe/status.h"
#include "search/point.h"

enum { CBE_MAXIMA_MOST = CBE_RUNNER_UPS_MOST };

typedef struct {
    double *v; /* (d), unit */
    double energy;
    cbe_start_kind kind; /* kind of the start that led here */
} cbe_maximum;

typedef struct {
    size_t d, n;
    cbe_maximum list[CBE_MAXIMA_MOST];
    double *memory; /* (CBE_MAXIMA_MOST, d), owned: the directions */
} cbe_maxima;

cbe_status cbe_maxima_init(cbe_maxima *maxima, size_t d, cbe_error *err);
void cbe_maxima_free(cbe_maxima *maxima); /* a zeroed one is allowed */

/** Adds a maximum; v is copied. If the list has the maximum already, up to its sign, the one with
 * the higher energy stays. A full list loses its lowest maximum. */
void cbe_maxima_add(cbe_maxima *maxima, const double *v, double energy, cbe_start_kind kind);
/** Adds all maxima of another list. */
void cbe_maxima_add_all(cbe_maxima *maxima, const cbe_maxima *other);
/** Removes the maximum at a place. */
void cbe_maxima_remove(cbe_maxima *maxima, size_t place);

#endif
