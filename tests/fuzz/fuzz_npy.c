/* NumPy's .npy and .npz files: arrays as floats and as integers. */
#include "core/memory.h"
#include "fuzz_input.h"
#include "formats/array_file.h"

enum { PART = 64, MOST = 1 << 16 };

static void read_array(const cbe_array_file *file, const char *name)
{
    cbe_error err = {0};
    cbe_tensor tensor;
    cbe_array_reader *reader = NULL;
    float part[PART];
    int64_t *integers = NULL;
    if (!fuzz_succeeded(cbe_array_file_describe(file, name, &tensor, &err), &err)) return;
    if (fuzz_succeeded(cbe_array_reader_open(&reader, file, name, &err), &err)) {
        const size_t n = tensor.n_elements < MOST ? tensor.n_elements : MOST;
        for (size_t at = 0; at < n; at += PART)
            if (!fuzz_succeeded(
                    cbe_array_reader_next(reader, n - at < PART ? n - at : PART, part, &err), &err))
                break;
        cbe_array_reader_close(reader);
    }
    if (fuzz_succeeded(cbe_array_file_integers(file, name, &tensor, &integers, &err), &err))
        cbe_free(integers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_array_file *file = NULL;
    const char *path = fuzz_file("x.npy", data, size);
    if (!fuzz_succeeded(cbe_array_file_open(&file, path, "only", &err), &err)) return 0;
    for (size_t i = 0; i < cbe_array_file_count(file); i++)
        read_array(file, cbe_array_file_name(file, i));
    cbe_array_file_has(file, "only");
    cbe_array_file_metadata(file, "format");
    cbe_array_file_close(file);
    return 0;
}
