/* maxima.c - see maxima.h. */
#include "search/maxima.h"

#include <math.h>
#include <string.h>

#include "search/rules.h"
#include "search/sphere.h"
#include "core/memory.h"

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

static bool is_same(size_t d, const double *a, const double *b)
{
    return fabs(cbe_sphere_dot(d, a, b)) > cbe_common_rules.same_maximum;
}

void cbe_maxima_add(cbe_maxima *m, const double *v, double energy, cbe_start_kind kind)
{
    size_t at = 0;
    while (at < m->n && !is_same(m->d, v, m->list[at].v)) at++;
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
