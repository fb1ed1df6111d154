/*
 * tuned_lens.h - tuned lenses: a translator x = h + A h + b for each layer, then the model's
 * decoder.
 *
 * Translator i reads hidden_states.i, i = 0 .. n_layers - 1; hidden_states.L needs none. Source:
 * Belrose et al. 2023, arXiv:2303.08112.
 *
 * A lens lies in a folder: config.json with params.pt (as torch.save writes it) or
 * params.safetensors, as the package tuned-lens has them; docs/formats.md.
 */
#ifndef CBE_LENS_TUNED_LENS_H
#define CBE_LENS_TUNED_LENS_H

#include <stdbool.h>
#include <stddef.h>

#include "model/decoder.h"
#include "files/inputs.h"
#include "lens/translate.h"
#include "cbe/status.h"

/** Plain, readable and writable by all; owns its arrays. */
struct cbe_tuned_lens {
    size_t n_layers, hidden_size; /* L, d */
    float **weight;               /* (n_layers) of A (d, d), row-major: outputs by inputs */
    float **bias;                 /* (n_layers) of b (d); NULL: a lens without */
};
typedef struct cbe_tuned_lens cbe_tuned_lens;

/** All zero: the logit lens. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_create(cbe_tuned_lens **out, size_t n_layers, size_t hidden_size,
                                 bool bias, cbe_error *err);
void cbe_tuned_lens_free(cbe_tuned_lens *lens); /* NULL is allowed */

/** Translator of hidden_states.<layer>, borrowed; the logit lens's (NULL, NULL) where lens is NULL
 * or layer is n_layers. */
cbe_translator cbe_tuned_lens_translator(const cbe_tuned_lens *lens, size_t layer);

/** What config.json says besides the sizes and whether there is a bias, which are the lens's own. A
 * lens that is loaded and saved again with its config keeps every key. */
typedef struct cbe_tuned_lens_config cbe_tuned_lens_config;

/** For a new lens.
 * @param base_model  what the lens was made for: base_model_name_or_path (what is not UTF-8 in it
 * becomes U+FFFD)
 * @param decoder     that model's; its hash becomes unembed_hash. NULL: no hash
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_config_create(cbe_tuned_lens_config **out, const char *base_model,
                                        const cbe_decoder *decoder, cbe_error *err);
void cbe_tuned_lens_config_free(cbe_tuned_lens_config *config); /* NULL is allowed */
/** A string of config.json, borrowed until it is set or the config is freed; NULL where there is
 * none. */
const char *cbe_tuned_lens_config_get(const cbe_tuned_lens_config *config, const char *key);
/** Sets a string; value NULL: null. Any key but those of the sizes and the bias, which saving
 * writes.
 * @return CBE_OK, CBE_ERR_ARG (not UTF-8), CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_config_set(cbe_tuned_lens_config *config, const char *key,
                                     const char *value, cbe_error *err);

/** The file of the parameters. */
typedef enum {
    CBE_LENS_PT = 0,      /* params.pt */
    CBE_LENS_SAFETENSORS, /* params.safetensors */
    CBE_N_LENS_FORMATS
} cbe_lens_format;

/** "pt", "safetensors"; the file's name. Borrowed, static. */
const char *cbe_lens_format_name(cbe_lens_format format);
const char *cbe_lens_format_file(cbe_lens_format format);
/** Which of the two is in a folder.
 * @return CBE_OK; CBE_ERR_IO (no such folder, or neither); CBE_ERR_FORMAT (both); CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_find(const char *folder, cbe_lens_format *format, cbe_error *err);

/** Reads a lens folder. Nothing in params.pt is executed: whatever is not a tensor of a state dict
 * is an error.
 * @param config  [out] to cbe_tuned_lens_config_free; NULL: not wanted
 * @param inputs  the files are added to; NULL: not wanted
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_SHAPE (a tensor that is missing, one too
 * many, or of another shape than config.json says); CBE_ERR_UNSUPPORTED (another type of lens or of
 * tensor); CBE_ERR_NUMERIC (NaN or infinity, tensor named); CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_load(cbe_tuned_lens **out, cbe_tuned_lens_config **config,
                               const char *folder, cbe_inputs *inputs, cbe_error *err);

/** Makes the folder where there is none, and finds out whether a lens can be written in it: before
 * the work that makes one.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_ARG (the folder holds a lens of the other format, or a
 * model); CBE_ERR_NOMEM */
cbe_status cbe_tuned_lens_prepare(const char *folder, cbe_lens_format format, cbe_error *err);
/** Writes a lens folder, each file to a temporary name, synced and renamed; prepares it first.
 * @param config  NULL: one that names no model
 * @return as cbe_tuned_lens_prepare */
cbe_status cbe_tuned_lens_save(const cbe_tuned_lens *lens, const cbe_tuned_lens_config *config,
                               const char *folder, cbe_lens_format format, cbe_error *err);

/** Whether a lens is one for a model of so many blocks and such a width.
 * @param n_blocks  L; 0: not known
 * @param lens_path, model_path  named in the message
 * @return CBE_OK, CBE_ERR_SHAPE (both shapes in the message) */
cbe_status cbe_tuned_lens_check(const cbe_tuned_lens *lens, const char *lens_path, size_t n_blocks,
                                size_t hidden_size, const char *model_path, cbe_error *err);

enum { CBE_UNEMBED_HASH_SIZE = 65 }; /* 64 hexadecimal digits and a 0 */

/** unembed_hash as tuned-lens computes it: the SHA-256 of how NumPy prints the unembedding at
 * precision 1. Of more than 1000 elements only the corners are printed: it tells models apart, not
 * every two matrices. */
void cbe_unembed_hash(const cbe_decoder *decoder, char hash[CBE_UNEMBED_HASH_SIZE]);
/** Whether the config has an unembed_hash, and another one than the decoder's. */
bool cbe_tuned_lens_config_differs(const cbe_tuned_lens_config *config, const cbe_decoder *decoder);

#endif
