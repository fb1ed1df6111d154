/*
 * basis_file.h - reading bases that an extraction has written or that were made elsewhere, and what
 * is known of how they were made.
 *
 * A basis is the tensor layers.<i>.basis (d, k), a vector a column, of a safetensors file. The
 * tensor layers.<i>.energies (k) may be there too. Beside a file called basis.safetensors its
 * basis.json is read: it says from which model the basis was made, at which site, and which
 * positions were left out. Files: docs/formats.md.
 */
#ifndef CBE_EXTRACT_BASIS_FILE_H
#define CBE_EXTRACT_BASIS_FILE_H

#include <stdbool.h>

#include "extract/site.h"
#include "files/inputs.h"

typedef struct cbe_basis_file cbe_basis_file;

/** Opens the basis.safetensors of a result folder, or a file of that form by any name.
 * @param path  a folder or a file
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT (no basis in it; a basis.json that is not one: key
 * named); CBE_ERR_SHAPE (layers of different widths, a basis.json of another basis);
 * CBE_ERR_NOMEM */
cbe_status cbe_basis_open(cbe_basis_file **out, const char *path, cbe_error *err);
/** Adds its files to the inputs of a run. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_basis_note(const cbe_basis_file *basis, cbe_inputs *inputs, cbe_input_role role,
                          cbe_error *err);
void cbe_basis_close(cbe_basis_file *basis); /* NULL is allowed */

/* What functions below return by pointer is borrowed until close. */

/** Returns the path of the safetensors file. */
const char *cbe_basis_path(const cbe_basis_file *basis);
/** Returns the path of basis.json; NULL: there is none. */
const char *cbe_basis_record_path(const cbe_basis_file *basis);
size_t cbe_basis_hidden_size(const cbe_basis_file *basis);
/** The layers that have a basis, rising. */
size_t cbe_basis_n_layers(const cbe_basis_file *basis);
const size_t *cbe_basis_layers(const cbe_basis_file *basis);
/** Returns k of a layer; 0: it has no basis. */
size_t cbe_basis_n_vectors(const cbe_basis_file *basis, size_t layer);

/** Reads the first n vectors of a layer as they are stored. In a file made elsewhere they may be
 * neither orthonormal nor independent.
 * @param out [out] (n, d): a vector a row
 * @return CBE_OK; CBE_ERR_ARG (no such layer: the layers of the file are named; n above its
 * vectors); CBE_ERR_NUMERIC (NaN or infinity: layer and vector named); CBE_ERR_NOMEM */
cbe_status cbe_basis_vectors(const cbe_basis_file *basis, size_t layer, size_t n, double *out,
                             cbe_error *err);
/** Reads the energies of the first n vectors, in nats; NaN if the file has none. Errors are
 * those of cbe_basis_vectors without CBE_ERR_NUMERIC. */
cbe_status cbe_basis_energies(const cbe_basis_file *basis, size_t layer, size_t n, double *out,
                              cbe_error *err);

/* What basis.json says. Functions return false or NULL if it does not say it, or is not there. */

/** Returns an option in force as it was typed, by its name: "lens", "ablation", "objective". */
const char *cbe_basis_option(const cbe_basis_file *basis, const char *name);
bool cbe_basis_site(const cbe_basis_file *basis, cbe_site *site);
/** Sets how many first positions of every sequence were left out. */
bool cbe_basis_skip_positions(const cbe_basis_file *basis, size_t *skip);
/** Returns the path of the model as it was given, or of the first file of its folder. */
const char *cbe_basis_model(const cbe_basis_file *basis);

/** Refuses a basis that was made from another model than that of a run. The files of both models
 * are compared by their SHA-256, wherever they are and whatever they are called.
 * @param model   its path, for messages
 * @param inputs  of the run, with digests: inputs of the role CBE_INPUT_MODEL are compared
 * @return CBE_OK, also if the model was not recorded; CBE_ERR_ARG (what differs) */
cbe_status cbe_basis_check_model(const cbe_basis_file *basis, const char *model,
                                 const cbe_inputs *inputs, cbe_error *err);

#endif
