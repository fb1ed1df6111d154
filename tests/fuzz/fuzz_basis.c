/* A result folder, as cbe ablate and --init read it: basis.json, a zero byte, basis.safetensors. */
#include <stdlib.h>
#include <string.h>

#include "extract/basis_file.h"
#include "fuzz_input.h"

static void read_layer(const cbe_basis_file *basis, size_t layer)
{
    cbe_error err = {0};
    const size_t k = cbe_basis_n_vectors(basis, layer), d = cbe_basis_hidden_size(basis);
    double *out = malloc((2 * k * d + k + 1) * sizeof *out);
    fuzz_expect(out != NULL, "there is memory for a basis");
    fuzz_succeeded(cbe_basis_vectors(basis, layer, k, out, &err), &err);
    fuzz_succeeded(cbe_basis_energies(basis, layer, k, out, &err), &err);
    if (cbe_basis_is_oblique(basis, layer))
        fuzz_succeeded(cbe_basis_pairs(basis, layer, k, out, out + k * d, &err), &err);
    fuzz_expect(cbe_basis_vectors(basis, layer, k + 1, out, &err) != CBE_OK,
                "there are no more vectors");
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_basis_file *basis = NULL;
    fuzz_part parts[2];
    cbe_site site;
    size_t skip;
    fuzz_split(data, size, parts, 2);
    fuzz_file("basis.json", parts[0].data, parts[0].size);
    fuzz_file("basis.safetensors", parts[1].data, parts[1].size);
    if (!fuzz_succeeded(cbe_basis_open(&basis, fuzz_folder(), &err), &err)) return 0;
    for (size_t i = 0; i < cbe_basis_n_layers(basis); i++)
        read_layer(basis, cbe_basis_layers(basis)[i]);
    cbe_basis_option(basis, "lens");
    cbe_basis_site(basis, &site);
    cbe_basis_skip_positions(basis, &skip);
    const char *model = cbe_basis_model(basis);
    fuzz_expect(!model || strlen(model) < size, "the model is named in basis.json");
    cbe_basis_close(basis);
    return 0;
}
