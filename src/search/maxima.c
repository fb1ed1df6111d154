/* maxima.c - see maxima.h. */
#include "search/maxima.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"

/* Two directions with a |cosine| above are the same maximum. */
static const double SAME = 0.99;

cbe_status cbe_maxima_init(cbe_maxima *maxima, size_t d, cbe_error *err)
{
    maxima->d = d;
    maxima->n = 0;
    maxima->memory = cbe_alloc(d, CBE_MAXIMA_MOST * sizeof(double), "maxima", err);
    if (!maxima->memory) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < CBE_MAXIMA_MOST; i++) maxima->list[i].v = maxima->memory + i * d;
    return CBE_OK;
}

void cbe_maxima_free(cbe_maxima *maxima)
{
    cbe_free(maxima->memory);
    *maxima = (cbe_maxima){0};
}

static double cosine(size_t d, const double *a, const double *b)
{
    double sum = 0;
    for (size_t k = 0; k < d; k++) sum += a[k] * b[k];
    return fabs(sum);
}

void cbe_maxima_add(cbe_maxima *m, const double *v, double energy, cbe_start_kind kind)
{
    size_t at = 0;
    while (at < m->n && !(cosine(m->d, v, m->list[at].v) > SAME)) at++;
    const size_t lowest = CBE_MAXIMA_MOST - 1;
    if (at > lowest) at = lowest;
    if (at < m->n && energy <= m->list[at].energy) return;
    if (at == m->n) m->n++;
    m->list[at].energy = energy;
    m->list[at].kind = kind;
    memcpy(m->list[at].v, v, m->d * sizeof *v);
    for (; at > 0 && m->list[at].energy > m->list[at - 1].energy; at--) {
        const cbe_maximum t = m->list[at];
        m->list[at] = m->list[at - 1];
        m->list[at - 1] = t;
    }
}

void cbe_maxima_add_all(cbe_maxima *maxima, const cbe_maxima *other)
{
    for (size_t i = 0; i < other->n; i++)
        cbe_maxima_add(maxima, other->list[i].v, other->list[i].energy, other->list[i].kind);
}

void cbe_maxima_remove(cbe_maxima *m, size_t place)
{
    const cbe_maximum removed = m->list[place]; /* its memory stays in use */
    memmove(&m->list[place], &m->list[place + 1], (m->n - place - 1) * sizeof *m->list);
    m->list[--m->n] = removed;
}
