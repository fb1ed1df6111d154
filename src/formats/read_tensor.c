/* read_tensor.c - see read_tensor.h. */
#include "formats/read_tensor.h"

#include <omp.h>

#include "core/fail.h"
#include "core/finite.h"
#include "core/memory.h"

/* rows of the file at a time: they fill a cache line of each row written */
enum { TRANSPOSED_ROWS = 16 };

static size_t row_in_file(const cbe_row_order *order, size_t row)
{
    if (!order) return row;
    size_t head = 0, i = row;
    if (order->head_size) {
        head = row / order->head_size;
        i = row % order->head_size;
    }
    if (i < order->interleaved) {
        const size_t half = order->interleaved / 2;
        i = i < half ? 2 * i : 2 * (i - half) + 1;
    }
    return order->first + head * (order->step ? order->step : order->head_size) + i;
}

/* Fails for a row of the file that cannot be read or is not finite; x has room for the row. */
static cbe_status bad_row(const cbe_tensor *tensor, size_t row, size_t columns, const char *path,
                          float *x, cbe_error *err)
{
    const cbe_status st = cbe_tensor_to_float(tensor, row * columns, columns, x, err);
    if (st != CBE_OK) return err ? cbe_fail_as(err, err, "%s: ", path) : st;
    const size_t i = cbe_first_not_finite(x, columns);
    return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                    "%s: tensor '%s': element %zu is %g; a model needs finite weights", path,
                    tensor->name, row * columns + i, (double)x[i]);
}

static bool read_row(const cbe_tensor *tensor, size_t row, size_t columns, float *x)
{
    return cbe_tensor_to_float(tensor, row * columns, columns, x, NULL) == CBE_OK &&
           cbe_first_not_finite(x, columns) == columns;
}

static cbe_status read_rows(const cbe_tensor *tensor, const cbe_row_order *order, size_t rows,
                            size_t columns, const char *path, float *out, cbe_error *err)
{
    size_t bad = rows; /* the lowest bad row */
#pragma omp parallel for reduction(min : bad)
    for (size_t r = 0; r < rows; r++)
        if (!read_row(tensor, row_in_file(order, r), columns, out + r * columns))
            bad = r < bad ? r : bad;
    if (bad == rows) return CBE_OK;
    return bad_row(tensor, row_in_file(order, bad), columns, path, out + bad * columns, err);
}

/* Reads a vector, whose numbers are the rows. Conversion cannot begin inside a quantised block, so
 * the whole vector is converted first. */
static cbe_status read_vector(const cbe_tensor *tensor, const cbe_row_order *order,
                              const char *path, float *out, cbe_error *err)
{
    float *all = cbe_alloc(tensor->n_elements, sizeof(float), "vector", err);
    if (!all) return CBE_ERR_NOMEM;
    const cbe_status st = read_rows(tensor, NULL, 1, tensor->n_elements, path, all, err);
    for (size_t r = 0; r < order->count && st == CBE_OK; r++) out[r] = all[row_in_file(order, r)];
    cbe_free(all);
    return st;
}

/* Reads a matrix stored [in, out]: column row_in_file(r) becomes row r. */
static cbe_status read_transposed(const cbe_tensor *tensor, const cbe_row_order *order,
                                  const char *path, float *out, cbe_error *err)
{
    const size_t in = tensor->dims[0], width = tensor->dims[1];
    const size_t n_threads = (size_t)omp_get_max_threads();
    size_t floats, bad = in;
    if (!cbe_mul_size(n_threads * TRANSPOSED_ROWS, width, &floats))
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: tensor '%s' does not fit the address space",
                        path, tensor->name);
    float *room = cbe_alloc(floats, sizeof(float), "rows of a matrix", err);
    if (!room) return CBE_ERR_NOMEM;
#pragma omp parallel for reduction(min : bad) num_threads((int)n_threads)
    for (size_t first = 0; first < in; first += TRANSPOSED_ROWS) {
        float *rows = room + (size_t)omp_get_thread_num() * TRANSPOSED_ROWS * width;
        const size_t n = in - first < TRANSPOSED_ROWS ? in - first : TRANSPOSED_ROWS;
        for (size_t i = 0; i < n; i++)
            if (!read_row(tensor, first + i, width, rows + i * width))
                bad = first + i < bad ? first + i : bad;
        for (size_t r = 0; r < order->count; r++) {
            const size_t column = row_in_file(order, r);
            for (size_t i = 0; i < n; i++) out[r * in + first + i] = rows[i * width + column];
        }
    }
    const cbe_status st = bad == in ? CBE_OK : bad_row(tensor, bad, width, path, room, err);
    cbe_free(room);
    return st;
}

cbe_status cbe_read_tensor(const cbe_tensor *tensor, const cbe_row_order *order, const char *path,
                           float *out, cbe_error *err)
{
    if (tensor->n_elements == 0) return CBE_OK;
    const size_t columns = tensor->n_dims ? tensor->dims[tensor->n_dims - 1] : 1;
    if (!order)
        return read_rows(tensor, NULL, tensor->n_elements / columns, columns, path, out, err);
    if (tensor->n_dims == 1) return read_vector(tensor, order, path, out, err);
    if (order->transposed) return read_transposed(tensor, order, path, out, err);
    return read_rows(tensor, order, order->count, columns, path, out, err);
}
