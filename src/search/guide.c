/*
 * guide.c - see guide.h.
 *
 * Second-order energies are forms of degree four in v that are nowhere negative, so a climb is
 * v <- grad E / |grad E|, which never overshoots far (leaps.c): all starts side by side.
 */
#include "search/guide.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "search/rules.h"

struct cbe_proposals {
    const cbe_search_guide *guide;
    size_t n;         /* starts of the climbs in work */
    double *v;        /* (CBE_GUIDE_BATCH, d), where they stand */
    double *grad;     /* (CBE_GUIDE_BATCH, d) */
    double *a, *by_a; /* (CBE_GUIDE_BATCH, m): coefficients, gradients in them */
    double *removed;  /* (n_vectors, m): coefficients of the vectors found */
    double energy[CBE_GUIDE_BATCH];
    cbe_start_kind kinds[CBE_GUIDE_BATCH];
    cbe_maxima best; /* of both halves */
};

void cbe_proposals_free(cbe_proposals *p)
{
    if (!p) return;
    double *owned[] = {p->v, p->grad, p->a, p->by_a, p->removed};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    cbe_maxima_free(&p->best);
    cbe_free(p);
}

cbe_status cbe_proposals_create(cbe_proposals **out, const cbe_search *s, cbe_error *err)
{
    static const char what[] = "search";
    const size_t d = s->d, m = s->options->guide->m;
    cbe_proposals *p = cbe_alloc_zero(1, sizeof *p, what, err);
    if (!p) return CBE_ERR_NOMEM;
    p->guide = s->options->guide;
    p->v = cbe_alloc(CBE_GUIDE_BATCH, d * sizeof *p->v, what, err);
    p->grad = cbe_alloc(CBE_GUIDE_BATCH, d * sizeof *p->grad, what, err);
    p->a = cbe_alloc(CBE_GUIDE_BATCH, m * sizeof *p->a, what, err);
    p->by_a = cbe_alloc(CBE_GUIDE_BATCH, m * sizeof *p->by_a, what, err);
    p->removed = cbe_alloc(s->n_vectors, m * sizeof *p->removed, what, err);
    if (!p->v || !p->grad || !p->a || !p->by_a || !p->removed ||
        cbe_maxima_init(&p->best, d, err) != CBE_OK) {
        cbe_proposals_free(p);
        return CBE_ERR_NOMEM;
    }
    *out = p;
    return CBE_OK;
}

/* Coefficients (n, m) of directions (n, d). */
static void take_coefficients(const cbe_search_guide *g, size_t d, size_t n, const double *v,
                              double *a)
{
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < g->m; i++)
            a[j * g->m + i] = cbe_sphere_dot(d, g->rows + i * d, v + j * d);
}

/* out = sum of weight_i rows_i (d), weights (m). */
static void combine_rows(const cbe_search_guide *g, size_t d, const double *weights, double *out)
{
    memset(out, 0, d * sizeof *out);
    for (size_t i = 0; i < g->m; i++)
        for (size_t k = 0; k < d; k++) out[k] += weights[i] * g->rows[i * d + k];
}

/* Energies of the climbs, and gradients in v unless NULL. */
static void eval(cbe_proposals *p, size_t d, cbe_samples samples, double *grad)
{
    const cbe_search_guide *g = p->guide;
    take_coefficients(g, d, p->n, p->v, p->a);
    cbe_apart_eval(g->apart, samples, p->n, p->a, p->energy, grad ? p->by_a : NULL);
    for (size_t j = 0; j < p->n && grad; j++) combine_rows(g, d, p->by_a + j * g->m, grad + j * d);
}

static void add_start(cbe_proposals *p, const cbe_search *s, const double *x, cbe_start_kind kind)
{
    const double before = sqrt(cbe_sphere_dot(s->d, x, x));
    if (p->n == CBE_GUIDE_BATCH) return;
    if (!(cbe_sphere_point(&s->sphere, x, p->v + p->n * s->d) >
          cbe_common_rules.none_left * before))
        return;
    p->kinds[p->n++] = kind;
}

/* The subspace's first directions, and random ones within it. */
static void gather(cbe_proposals *p, cbe_search *s)
{
    const cbe_search_guide *g = p->guide;
    p->n = 0;
    for (size_t i = 0; i < g->m && i < cbe_guided_rules.components; i++)
        add_start(p, s, g->rows + i * s->d, CBE_FROM_COMPONENT);
    for (size_t i = 0; i < cbe_guided_rules.random; i++) {
        for (size_t j = 0; j < g->m; j++) p->a[j] = cbe_rng_normal(&s->rng);
        combine_rows(g, s->d, p->a, s->batch_v);
        add_start(p, s, s->batch_v, CBE_FROM_RANDOM);
    }
}

/* One half: climbs, and what the other half says of their ends. */
static void climb(cbe_proposals *p, const cbe_search *s, cbe_samples on, cbe_samples by)
{
    const size_t d = s->d;
    for (size_t t = 0; t < cbe_guided_rules.climb; t++) {
        eval(p, d, on, p->grad);
        for (size_t j = 0; j < p->n; j++) {
            double *grad = p->grad + j * d;
            if (cbe_sphere_point(&s->sphere, grad, grad) > 0)
                memcpy(p->v + j * d, grad, d * sizeof *grad);
        }
    }
    eval(p, d, by, NULL);
    for (size_t j = 0; j < p->n; j++)
        if (isfinite(p->energy[j]))
            cbe_maxima_add(&p->best, p->v + j * d, p->energy[j], p->kinds[j]);
}

const cbe_maximum *cbe_proposals_best(cbe_proposals *p, cbe_search *s)
{
    take_coefficients(p->guide, s->d, s->vector, s->found, p->removed);
    cbe_apart_set_removed(p->guide->apart, s->vector, p->removed);
    p->best.n = 0;
    for (int half = 0; half < 2; half++) {
        gather(p, s);
        climb(p, s, half ? CBE_SAMPLES_ODD : CBE_SAMPLES_EVEN,
              half ? CBE_SAMPLES_EVEN : CBE_SAMPLES_ODD);
    }
    return p->best.n ? &p->best.list[0] : NULL;
}

double cbe_proposals_energy(cbe_proposals *p, const cbe_search *s, size_t n, double *grad)
{
    const cbe_search_guide *g = p->guide;
    const size_t d = s->d, m = g->m;
    double energy = 0;
    take_coefficients(g, d, n, s->found, p->removed);
    for (size_t j = grad ? 0 : n - 1; j < n; j++) {
        /* the last place has the one that is evaluated, the places before it the others */
        memcpy(p->a, p->removed + j * m, m * sizeof *p->a);
        memcpy(p->removed + j * m, p->removed + (n - 1) * m, m * sizeof *p->a);
        cbe_apart_set_removed(g->apart, n - 1, p->removed);
        cbe_apart_eval(g->apart, CBE_SAMPLES_ALL, 1, p->a, &energy, grad ? p->by_a : NULL);
        memcpy(p->removed + (n - 1) * m, p->removed + j * m, m * sizeof *p->a);
        memcpy(p->removed + j * m, p->a, m * sizeof *p->a);
        if (grad) combine_rows(g, d, p->by_a, grad + j * d);
    }
    return energy;
}
