/*
 * basis_file.h - what the library reads of a basis beside its vectors (cbe/basis.h): how it was
 * made.
 *
 * A basis is the tensor layers.<i>.basis (d, k), a vector a column, of a safetensors file. The
 * tensors layers.<i>.energies (k), and layers.<i>.read and .write (d, k), may be there too. Beside
 * a file called basis.safetensors its basis.json is read: it says from which model the basis was
 * made, at which site, and which positions were left out. Files: docs/formats.md.
 */
#ifndef CBE_EXTRACT_BASIS_FILE_H
#define CBE_EXTRACT_BASIS_FILE_H

#include <stdbool.h>

#include "cbe/basis.h"
#include "extract/site.h"
#include "files/inputs.h"

/** Adds its files to the inputs of a run. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_basis_note(const cbe_basis_file *basis, cbe_inputs *inputs, cbe_input_role role,
                          cbe_error *err);

/** Whether a layer has layers.<i>.read and layers.<i>.write that differ from its basis: vectors of
 * the covariance metric (covariance/metric.h). */
bool cbe_basis_is_oblique(const cbe_basis_file *basis, size_t layer);
/** Reads what the first n vectors of a layer read and write.
 * @param read, write [out] (n, d): a vector a row
 * @return as cbe_basis_vectors; also CBE_ERR_ARG if the file does not say it */
cbe_status cbe_basis_pairs(const cbe_basis_file *basis, size_t layer, size_t n, double *read,
                           double *write, cbe_error *err);

/* What functions below return by pointer is borrowed until close. */

/** Returns the path of the safetensors file. */
const char *cbe_basis_path(const cbe_basis_file *basis);
/** Returns the path of basis.json; NULL: there is none. */
const char *cbe_basis_record_path(const cbe_basis_file *basis);
/* What basis.json says. Functions return false or NULL if it does not say it, or is not there. */

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
