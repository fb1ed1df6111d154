/* affine_ref.c - see affine_ref.h. */
#include "ref/affine_ref.h"

#include <math.h>
#include <stdlib.h>

static double square_weight(size_t d, const float *last)
{
    double sum = 0;
    for (size_t k = 0; k < d; k++) sum += (double)last[k] * (double)last[k];
    return sum > 0 ? (double)d / sum : 0;
}

/* Solves m y = rhs for the columns of rhs (d, d), in place, with partial pivoting. */
static void eliminate(size_t d, double *m, double *rhs)
{
    for (size_t c = 0; c < d; c++) {
        size_t pivot = c;
        for (size_t r = c + 1; r < d; r++)
            if (fabs(m[r * d + c]) > fabs(m[pivot * d + c])) pivot = r;
        for (size_t k = 0; k < d && pivot != c; k++) {
            double t = m[c * d + k];
            m[c * d + k] = m[pivot * d + k];
            m[pivot * d + k] = t;
            t = rhs[c * d + k];
            rhs[c * d + k] = rhs[pivot * d + k];
            rhs[pivot * d + k] = t;
        }
        for (size_t r = 0; r < d; r++) {
            if (r == c) continue;
            const double f = m[r * d + c] / m[c * d + c];
            for (size_t k = 0; k < d; k++) {
                m[r * d + k] -= f * m[c * d + k];
                rhs[r * d + k] -= f * rhs[c * d + k];
            }
        }
    }
    for (size_t r = 0; r < d; r++)
        for (size_t k = 0; k < d; k++) rhs[r * d + k] /= m[r * d + r];
}

void cbe_affine_fit_ref(size_t n, size_t d, const float *hidden, const float *last, double ridge,
                        double *weight, double *bias)
{
    double *s = calloc(d * d, sizeof *s), *c = calloc(d * d, sizeof *c),
           *mean_x = calloc(d, sizeof *mean_x), *mean_r = calloc(d, sizeof *mean_r), total = 0;
    for (size_t i = 0; i < n; i++) {
        const double w = square_weight(d, last + i * d);
        total += w;
        for (size_t k = 0; k < d; k++) {
            mean_x[k] += w * (double)hidden[i * d + k];
            mean_r[k] += w * ((double)last[i * d + k] - (double)hidden[i * d + k]);
        }
    }
    for (size_t k = 0; k < d; k++) {
        mean_x[k] /= total;
        mean_r[k] /= total;
    }
    for (size_t i = 0; i < n; i++) {
        const double w = square_weight(d, last + i * d);
        for (size_t j = 0; j < d; j++)
            for (size_t k = 0; k < d; k++) {
                const double x = w * ((double)hidden[i * d + j] - mean_x[j]);
                s[j * d + k] += x * ((double)hidden[i * d + k] - mean_x[k]);
                c[j * d + k] +=
                    x * ((double)last[i * d + k] - (double)hidden[i * d + k] - mean_r[k]);
            }
    }
    for (size_t k = 0; k < d; k++) s[k * d + k] *= 1 + ridge;
    eliminate(d, s, c);
    for (size_t o = 0; o < d; o++) {
        bias[o] = mean_r[o];
        for (size_t k = 0; k < d; k++) {
            weight[o * d + k] = c[k * d + o];
            bias[o] -= c[k * d + o] * mean_x[k];
        }
    }
    free(mean_r);
    free(mean_x);
    free(c);
    free(s);
}

double cbe_affine_error_ref(size_t n, size_t d, const float *hidden, const float *last,
                            const double *weight, const double *bias)
{
    double error = 0;
    for (size_t i = 0; i < n; i++) {
        const double w = square_weight(d, last + i * d);
        for (size_t o = 0; o < d; o++) {
            double r = (double)last[i * d + o] - (double)hidden[i * d + o] - (bias ? bias[o] : 0);
            for (size_t k = 0; weight && k < d; k++)
                r -= weight[o * d + k] * (double)hidden[i * d + k];
            error += w * r * r;
        }
    }
    return error / (double)(n * d);
}
