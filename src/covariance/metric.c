/* metric.c - see metric.h. */
#include "covariance/metric.h"

#include <string.h>

const cbe_metric cbe_metric_plain = {.covariance = NULL, .ridge = 0, .strength = 1};

bool cbe_metric_is_plain(const cbe_metric *metric)
{
    return !metric || (!metric->covariance && metric->strength == 1);
}

void cbe_metric_read(const cbe_metric *metric, size_t d, size_t m, const double *v, double *r)
{
    if (!metric || !metric->covariance) {
        memcpy(r, v, m * d * sizeof *r);
        return;
    }
    for (size_t j = 0; j < m; j++)
        cbe_covariance_inverse_root(metric->covariance, metric->ridge, v + j * d, r + j * d);
}

void cbe_metric_write(const cbe_metric *metric, size_t d, size_t m, const double *v, double *w)
{
    if (!metric || !metric->covariance)
        memcpy(w, v, m * d * sizeof *w);
    else
        for (size_t j = 0; j < m; j++)
            cbe_covariance_root(metric->covariance, metric->ridge, v + j * d, w + j * d);
    const double strength = metric ? metric->strength : 1;
    for (size_t i = 0; i < m * d && strength != 1; i++) w[i] *= strength;
}

void cbe_metric_gradient(const cbe_metric *metric, size_t d, const double *by_read,
                         const double *by_write, double *scratch, double *out)
{
    const double strength = metric ? metric->strength : 1;
    if (!metric || !metric->covariance) {
        for (size_t k = 0; k < d; k++) out[k] = by_read[k] + strength * by_write[k];
        return;
    }
    /* The input that lies where the output goes is read first. */
    const bool in_place = out == by_write;
    double *read = in_place ? out : scratch, *write = in_place ? scratch : out;
    if (in_place) cbe_covariance_root(metric->covariance, metric->ridge, by_write, write);
    cbe_covariance_inverse_root(metric->covariance, metric->ridge, by_read, read);
    if (!in_place) cbe_covariance_root(metric->covariance, metric->ridge, by_write, write);
    for (size_t k = 0; k < d; k++) out[k] = read[k] + strength * write[k];
}
