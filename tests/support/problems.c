/* problems.c - see problems.h. */
#include "support/problems.h"

#include <math.h>
#include <string.h>

/* Rosenbrock 1960, in pairs. */
double problem_rosenbrock(size_t n, const double *x, double *g)
{
    double f = 0;
    for (size_t i = 0; i < n; i += 2) {
        const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        f += 100 * a * a + b * b;
        g[i] = -400 * a * x[i] - 2 * b;
        g[i + 1] = 200 * a;
    }
    return f;
}

double problem_rosenbrock_chain(size_t n, const double *x, double *g)
{
    double f = 0;
    memset(g, 0, n * sizeof *g);
    for (size_t i = 0; i + 1 < n; i++) {
        const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        f += 100 * a * a + b * b;
        g[i] += -400 * a * x[i] - 2 * b;
        g[i + 1] += 200 * a;
    }
    return f;
}

/* Curvatures from 1 to 1e4. */
static double quadratic(size_t n, const double *x, double *g)
{
    double f = 0;
    for (size_t i = 0; i < n; i++) {
        const double curvature = pow(1e4, (double)i / (double)(n - 1)), a = x[i] - (double)(i + 1);
        f += curvature * a * a / 2;
        g[i] = curvature * a;
    }
    return f;
}

static double beale(size_t n, const double *x, double *g)
{
    static const double c[3] = {1.5, 2.25, 2.625};
    double f = 0, power = 1;
    (void)n;
    g[0] = g[1] = 0;
    for (int k = 0; k < 3; k++) {
        const double before = power;
        power *= x[1];
        const double r = c[k] - x[0] * (1 - power);
        f += r * r;
        g[0] -= 2 * r * (1 - power);
        g[1] += 2 * r * x[0] * (k + 1) * before;
    }
    return f;
}

double problem_booth(size_t n, const double *x, double *g)
{
    const double a = x[0] + 2 * x[1] - 7, b = 2 * x[0] + x[1] - 5;
    (void)n;
    g[0] = 2 * a + 4 * b;
    g[1] = 4 * a + 2 * b;
    return a * a + b * b;
}

/* Powell's singular function: the Hessian at the minimum has rank 2. */
double problem_powell(size_t n, const double *x, double *g)
{
    const double a = x[0] + 10 * x[1], b = x[2] - x[3], c = x[1] - 2 * x[2], d = x[0] - x[3];
    (void)n;
    g[0] = 2 * a + 40 * d * d * d;
    g[1] = 20 * a + 4 * c * c * c;
    g[2] = 10 * b - 8 * c * c * c;
    g[3] = -10 * b - 40 * d * d * d;
    return a * a + 5 * b * b + c * c * c * c + 10 * d * d * d * d;
}

static double himmelblau(size_t n, const double *x, double *g)
{
    const double a = x[0] * x[0] + x[1] - 11, b = x[0] + x[1] * x[1] - 7;
    (void)n;
    g[0] = 4 * a * x[0] + 2 * b;
    g[1] = 2 * a + 4 * b * x[1];
    return a * a + b * b;
}

static double wood(size_t n, const double *x, double *g)
{
    const double a = x[1] - x[0] * x[0], b = 1 - x[0], c = x[3] - x[2] * x[2], d = 1 - x[2];
    const double p = x[1] + x[3] - 2, q = x[1] - x[3];
    (void)n;
    g[0] = -400 * a * x[0] - 2 * b;
    g[1] = 200 * a + 20 * p + 0.2 * q;
    g[2] = -360 * c * x[2] - 2 * d;
    g[3] = 180 * c + 20 * p - 0.2 * q;
    return 100 * a * a + b * b + 90 * c * c + d * d + 10 * p * p + 0.1 * q * q;
}

/* Trid: minimum -n (n + 4) (n - 1) / 6 at x_i = i (n + 1 - i). */
static double trid(size_t n, const double *x, double *g)
{
    double f = 0;
    for (size_t i = 0; i < n; i++) {
        f += (x[i] - 1) * (x[i] - 1) - (i ? x[i] * x[i - 1] : 0);
        g[i] = 2 * (x[i] - 1) - (i ? x[i - 1] : 0) - (i + 1 < n ? x[i + 1] : 0);
    }
    return f;
}

const problem problems[N_PROBLEMS] = {
    {"quadratic", quadratic, 10, {0}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0, 1e-7},
    {"rosenbrock", problem_rosenbrock, 2, {-1.2, 1}, {1, 1}, 0, 1e-7},
    {"rosenbrock of ten",
     problem_rosenbrock,
     10,
     {-1.2, 1, -1.2, 1, -1.2, 1, -1.2, 1, -1.2, 1},
     {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
     0,
     1e-7},
    {"rosenbrock chain of ten",
     problem_rosenbrock_chain,
     10,
     {0},
     {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
     0,
     1e-7},
    {"beale", beale, 2, {1, 1}, {3, 0.5}, 0, 1e-7},
    {"booth", problem_booth, 2, {0}, {1, 3}, 0, 1e-8},
    {"powell", problem_powell, 4, {3, -1, 0, 1}, {0}, 0, 1e-2}, /* f grows as |x|^4 */
    {"himmelblau", himmelblau, 2, {1, 1}, {3, 2}, 0, 1e-8},
    {"himmelblau, second minimum",
     himmelblau,
     2,
     {-3, 3},
     {-2.805118086952745, 3.131312518250573},
     0,
     1e-8},
    {"himmelblau, third minimum",
     himmelblau,
     2,
     {-4, -3},
     {-3.779310253377747, -3.283185991286170},
     0,
     1e-8},
    {"himmelblau, fourth minimum",
     himmelblau,
     2,
     {4, -2},
     {3.584428340330492, -1.848126526964404},
     0,
     1e-8},
    {"wood", wood, 4, {-3, -1, -3, -1}, {1, 1, 1, 1}, 0, 1e-6},
    {"trid", trid, 6, {0}, {6, 10, 12, 12, 10, 6}, -50, 1e-7},
};
