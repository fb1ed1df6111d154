/*
 * basis_file.h - reading the bases that an extraction has written, or that were made elsewhere, and
 * what is known of how.
 *
 * A basis is layers.<i>.basis (d, k), columns, of a safetensors file, with layers.<i>.energies (k)
 * where there are some. Beside a file called basis.safetensors its basis.json is read too: from
 * which model it was made, at which site, which positions were left out. Files: docs/formats.md.
 */
#ifndef CBE_EXTRACT_BASIS_FILE_H
#define CBE_EXTRACT_BASIS_FILE_H

#include "extract/extraction.h"

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

/** Of the safetensors file; and of its basis.json, NULL where there is none. Borrowed, as all that
 * follows, until close. */
const char *cbe_basis_path(const cbe_basis_file *basis);
const char *cbe_basis_record_path(const cbe_basis_file *basis);
size_t cbe_basis_hidden_size(const cbe_basis_file *basis);
/** Layers that have a basis, rising. */
size_t cbe_basis_n_layers(const cbe_basis_file *basis);
const size_t *cbe_basis_layers(const cbe_basis_file *basis);
/** k of a layer; 0: it has no basis. */
size_t cbe_basis_n_vectors(const cbe_basis_file *basis, size_t layer);

/** The first n vectors of a layer, as they are stored: neither orthonormal nor independent, if the
 * file was made elsewhere.
 * @param out [out] (n, d): a vector a row
 * @return CBE_OK; CBE_ERR_ARG (no such layer: those that there are are named; n above its vectors);
 * CBE_ERR_NUMERIC (NaN or infinity: layer and vector named); CBE_ERR_NOMEM */
cbe_status cbe_basis_vectors(const cbe_basis_file *basis, size_t layer, size_t n, double *out,
                             cbe_error *err);
/** Their energies in nats, NaN where the file has none. The same errors, but for
 * CBE_ERR_NUMERIC. */
cbe_status cbe_basis_energies(const cbe_basis_file *basis, size_t layer, size_t n, double *out,
                              cbe_error *err);

/* What basis.json says; false or NULL where it does not, or is not there. */

/** An option in force, as it was typed: "lens", "ablation", "objective". */
const char *cbe_basis_option(const cbe_basis_file *basis, const char *name);
bool cbe_basis_site(const cbe_basis_file *basis, cbe_site *site);
/** First positions of every sequence that were left out. */
bool cbe_basis_skip_positions(const cbe_basis_file *basis, size_t *skip);
/** Path of the model, as it was given; of a folder, its first file. */
const char *cbe_basis_model(const cbe_basis_file *basis);

/** Whether the basis was made from the model of a run: configuration and weights are files that
 * were recorded, by their SHA-256, wherever they are and whatever they are called.
 * @param model   its path, for messages
 * @param inputs  of the run, with digests: those of CBE_INPUT_MODEL are compared
 * @return CBE_OK, also where the model was not recorded; CBE_ERR_ARG (what differs) */
cbe_status cbe_basis_check_model(const cbe_basis_file *basis, const char *model,
                                 const cbe_inputs *inputs, cbe_error *err);

#endif
