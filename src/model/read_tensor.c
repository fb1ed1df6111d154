/* read_tensor.c - see read_tensor.h. */
#include "model/read_tensor.h"

#include <math.h>
#include <stdbool.h>

#include "core/fail.h"

static size_t first_not_finite(const float *x, size_t n)
{
    /* x - x is 0 for finite numbers alone; the loop vectorises, unlike one that stops early. */
    float any = 0;
#pragma omp simd reduction(+ : any)
    for (size_t i = 0; i < n; i++) any += x[i] - x[i];
    if (any == 0) return n;
    size_t i = 0;
    while (isfinite(x[i])) i++;
    return i;
}

static size_t row_in_file(size_t row, size_t head_size)
{
    if (head_size == 0) return row;
    const size_t half = head_size / 2, i = row % head_size;
    return row - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

cbe_status cbe_read_tensor(const cbe_tensor *tensor, size_t head_size, const char *path, float *out,
                           cbe_error *err)
{
    if (tensor->n_elements == 0) return CBE_OK;
    const size_t columns = tensor->n_dims ? tensor->dims[tensor->n_dims - 1] : 1;
    const size_t rows = tensor->n_elements / columns;
    size_t bad = rows; /* the lowest row that cannot be read or is not finite */
#pragma omp parallel for reduction(min : bad)
    for (size_t r = 0; r < rows; r++) {
        float *to = out + r * columns;
        if (cbe_tensor_to_float(tensor, row_in_file(r, head_size) * columns, columns, to, NULL) !=
                CBE_OK ||
            first_not_finite(to, columns) < columns)
            bad = r < bad ? r : bad;
    }
    if (bad == rows) return CBE_OK;
    const size_t first = row_in_file(bad, head_size) * columns;
    const cbe_status st = cbe_tensor_to_float(tensor, first, columns, out + bad * columns, err);
    if (st != CBE_OK) return st;
    const size_t i = first_not_finite(out + bad * columns, columns);
    return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                    "%s: tensor '%s': element %zu is %g; a model needs finite weights", path,
                    tensor->name, first + i, (double)out[bad * columns + i]);
}
