/* State dicts of torch.save: the archive, its pickle, the storages. */
#include <stdlib.h>

#include "fuzz_input.h"
#include "formats/torch_zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_torch_zip *file = NULL;
    const char *path = fuzz_file("params.pt", data, size);
    if (!fuzz_succeeded(cbe_torch_zip_open(&file, path, &err), &err)) return 0;
    for (size_t i = 0; i < cbe_torch_zip_count(file); i++) {
        const cbe_tensor tensor = cbe_torch_zip_tensor(file, i);
        float *out = malloc((tensor.n_elements + 1) * sizeof *out);
        fuzz_expect(out != NULL, "there is memory for a tensor");
        fuzz_succeeded(cbe_torch_zip_read(file, i, out, &err), &err);
        free(out);
    }
    cbe_torch_zip_close(file);
    return 0;
}
