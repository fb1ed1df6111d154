/* The hash by which tuned-lens tells models apart, against NumPy's text of many matrices
 * (tests/golden/lens). */
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "lens/tuned_lens.h"
#include "support/assert_close.h"
#include "support/golden.h"

static cbe_error err;

static void hash__meets_numpy_for_every_matrix(void **state)
{
    (void)state;
    enum { N_MATRICES = 73 };
    cbe_safetensors *file = NULL;
    char *path = cbe_golden_path("lens/unembed_hash.safetensors");
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    assert_int_equal(cbe_safetensors_count(file), N_MATRICES);
    for (size_t i = 0; i < N_MATRICES; i++) {
        const char *name = cbe_safetensors_name(file, i),
                   *wanted = cbe_safetensors_metadata(file, name);
        size_t n_dims, count;
        const size_t *dims = cbe_safetensors_shape(file, i, &n_dims);
        float *values = cbe_golden_floats(file, name, &count);
        const cbe_decoder decoder = {
            .hidden_size = dims[1], .vocab_size = dims[0], .unembedding = values};
        char hash[CBE_UNEMBED_HASH_SIZE];
        cbe_unembed_hash(&decoder, hash);
        if (strcmp(hash, wanted) != 0) fail_msg("%s: %s, NumPy's is %s", name, hash, wanted);
        free(values);
    }
    cbe_safetensors_close(file);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hash__meets_numpy_for_every_matrix)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
