/* cholesky.c - see cholesky.h. */
#include "math/cholesky.h"

#include <limits.h>

extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
extern void dpotrs_(const char *uplo, const int *n, const int *nrhs, const double *a,
                    const int *lda, double *b, const int *ldb, int *info);

bool cbe_cholesky(size_t n, double *a)
{
    if (n > INT_MAX) return false;
    const int order = (int)n;
    int info = 0;
    if (n) dpotrf_("U", &order, a, &order, &info);
    return info == 0;
}

void cbe_cholesky_solve(size_t n, const double *factor, size_t m, double *rows)
{
    const int order = (int)n, count = (int)m;
    int info = 0;
    if (n && m) dpotrs_("U", &order, &count, factor, &order, rows, &order, &info);
}
