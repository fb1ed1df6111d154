/* Pickles by themselves, which in an archive are behind checksums and tables. */
#include <string.h>

#include "fuzz_input.h"
#include "formats/pickle_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_pickle_tensors tensors = {0};
    if (!fuzz_succeeded(cbe_pickle_tensors_read(&tensors, data, size, "data.pkl", &err), &err))
        return 0;
    for (size_t i = 0; i < tensors.n; i++) {
        const cbe_pickle_tensor *t = &tensors.tensors[i];
        fuzz_expect(i == 0 || strcmp(t[-1].name, t->name) < 0, "names are sorted and differ");
        fuzz_expect(t->n_dims <= CBE_MAX_DIMS, "dimensions have room");
        fuzz_expect(t->extent <= t->storage_elements &&
                        t->offset <= t->storage_elements - t->extent,
                    "a tensor is in its storage");
        fuzz_expect((t->n_elements == 0) == (t->extent == 0), "an empty tensor has no extent");
    }
    cbe_pickle_tensors_free(&tensors);
    return 0;
}
