/*
 * tuned_lens.h - tuned lenses: a translator x = h + A h + b for each layer, then the model's
 * decoder.
 *
 * Translator i reads hidden_states.i, i = 0 .. n_layers - 1; hidden_states.L needs no translator.
 * Source: Belrose et al. 2023, arXiv:2303.08112.
 *
 * A lens lies in a folder: config.json with params.pt (as torch.save writes it) or
 * params.safetensors, in the format of the package tuned-lens; docs/formats.md.
 */
#ifndef CBE_LENS_TUNED_LENS_H
#define CBE_LENS_TUNED_LENS_H

#include <stdbool.h>
#include <stddef.h>

#include "model/decoder.h"
#include "files/inputs.h"
#include "lens/translate.h"
#include "cbe/status.h"

/** A plain struct, readable and writable by all of the library, which owns its arrays. */
struct cbe_tuned_lens {
    size_t n_layers, hidden_size; /* L, d */
    float **weight;               /* (n_layers) of A (d, d), row-major: outputs by inputs */
    float **bias;                 /* (n_layers) of b (d); NULL: a lens without biases */
};
typedef struct cbe_tuned_lens cbe_tuned_lens;

/** Creates a lens of zeros, which is the logit lens. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_create(cbe_tuned_lens **out, size_t n_layers, size_t hidden_size,
                                 bool bias, cbe_error *err);
void cbe_tuned_lens_free(cbe_tuned_lens *lens); /* NULL is allowed */

/** Translator of hidden_states.<layer>, borrowed; the logit lens's (NULL, NULL) if lens is NULL or
 * layer is n_layers. */
cbe_translator cbe_tuned_lens_translator(const cbe_tuned_lens *lens, size_t layer);

/** The keys of config.json except sizes and bias, which the lens itself has. A lens that is loaded
 * and saved again with its config keeps every key. */
typedef struct cbe_tuned_lens_config cbe_tuned_lens_config;

/** Creates the config of a new lens.
 * @param base_model  name of the lens's model, base_model_name_or_path; ill-formed UTF-8 becomes
 * U+FFFD
 * @param decoder     the model's decoder, whose hash becomes unembed_hash; NULL: no hash
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_config_create(cbe_tuned_lens_config **out, const char *base_model,
                                        const cbe_decoder *decoder, cbe_error *err);
void cbe_tuned_lens_config_free(cbe_tuned_lens_config *config); /* NULL is allowed */
/** A string of config.json, borrowed until the key is set or the config is freed; NULL: there is
 * none. */
const char *cbe_tuned_lens_config_get(const cbe_tuned_lens_config *config, const char *key);
/** Sets a string; value NULL: null. The key must not be one of sizes or bias, which saving writes.
 * @return CBE_OK, CBE_ERR_ARG (not UTF-8), CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_config_set(cbe_tuned_lens_config *config, const char *key,
                                     const char *value, cbe_error *err);

/** Format of the file of parameters. */
typedef enum {
    CBE_LENS_PT = 0,      /* params.pt */
    CBE_LENS_SAFETENSORS, /* params.safetensors */
    CBE_N_LENS_FORMATS
} cbe_lens_format;

/** A format's name, "pt" or "safetensors", and its file's name. Borrowed, static. */
const char *cbe_lens_format_name(cbe_lens_format format);
const char *cbe_lens_format_file(cbe_lens_format format);
/** Finds the format of the lens in a folder.
 * @return CBE_OK; CBE_ERR_IO (no such folder, or neither file); CBE_ERR_FORMAT (both files);
 * CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_find(const char *folder, cbe_lens_format *format, cbe_error *err);

/** Reads a lens folder. Nothing in params.pt is executed: anything but a tensor of a state dict is
 * an error.
 * @param config  [out] freed by cbe_tuned_lens_config_free; NULL skips it
 * @param inputs  the files are added to this list; NULL skips it
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_SHAPE (a tensor that is missing, not
 * expected, or of another shape than config.json says); CBE_ERR_UNSUPPORTED (another type of lens
 * or of tensor); CBE_ERR_NUMERIC (NaN or infinity, tensor named); CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_load(cbe_tuned_lens **out, cbe_tuned_lens_config **config,
                               const char *folder, cbe_inputs *inputs, cbe_error *err);

/** Makes the folder if there is none, and checks that a lens can be written in it, before the work
 * that makes a lens.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_ARG (the folder holds a lens of the other format, or a
 * model); CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_prepare(const char *folder, cbe_lens_format format, cbe_error *err);
/** Prepares a folder and writes a lens to it, each file under a temporary name, synced and renamed.
 * @param config  NULL: a config that names no model
 * @return as cbe_tuned_lens_prepare */
cbe_status cbe_tuned_lens_save(const cbe_tuned_lens *lens, const cbe_tuned_lens_config *config,
                               const char *folder, cbe_lens_format format, cbe_error *err);

/** Checks that a lens fits a model of n_blocks blocks and width hidden_size.
 * @param n_blocks  L; 0: not known
 * @param lens_path, model_path  named in the message
 * @return CBE_OK, CBE_ERR_SHAPE (both shapes in the message) */
cbe_status cbe_tuned_lens_check(const cbe_tuned_lens *lens, const char *lens_path, size_t n_blocks,
                                size_t hidden_size, const char *model_path, cbe_error *err);

enum { CBE_UNEMBED_HASH_SIZE = 65 }; /* 64 hexadecimal digits and a 0 */

/** Computes unembed_hash as tuned-lens does: the SHA-256 of the text that NumPy prints of the
 * unembedding at precision 1. Of more than 1000 elements NumPy prints the corners only, so
 * different models differ, but not every two matrices. */
void cbe_unembed_hash(const cbe_decoder *decoder, char hash[CBE_UNEMBED_HASH_SIZE]);
/** Whether the config has an unembed_hash that differs from the decoder's. */
bool cbe_tuned_lens_config_differs(const cbe_tuned_lens_config *config, const cbe_decoder *decoder);

#endif
