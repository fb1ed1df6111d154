/* influence.c - see fidelity/influence.h. */
#include "fidelity/influence.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/sizes.h"
#include "math/random.h"

enum {
    LEAST = 3,    /* directions: of two the correlation is 1 or -1, whatever the lens */
    DRAWS = 2000, /* of the bootstrap */
    SEED = 1
};

static const double tail = 0.025; /* share of draws outside the interval on each side */

/* Sorts places by their numbers: by heaps, in place, since directions may be many. */
static void sift(size_t n, const double *x, size_t *order, size_t root)
{
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && x[order[child + 1]] > x[order[child]]) child++;
        if (!(x[order[child]] > x[order[root]])) return;
        const size_t top = order[root];
        order[root] = order[child];
        order[child] = top;
    }
}

void cbe_ranks(size_t n, const double *x, size_t *order, double *ranks)
{
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = n / 2; i-- > 0;) sift(n, x, order, i);
    for (size_t end = n; end-- > 1;) {
        const size_t top = order[0];
        order[0] = order[end];
        order[end] = top;
        sift(end, x, order, 0);
    }
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && x[order[end]] == x[order[first]]; end++) {
        }
        /* the mean of first + 1 .. end */
        for (size_t i = first; i < end; i++) ranks[order[i]] = (double)(first + 1 + end) / 2;
    }
}

double cbe_correlation(size_t n, const double *x, const double *y)
{
    double x_mean = 0, y_mean = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        x_mean += x[i] / (double)n;
        y_mean += y[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        const double dx = x[i] - x_mean, dy = y[i] - y_mean;
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    return xx > 0 && yy > 0 ? fmax(-1, fmin(1, xy / sqrt(xx * yy))) : NAN;
}

/* Lists of n numbers each. */
typedef struct {
    double *x, *y, *x_ranks, *y_ranks;
    size_t *order;
} rank_room;

static double spearman(size_t n, const double *x, const double *y, const rank_room *room)
{
    cbe_ranks(n, x, room->order, room->x_ranks);
    cbe_ranks(n, y, room->order, room->y_ranks);
    return cbe_correlation(n, room->x_ranks, room->y_ranks);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

cbe_status cbe_influence_measure(cbe_influence *out, size_t n, const double *lens,
                                 const double *model, cbe_error *err)
{
    *out = (cbe_influence){n, NAN, NAN, NAN};
    if (n < LEAST) return CBE_OK;
    double *lists = cbe_alloc(n, 4 * sizeof *lists, "ranks", err),
           *draws = cbe_alloc(DRAWS, sizeof *draws, "ranks", err);
    size_t *order = cbe_alloc(n, sizeof *order, "ranks", err), known = 0;
    const cbe_status st = lists && draws && order ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        const rank_room room = {lists, lists + n, lists + 2 * n, lists + 3 * n, order};
        out->spearman = spearman(n, lens, model, &room);
        for (size_t draw = 0; draw < DRAWS; draw++) {
            for (size_t i = 0; i < n; i++) {
                const size_t taken = (size_t)(cbe_random_at(SEED, draw, i, 0) * (double)n);
                room.x[i] = lens[cbe_min_size(taken, n - 1)];
                room.y[i] = model[cbe_min_size(taken, n - 1)];
            }
            const double value = spearman(n, room.x, room.y, &room);
            if (!isnan(value)) draws[known++] = value; /* else one direction was drawn n times */
        }
    }
    if (known > DRAWS / 2) {
        qsort(draws, known, sizeof *draws, compare);
        const double last = (double)(known - 1);
        out->low = draws[(size_t)(tail * last)];
        out->high = draws[known - 1 - (size_t)(tail * last)];
    }
    cbe_free(lists);
    cbe_free(draws);
    cbe_free(order);
    return st;
}
