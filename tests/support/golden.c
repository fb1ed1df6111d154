/* golden.c - see golden.h. */
#include "support/golden.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/assert_close.h"

static char *format_path(const char *format, va_list args)
{
    char path[4096];
    const int length = vsnprintf(path, sizeof path, format, args);
    assert_in_range(length, 1, sizeof path - 1);
    char *copy = malloc((size_t)length + 1);
    assert_non_null(copy);
    return memcpy(copy, path, (size_t)length + 1);
}

static char *make_path(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *path = format_path(format, args);
    va_end(args);
    return path;
}

char *cbe_golden_path(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *name = format_path(format, args);
    va_end(args);
    char *path = make_path("%s/golden/%s", CBE_TEST_DATA, name);
    free(name);
    return path;
}

float *cbe_golden_floats(const cbe_safetensors *file, const char *name, size_t *count)
{
    cbe_error err;
    cbe_tensor tensor;
    cbe_assert_ok(cbe_safetensors_get(file, name, &tensor, &err), &err);
    float *values = malloc((tensor.n_elements + 1) * sizeof(float));
    assert_non_null(values);
    cbe_assert_ok(cbe_tensor_to_float(&tensor, 0, tensor.n_elements, values, &err), &err);
    if (count) *count = tensor.n_elements;
    return values;
}

int64_t *cbe_golden_ids(const cbe_safetensors *file, const char *name, size_t *n_sequences,
                        size_t *context_length)
{
    cbe_error err;
    cbe_tensor tensor;
    cbe_assert_ok(cbe_safetensors_get(file, name, &tensor, &err), &err);
    assert_int_equal(tensor.dtype, CBE_I64);
    assert_int_equal(tensor.n_dims, 2);
    int64_t *ids = malloc(tensor.n_bytes);
    assert_non_null(ids);
    memcpy(ids, tensor.data, tensor.n_bytes);
    *n_sequences = tensor.dims[0];
    *context_length = tensor.dims[1];
    return ids;
}

char *cbe_temp_folder(void)
{
    const char *root = getenv("TMPDIR");
    char *folder = make_path("%s/cbe-test-XXXXXX", root && *root ? root : "/tmp");
    assert_non_null(mkdtemp(folder));
    return folder;
}

char *cbe_temp_path(const char *folder, const char *name)
{
    return make_path("%s/%s", folder, name);
}

void cbe_temp_remove(char *folder)
{
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries));) {
        char *path = cbe_temp_path(folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
        free(path);
    }
    closedir(entries);
    rmdir(folder);
    free(folder);
}

unsigned char *cbe_read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    const long length = ftell(file);
    assert_true(length >= 0);
    rewind(file);
    unsigned char *data = malloc((size_t)length + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)length, file), length);
    fclose(file);
    *size = (size_t)length;
    return data;
}

void cbe_write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Makes the declaration of a tensor in the copy; false if the tensor is left out. */
static bool edit_spec(const cbe_tensor *tensor, size_t i, const cbe_copy_edit *edit,
                      cbe_tensor_spec *spec)
{
    if (same(tensor->name, edit->drop)) return false;
    if (edit->n_parts && i % edit->n_parts != edit->part) return false;
    *spec = (cbe_tensor_spec){tensor->name, tensor->dtype, tensor->n_dims, {0}};
    for (size_t j = 0; j < tensor->n_dims; j++)
        spec->dims[j] = same(tensor->name, edit->transpose) ? tensor->dims[tensor->n_dims - 1 - j]
                                                            : tensor->dims[j];
    if (same(tensor->name, edit->rename_from)) spec->name = edit->rename_to;
    const size_t prefix = edit->strip_prefix ? strlen(edit->strip_prefix) : 0;
    if (prefix && strncmp(spec->name, edit->strip_prefix, prefix) == 0) spec->name += prefix;
    return true;
}

enum { NAME_SIZE = 200 };

void cbe_copy_safetensors(const char *from, const char *to, const cbe_copy_edit *edit)
{
    cbe_error err;
    cbe_safetensors *file;
    cbe_assert_ok(cbe_safetensors_open(&file, from, &err), &err);
    const size_t count = cbe_safetensors_count(file);
    cbe_tensor *tensors = calloc(count, sizeof *tensors);
    cbe_tensor_spec *specs = calloc(count, sizeof *specs);
    assert_non_null(tensors);
    assert_non_null(specs);
    char(*names)[NAME_SIZE] = calloc(count, sizeof *names);
    assert_non_null(names);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = cbe_safetensors_name(file, i);
        cbe_assert_ok(cbe_safetensors_get(file, name, &tensors[kept], &err), &err);
        if (!edit_spec(&tensors[kept], i, edit, &specs[kept])) continue;
        snprintf(names[kept], NAME_SIZE, "%s%s", edit->add_prefix ? edit->add_prefix : "",
                 specs[kept].name);
        specs[kept].name = names[kept];
        kept++;
    }
    cbe_safetensors_writer *writer;
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, to, kept, specs, 0, NULL, &err), &err);
    for (size_t i = 0; i < kept; i++) {
        const cbe_tensor *t = &tensors[i];
        void *copy = malloc(t->n_bytes);
        assert_non_null(copy);
        memcpy(copy, t->data, t->n_bytes);
        if (same(t->name, edit->poison)) {
            assert_int_equal(t->dtype, CBE_F32);
            ((float *)copy)[t->n_elements - 1] = NAN;
        }
        cbe_assert_ok(cbe_safetensors_writer_put(writer, i, 0, t->n_elements, copy, &err), &err);
        free(copy);
    }
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    free(tensors);
    free(specs);
    free(names);
    cbe_safetensors_close(file);
}

double *cbe_golden_f64(const cbe_safetensors *file, const char *name, size_t n)
{
    cbe_error err = {0};
    cbe_tensor t;
    cbe_assert_ok(cbe_safetensors_get(file, name, &t, &err), &err);
    assert_int_equal(t.dtype, CBE_F64);
    assert_int_equal(t.n_elements, n);
    double *x = malloc(t.n_bytes);
    assert_non_null(x);
    memcpy(x, t.data, t.n_bytes);
    return x;
}
