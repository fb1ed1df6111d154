/* sphere.c - see sphere.h. */
#include "search/sphere.h"

#include <math.h>
#include <string.h>

double cbe_sphere_dot(size_t n, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

void cbe_sphere_complement(const cbe_sphere *sphere, const double *x, double *y)
{
    const size_t d = sphere->hidden_size;
    for (size_t i = 0; i < sphere->n_within; i++)
        sphere->scratch[i] = cbe_sphere_dot(d, sphere->within + i * d, x);
    if (sphere->n_within)
        memset(y, 0, d * sizeof *y);
    else if (y != x)
        memcpy(y, x, d * sizeof *y);
    for (size_t i = 0; i < sphere->n_within; i++) {
        const double *u = sphere->within + i * d;
        for (size_t k = 0; k < d; k++) y[k] += sphere->scratch[i] * u[k];
    }
    for (size_t j = 0; j < sphere->n_found; j++) {
        const double *b = sphere->found + j * d;
        const double along = cbe_sphere_dot(d, b, y);
        for (size_t k = 0; k < d; k++) y[k] -= along * b[k];
    }
}

double cbe_sphere_point(const cbe_sphere *sphere, const double *x, double *v)
{
    const size_t d = sphere->hidden_size;
    cbe_sphere_complement(sphere, x, v);
    const double length = sqrt(cbe_sphere_dot(d, v, v)), divisor = length + sphere->tau;
    for (size_t k = 0; k < d; k++) v[k] = divisor > 0 ? v[k] / divisor : 0;
    return length;
}

void cbe_sphere_gradient(const cbe_sphere *sphere, const double *v, double length,
                         const double *grad, double *out)
{
    /* y = P x, v = y / (|y| + tau):  dE/dy = grad / (|y| + tau) - v (v . grad) / |y| */
    const size_t d = sphere->hidden_size;
    if (!(length > 0)) {
        memset(out, 0, d * sizeof *out);
        return;
    }
    const double along = cbe_sphere_dot(d, v, grad) / length, divisor = length + sphere->tau;
    for (size_t k = 0; k < d; k++) out[k] = grad[k] / divisor - along * v[k];
    cbe_sphere_complement(sphere, out, out);
}
