/* eigen.c - see eigen.h. */
#include "math/eigen.h"

#include <limits.h>

#include "core/fail.h"
#include "core/memory.h"

/* LAPACK's Fortran interface, since Debian has LAPACKE in another package. */
extern void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda,
                    double *w, double *work, const int *lwork, int *iwork, const int *liwork,
                    int *info);

cbe_status cbe_eigen_symmetric(size_t n, double *a, double *values, cbe_error *err)
{
    if (n == 0) return CBE_OK;
    if (n > INT_MAX / 8)
        return cbe_fail(err, CBE_ERR_ARG, -1, "eigenvectors of a matrix of %zu rows", n);
    const int order = (int)n, ask = -1;
    int info = 0, iwork_size = 0;
    double work_size = 0;
    dsyevd_("V", "U", &order, a, &order, values, &work_size, &ask, &iwork_size, &ask, &info);
    const int lwork = (int)work_size;
    double *work = cbe_alloc((size_t)lwork, sizeof *work, "eigenvector work space", err);
    int *iwork = cbe_alloc((size_t)iwork_size, sizeof *iwork, "eigenvector work space", err);
    if (work && iwork)
        dsyevd_("V", "U", &order, a, &order, values, work, &lwork, iwork, &iwork_size, &info);
    cbe_free(work);
    cbe_free(iwork);
    if (!work || !iwork) return CBE_ERR_NOMEM;
    if (info != 0)
        return cbe_fail(err, CBE_ERR_NUMERIC, -1, "LAPACK's dsyevd failed with info %d", info);
    /* Fortran's columns are rows in C. LAPACK orders values rising: reverse them. */
    for (size_t i = 0, j = n - 1; i < j; i++, j--) {
        const double value = values[i];
        values[i] = values[j];
        values[j] = value;
        for (size_t k = 0; k < n; k++) {
            const double t = a[i * n + k];
            a[i * n + k] = a[j * n + k];
            a[j * n + k] = t;
        }
    }
    return CBE_OK;
}
