/* row.c - see row.h. Formulas: state.h, docs/maths.md. */
#include "objective/lens/row.h"

#include <math.h>
#include <string.h>

/* Sums of e within these bounds have neither overflowed nor lost terms. */
static const double SUM_MIN = 1e-20, SUM_MAX = 1e20;
/* Exponents of two between which kernels need not clamp: 2^126 may still be added up in float, and
 * a kernel's own products with 2^-115 are still normal. Rows that begin below RAISE_BELOW are
 * raised by a level, since sums have smaller products. */
static const double LOW_EXPONENT = -115, HIGH_EXPONENT = 100, RAISE_BELOW = -90,
                    HIGH_RAISED_EXPONENT = 90;

/* From the sums over V of one row to its energy and the factors of its gradient. p_*, q_*:
 * expectations of y = Z - c u and of u under p and q, times the cap's slope when capped. */
static void finish_row(const cbe_lens_setup *setup, const cbe_lens_work *work, size_t direction,
                       size_t token, const cbe_lens_shift *shift, double energy, double p_y,
                       double q_y, double p_u, double q_u, cbe_lens_row *out)
{
    const double d = (double)setup->hidden_size, c = shift->c, r = shift->inverse_s;
    const double by_s = (p_y - q_y) * r * r; /* d KL / d s' */
    out->energy = energy;
    out->weight = c * r;
    out->xc_coeff = -by_s * c * r / d;
    if (shift->exact) {
        out->ac_coeff = 0; /* xc_coeff multiplies xc - c ac itself, see cbe_lens_exact_pass */
        out->c_coeff = (p_u - q_u) * r - by_s * shift->left_ac * r / d;
    } else {
        const double left_ac =
            work->x_dot[direction * setup->n_tokens + token] - c * work->ac_norm2[direction];
        out->ac_coeff = -out->xc_coeff * c;
        out->c_coeff = (p_u - q_u) * r - by_s * left_ac * r / d;
    }
}

cbe_lens_exp_factors cbe_lens_factors(const cbe_lens_view *view, const cbe_lens_work *work,
                                      size_t direction, const cbe_lens_row_source *source)
{
    const float a = (float)(source->scale * CBE_LOG2E), c = (float)source->c;
    const double by_low = (double)c * work->u_low[direction],
                 by_high = (double)c * work->u_high[direction];
    const double highest = a * (source->high - fmin(by_low, by_high)) + view->offset_high;
    const double lowest = a * (source->low - fmax(by_low, by_high)) + view->offset_low;
    const double wanted = ceil(RAISE_BELOW - lowest), room = floor(HIGH_RAISED_EXPONENT - highest);
    const double level = fmax(0, fmin(wanted, room)); /* logits of SmolLM2 go 100 nats down */
    if (lowest + level > LOW_EXPONENT && highest + level < HIGH_EXPONENT)
        return (cbe_lens_exp_factors){a, c, (float)level, true};
    return (cbe_lens_exp_factors){a, c, 0, false};
}

/* Takes sums that may have overflowed or vanished again, at the level of the largest exponent.
 * Returns logsumexp of logits'. */
double cbe_lens_settle_sums(const cbe_lens_objective *o, size_t direction,
                            const cbe_lens_row_source *source, const cbe_lens_exp_factors *by,
                            bool slopes, float *e, cbe_row_sums *sums)
{
    const cbe_kernels *k = o->setup.kernels;
    const size_t v = o->sample.view->vocab;
    const float *u = o->work.u + direction * o->setup.stride;
    if (sums->e > SUM_MIN && (by->bounded || sums->e < SUM_MAX))
        return log(sums->e) - (double)by->level * CBE_LN2;
    const float level = -(float)k->row_max(v, source->z, u, o->sample.view->offset, by->a, by->c);
    if (slopes)
        *sums = k->row_exp(v, source->z, u, o->sample.view->offset, by->a, by->c, level, false, e);
    else
        sums->e = k->row_sum(v, source->z, u, o->sample.view->offset, by->a, by->c, level, false);
    return log(sums->e) - (double)level * CBE_LN2;
}

