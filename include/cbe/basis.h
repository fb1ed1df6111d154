/*
 * basis.h - reading bases that an extraction has written or that were made elsewhere.
 *
 * A basis is the tensor layers.<i>.basis (d, k), a vector a column, of a safetensors file, with
 * layers.<i>.energies (k) where there are some (docs/formats.md). Functions return what they return
 * by pointer borrowed until close.
 */
#ifndef CBE_BASIS_H
#define CBE_BASIS_H

#include "cbe/cbe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cbe_basis_file cbe_basis_file;

/** Opens the basis.safetensors of a result folder, or a file of that form by any name, and the
 * basis.json beside it.
 * @param path  a folder or a file
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT (no basis in it; a basis.json that is not one: key
 * named); CBE_ERR_SHAPE (layers of different widths, a basis.json of another basis);
 * CBE_ERR_NOMEM */
CBE_API cbe_status cbe_basis_open(cbe_basis_file **out, const char *path, cbe_error *err);
CBE_API void cbe_basis_close(cbe_basis_file *basis);

CBE_API size_t cbe_basis_hidden_size(const cbe_basis_file *basis);
/** The layers that have a basis, rising: how many, and their numbers. */
CBE_API size_t cbe_basis_n_layers(const cbe_basis_file *basis);
CBE_API const size_t *cbe_basis_layers(const cbe_basis_file *basis);
/** k of a layer; 0: it has no basis. */
CBE_API size_t cbe_basis_n_vectors(const cbe_basis_file *basis, size_t layer);

/** Reads the first n vectors of a layer as they are stored. In a file made elsewhere they may be
 * neither orthonormal nor independent.
 * @param out [out] (n, d): a vector a row
 * @return CBE_OK; CBE_ERR_ARG (no such layer: the layers of the file are named; n above its
 * vectors); CBE_ERR_NUMERIC (NaN or infinity: layer and vector named); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_basis_vectors(const cbe_basis_file *basis, size_t layer, size_t n,
                                     double *out, cbe_error *err);
/** Reads the energies of the first n vectors, in nats; NaN if the file has none.
 * @return as cbe_basis_vectors, without CBE_ERR_NUMERIC */
CBE_API cbe_status cbe_basis_energies(const cbe_basis_file *basis, size_t layer, size_t n,
                                      double *out, cbe_error *err);
/** An option in force when the basis was made, by its name, as it was typed: "lens", "ablation",
 * "objective". NULL: basis.json does not say it, or is not there. */
CBE_API const char *cbe_basis_option(const cbe_basis_file *basis, const char *name);

#ifdef __cplusplus
}
#endif
#endif
