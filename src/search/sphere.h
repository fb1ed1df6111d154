/*
 * sphere.h - unit vectors orthogonal to the vectors found before, parametrised by any vector x:
 *
 *   v(x) = P x / (|P x| + tau),   P = (I - B'B) U'U, rows of B and rows of U orthonormal
 *
 * Rows of U span where vectors may lie, and B lies in that span; without U the whole space is that.
 * tau = 0 gives unit vectors; the preset `seed` has PyTorch's float32 epsilon there.
 */
#ifndef CBE_SEARCH_SPHERE_H
#define CBE_SEARCH_SPHERE_H

#include <stddef.h>

typedef struct {
    size_t hidden_size, n_found;
    const double *found; /* B (n_found, d), borrowed */
    double tau;
    size_t n_within;      /* rows of U; 0: vectors may lie anywhere */
    const double *within; /* U (n_within, d), borrowed */
    double *scratch;      /* (n_within), borrowed */
} cbe_sphere;

/** a . b of n numbers, added one after another. */
double cbe_sphere_dot(size_t n, const double *a, const double *b);
/** y = P x; x and y may be the same. */
void cbe_sphere_complement(const cbe_sphere *sphere, const double *x, double *y);
/** v = v(x); returns |P x|. x and v may be the same. v is zero where P x is. */
double cbe_sphere_point(const cbe_sphere *sphere, const double *x, double *v);
/** From grad = dE/dv at v(x), with length = |P x|, to dE/dx; grad and out may be the same. */
void cbe_sphere_gradient(const cbe_sphere *sphere, const double *v, double length,
                         const double *grad, double *out);

#endif
