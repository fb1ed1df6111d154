/* unnamed_array.c - see unnamed_array.h. */
#include "files/unnamed_array.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/fail.h"
#include "core/memory.h"

static const char what[] = "hidden states";

cbe_status cbe_unnamed_array_open(cbe_unnamed_array *out, const char *folder, size_t n_rows,
                                  size_t row, cbe_error *err)
{
    cbe_unnamed_array array = {.row = row};
    *out = (cbe_unnamed_array){0};
    if (!cbe_mul_size(n_rows, row, &array.n_bytes) ||
        !cbe_mul_size(array.n_bytes, sizeof(float), &array.n_bytes))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "%s: %zu rows of %zu numbers do not fit the address space", what, n_rows,
                        row);
    cbe_status st = cbe_temporary_file_open(&array.file, folder, what, err);
    if (st != CBE_OK) return st;
    if ((st = cbe_temporary_file_unname(&array.file, what, err)) != CBE_OK)
        cbe_temporary_file_close(&array.file);
    else
        *out = array;
    return st;
}

cbe_status cbe_unnamed_array_put(cbe_unnamed_array *array, size_t row, size_t first, size_t n,
                                 const float *data, cbe_error *err)
{
    const uint64_t at = ((uint64_t)row * array->row + first) * sizeof *data;
    return cbe_temporary_file_write(&array->file, at, data, n * sizeof *data, what, err);
}

cbe_status cbe_unnamed_array_map(cbe_unnamed_array *array, cbe_error *err)
{
    void *numbers = mmap(NULL, array->n_bytes, PROT_READ, MAP_PRIVATE, array->file.fd, 0);
    if (numbers == MAP_FAILED)
        return cbe_fail(err, cbe_status_of_errno(errno), -1,
                        "%s: a file in folder '%s' cannot be mapped: %s", what, array->file.folder,
                        strerror(errno));
    array->numbers = numbers;
    return CBE_OK;
}

void cbe_unnamed_array_close(cbe_unnamed_array *array)
{
    if (array->numbers) munmap(array->numbers, array->n_bytes);
    if (array->file.folder) cbe_temporary_file_close(&array->file);
    *array = (cbe_unnamed_array){0};
}