/* Uncapped: from a row's sums to its energy and the factors of its gradient. */
void cbe_lens_plain_result(cbe_lens_objective *o, size_t j, size_t i,
                           const cbe_lens_row_source *source, const cbe_row_sums *sums,
                           double log_sum)
{
    const size_t row = o->sample.active[i], token = o->setup.row_token[row],
                 direction = o->work.direction[j];
    const cbe_lens_shift *shift = &o->work.shifts[j * o->sample.n_active + i];
    const float *z = source->z, *u = o->work.u + direction * o->setup.stride;
    double p_y, p_u, energy, q_y = sums->ey / sums->e;
    if (shift->exact) {
        /* z holds logits' - offset: expectations of y are s' times those of z. */
        double p_logit = 0;
        if (o->setup.has_probs) {
            const float *expected = o->sample.view->e + row * o->setup.hidden_size;
            for (size_t t = 0; t < o->setup.hidden_size; t++)
                p_logit += (double)expected[t] * source->left[t];
            p_logit *= shift->inverse_s;
            p_u = o->work.e_dot[direction * o->setup.n_rows + row];
        } else {
            p_logit = (double)z[o->setup.labels[token]];
            p_u = (double)u[o->setup.labels[token]];
        }
        energy = log_sum - o->sample.view->log_sum[row] - p_logit +
                 o->sample.view->p_z[row] * o->layer.inverse_s[row];
        p_y = shift->s * p_logit;
        q_y *= shift->s;
    } else {
        p_u = o->setup.has_probs ? o->work.e_dot[direction * o->setup.n_rows + row]
                                 : (double)u[o->setup.labels[token]];
        /* The factors as the kernel applied them: see cbe_lens_round. */
        const double scale = cbe_lens_round(source->scale), c = (double)(float)source->c;
        p_y = o->sample.view->p_z[row] - c * p_u;
        energy = log_sum - o->sample.view->log_sum[row] -
                 (p_y * scale - o->sample.view->p_z[row] * o->layer.inverse_s[row]);
    }
    finish_row(&o->setup, &o->work, direction, token, shift, energy, p_y, q_y, p_u,
               sums->eu / sums->e, &o->work.rows[j * o->sample.n_active + i]);
}

/* One row: sums, energy, and when e is not NULL the exponentials; returns the sum of e. */
double cbe_lens_plain_row(cbe_lens_objective *o, size_t j, size_t i,
                          const cbe_lens_row_source *source, bool slopes, float *e)
{
    const cbe_kernels *k = o->setup.kernels;
    const size_t v = o->sample.view->vocab, direction = o->work.direction[j];
    const float *u = o->work.u + direction * o->setup.stride;
    const cbe_lens_exp_factors by = cbe_lens_factors(o->sample.view, &o->work, direction, source);
    cbe_row_sums sums = {0, 0, 0};
    if (slopes)
        sums = k->row_exp(v, source->z, u, o->sample.view->offset, by.a, by.c, by.level, by.bounded,
                          e);
    else
        sums.e =
            k->row_sum(v, source->z, u, o->sample.view->offset, by.a, by.c, by.level, by.bounded);
    cbe_lens_plain_result(o, j, i, source, &sums,
                          cbe_lens_settle_sums(o, direction, source, &by, slopes, e, &sums));
    return sums.e;
}

/* Capped: also needs the clean probabilities, recomputed from the stored row. */
double cbe_lens_capped_row(cbe_lens_objective *o, size_t j, size_t i, cbe_lens_row_source source,
                           float *ef, float *pf)
{
    const cbe_kernels *k = o->setup.kernels;
    const size_t v = o->sample.view->vocab, row = o->sample.active[i],
                 token = o->setup.row_token[row], direction = o->work.direction[j];
    const cbe_lens_shift *shift = &o->work.shifts[j * o->sample.n_active + i];
    const float *u = o->work.u + direction * o->setup.stride, *clean = source.clean, *z = source.z;
    const double cap = o->setup.decoder->logit_softcap, lse = o->sample.view->log_sum[row];
    cbe_cap_row in = {o->layer.inverse_s[row], lse, source.scale, source.c, lse, cap};
    cbe_cap_sums sums = {0, 0, 0, 0, 0, 0};
    for (int attempt = 0; attempt < 2; attempt++) {
        sums = k->row_cap(v, clean, z, u, o->sample.view->offset, &in, ef, pf);
        if (sums.e > SUM_MIN && sums.e < SUM_MAX) break;
        const double top =
            k->row_max(v, z, u, o->sample.view->offset, (float)source.scale, (float)source.c);
        in.shift = cap * tanh(top / cap);
    }
    const double log_sum = log(sums.e) + in.shift;
    const double factor = shift->exact ? shift->s : 1;
    double energy, p_y, p_u;
    if (o->setup.labels) {
        const size_t label = (size_t)o->setup.labels[token];
        const double base = o->layer.offset ? (double)o->layer.offset[label] : 0;
        /* The factors in float, as the kernel applies them. */
        const double scale0 = (double)(float)o->layer.inverse_s[row],
                     scale = (double)(float)source.scale, c = (double)(float)source.c;
        const double y = (double)z[label] - c * (double)u[label];
        const double before = cap * tanh((scale0 * (double)clean[label] + base) / cap);
        const double tangent = tanh((scale * y + base) / cap);
        energy = (log_sum - cap * tangent) - (lse - before);
        p_y = (1 - tangent * tangent) * y;
        p_u = (1 - tangent * tangent) * (double)u[label];
        if (pf) { /* p is one-hot */
            memset(pf, 0, v * sizeof *pf);
            pf[label] = (float)(1 - tangent * tangent);
        }
    } else {
        energy = log_sum - lse - sums.p_change;
        p_y = sums.pfy;
        p_u = sums.pfu;
    }
    finish_row(&o->setup, &o->work, direction, token, shift, energy, factor * p_y,
               factor * sums.efy / sums.e, p_u, sums.efu / sums.e,
               &o->work.rows[j * o->sample.n_active + i]);
    return sums.e;
}
