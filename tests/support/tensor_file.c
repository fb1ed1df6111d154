/* tensor_file.c - see tensor_file.h. */
#include "support/tensor_file.h"

#include <stdlib.h>

#include "support/assert_close.h"
#include "support/program.h"

void write_tensor(const char *path, const char *name, cbe_dtype dtype, size_t rows, size_t columns,
                  const void *data)
{
    cbe_error err;
    cbe_safetensors_writer *writer = NULL;
    const cbe_tensor_spec spec = {name, dtype, 2, {rows, columns}};
    cbe_assert_ok(
        cbe_safetensors_writer_create(&writer, program_expand(path), 1, &spec, 0, NULL, &err),
        &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, rows * columns, data, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

void write_columns(const char *path, size_t d, size_t k, const float *basis)
{
    float *v = malloc(d * k * sizeof *v);
    assert_non_null(v);
    for (size_t j = 0; j < k; j++)
        for (size_t i = 0; i < d; i++) v[j * d + i] = basis[i * k + j];
    write_tensor(path, "v", CBE_F32, k, d, v);
    free(v);
}
