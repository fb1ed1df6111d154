/*
 * cbe.h - causal basis extraction: hidden states and a decoder in, causal bases out.
 *
 *     cbe_hidden_states *states = NULL;
 *     cbe_decoder *decoder = NULL;
 *     cbe_run *run = NULL;
 *     cbe_error err;
 *     if (cbe_decoder_load(&decoder, "decoder.safetensors", &err) ||
 *         cbe_hidden_states_create(&states, n_sequences, context_length, hidden_size, &err) ||
 *         cbe_hidden_states_set(states, 15, hidden, false, &err) ||
 *         cbe_run_create(&run, "extract", &err) || cbe_run_set_states(run, states, &err) ||
 *         cbe_run_set_decoder(run, decoder, &err) || cbe_run_set(run, "vectors", "3", &err) ||
 *         cbe_run_execute(run, &err) || cbe_run_save(run, "out", &err))
 *         fprintf(stderr, "%s\n", err.message);
 *
 * Shapes are row-major, energies in nats. `*out` is owned by the caller, and freed by the function
 * of its type, which allows NULL; what a function returns as const is borrowed. Functions without a
 * cbe_error take no NULL, but for those that free and those of a run. A function that can
 * fail returns a cbe_status and takes a cbe_error last, which may be NULL (cbe/status.h); outputs
 * are untouched then. Objects are not for several threads at once; different ones are independent.
 * The library prints nothing, never ends the process, and leaves what holds for the whole process
 * as it was after each call: OpenMP's number of threads, that of BLAS, signal handlers.
 * docs/c-api.md.
 */
#ifndef CBE_CBE_H
#define CBE_CBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The library ---- */

#define CBE_VERSION_MAJOR 0
#define CBE_VERSION_MINOR 1
#define CBE_VERSION_PATCH 0
/** Rises when programs must be compiled anew. */
#define CBE_ABI 0

/** Version of the library that is linked, as "0.1.0". Borrowed, static. */
CBE_API const char *cbe_version(void);
/** CBE_ABI of the library that is linked. */
CBE_API int cbe_abi(void);
/** Kernels that are used on this CPU, the library of several processes where there is one, and
 * whether products in bfloat16 can be made: "kernels avx512; bfloat16". Borrowed, static. */
CBE_API const char *cbe_build(void);

/* ---- Hidden states: the residual stream at some layers, for B sequences of S tokens ---- */

typedef struct cbe_hidden_states cbe_hidden_states;

/** States without any layer yet.
 * @param n_sequences     B
 * @param context_length  S
 * @param hidden_size     d
 * @return CBE_OK; CBE_ERR_ARG (a size of 0, or a product that no memory holds); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_hidden_states_create(cbe_hidden_states **out, size_t n_sequences,
                                            size_t context_length, size_t hidden_size,
                                            cbe_error *err);
/** Sets hidden_states.<state>: the input of block `state`, which is the output of block state - 1
 * before the final norm.
 * @param hidden  (B, S, d); copied, or borrowed until the states are closed
 * @return CBE_OK; CBE_ERR_ARG (NULL; a state that is there already); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_hidden_states_set(cbe_hidden_states *states, size_t state,
                                         const float *hidden, bool copy, cbe_error *err);
/** Sets the token ids (B, S), which the objective ce needs; copied.
 * @return CBE_OK; CBE_ERR_ARG (NULL, a negative id); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_hidden_states_set_ids(cbe_hidden_states *states, const int64_t *ids,
                                             cbe_error *err);
/** Leaves tokens out: those whose `mask` (B, S) is 0, as padding; copied.
 * @return CBE_OK; CBE_ERR_ARG (NULL; no token is left); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_hidden_states_set_mask(cbe_hidden_states *states, const unsigned char *mask,
                                              cbe_error *err);
/** Sets the model's own logits, by which a run checks its decoder: those of hidden_states.<state>,
 * the last one.
 * @param logits  (B, S, V); borrowed until the states are closed
 * @return CBE_OK; CBE_ERR_ARG (NULL) */
CBE_API cbe_status cbe_hidden_states_set_logits(cbe_hidden_states *states, size_t state,
                                                size_t vocab_size, const float *logits,
                                                cbe_error *err);
/** Opens a file of hidden states: .safetensors, .npz or .npy (docs/formats.md).
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_SHAPE (tensor named); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_hidden_states_open(cbe_hidden_states **out, const char *path,
                                          cbe_error *err);
CBE_API void cbe_hidden_states_close(cbe_hidden_states *states);

/** B, S and d. */
CBE_API size_t cbe_hidden_states_n_sequences(const cbe_hidden_states *states);
CBE_API size_t cbe_hidden_states_context_length(const cbe_hidden_states *states);
CBE_API size_t cbe_hidden_states_hidden_size(const cbe_hidden_states *states);
/** Whether hidden_states.<state> is there. */
CBE_API bool cbe_hidden_states_has(const cbe_hidden_states *states, size_t state);

/* ---- The decoder: logits = cap(W norm(h) + bias) ---- */

typedef struct cbe_decoder cbe_decoder;

/** A decoder from arrays, which are copied.
 * @param norm         "rmsnorm" or "layernorm"
 * @param eps          added to the mean square before its root
 * @param softcap      c of cap(z) = c tanh(z / c); 0: none
 * @param gamma        (d), scale of the norm
 * @param beta         (d), NULL: zero
 * @param unembedding  W (V, d)
 * @param bias         (V), NULL: zero
 * @return CBE_OK; CBE_ERR_ARG (a size of 0, NULL, another norm, eps or softcap that are none);
 * CBE_ERR_NUMERIC (NaN or infinity); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_decoder_create(cbe_decoder **out, size_t hidden_size, size_t vocab_size,
                                      const char *norm, double eps, double softcap,
                                      const float *gamma, const float *beta,
                                      const float *unembedding, const float *bias, cbe_error *err);
/** Reads a decoder file (docs/formats.md), as `cbe decoder` writes it.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_SHAPE; CBE_ERR_NUMERIC (tensor named) */
CBE_API cbe_status cbe_decoder_load(cbe_decoder **out, const char *path, cbe_error *err);
CBE_API cbe_status cbe_decoder_save(const cbe_decoder *decoder, const char *path, cbe_error *err);
CBE_API void cbe_decoder_free(cbe_decoder *decoder);
/** d and V. */
CBE_API size_t cbe_decoder_hidden_size(const cbe_decoder *decoder);
CBE_API size_t cbe_decoder_vocab_size(const cbe_decoder *decoder);
/** Logits of n hidden states.
 * @param hidden  (n, d)
 * @param logits  [out] (n, V)
 * @return CBE_OK; CBE_ERR_NOMEM */
CBE_API cbe_status cbe_decoder_logits(const cbe_decoder *decoder, size_t n, const float *hidden,
                                      float *logits, cbe_error *err);

/* ---- A run: what the commands `cbe extract`, `probe`, `ablate`, `fidelity`, `spectrum` do ---- */

typedef struct cbe_run cbe_run;

/** @param command  "extract": for each layer an orthonormal basis, each vector the one whose
 *                 ablation changes the next-token distribution most. "probe": energies and
 *                 gradients of given vectors. "ablate": effects of removing vectors of a basis
 *                 together on the model's output. "fidelity": whether a lens answers ablations as
 *                 the model does. "spectrum": how many dimensions of each layer's
 *                 states reach the output.
 * @return CBE_OK; CBE_ERR_ARG; CBE_ERR_NOMEM */
CBE_API cbe_status cbe_run_create(cbe_run **out, const char *command, cbe_error *err);
CBE_API void cbe_run_free(cbe_run *run);

/** Sets an option of the command by its long name: what `cbe COMMAND --help` lists, and "model".
 * @param value  as it is typed on a command line, copied; of a flag "true" or "false". An option
 * that takes several files, as "text", gets one more with each call.
 * @return CBE_OK; CBE_ERR_ARG (no such option; what may be given); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_run_set(cbe_run *run, const char *option, const char *value, cbe_error *err);
/** The value of an option in force, as it would be typed. Borrowed until the next call for the run.
 * @return NULL: it is not given and has no default, it takes several files, or there is no such
 * option */
CBE_API const char *cbe_run_get(cbe_run *run, const char *option);
/** The i-th option of a run's command.
 * @param type  [out] "flag", "count", "number", "size", "seed", "string", "choice", "files",
 *              "layers", "positions" or "share"
 * @param help  [out] the line of --help; NULL in place of either: not wanted
 * @return its name, borrowed; NULL: there are i options or fewer */
CBE_API const char *cbe_run_option_at(const cbe_run *run, size_t i, const char **type,
                                      const char **help);

/* Inputs from memory, in place of the options "hidden-states", "decoder", "model", "lens" and
 * "vectors-file". All are borrowed until the run is freed; NULL takes one back. */

CBE_API cbe_status cbe_run_set_states(cbe_run *run, const cbe_hidden_states *states,
                                      cbe_error *err);
CBE_API cbe_status cbe_run_set_decoder(cbe_run *run, const cbe_decoder *decoder, cbe_error *err);
struct cbe_model;
struct cbe_tuned_lens;
/** A model that is open (cbe/model.h); its texts or tokens are options as before. */
CBE_API cbe_status cbe_run_set_model(cbe_run *run, const struct cbe_model *model, cbe_error *err);
/** A lens (cbe/lens.h) that the output is read through. */
CBE_API cbe_status cbe_run_set_lens(cbe_run *run, const struct cbe_tuned_lens *lens,
                                    cbe_error *err);
/** Vectors for a run of "probe", which are used as they are: v ablates h to h - (D . v) v, so one
 * of length 0 changes nothing, and one so long that h overflows float32 has the energy NaN.
 * @param v  (m, d); copied
 * @return CBE_OK; CBE_ERR_ARG; CBE_ERR_NUMERIC (NaN or infinity: vector named); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_run_set_vectors(cbe_run *run, size_t m, size_t hidden_size, const double *v,
                                       cbe_error *err);

/** What a run tells. */
typedef enum {
    CBE_EVENT_NOTE = 0,   /* what was read and chosen; a line */
    CBE_EVENT_WARNING,    /* results may not be what they seem; a line */
    CBE_EVENT_STAGE,      /* what is being prepared */
    CBE_EVENT_PROGRESS,   /* layers done of total, or parts of a pass; the same in words */
    CBE_EVENT_LAYER,      /* a layer is done: done of total; its results can be read */
    CBE_EVENT_CHECKPOINT, /* path of the file that keeps up, there from the first vector on */
    CBE_EVENT_SAVING,     /* results are being put in place: too late to cancel */
    CBE_EVENT_PULSE,      /* nothing new, the work goes on; the text is empty */
    CBE_N_EVENTS
} cbe_event;

/** Called by the thread that called the library, several times a second; while eigenvectors are
 * computed not at all.
 * @param text  a line without its end; borrowed for the call
 * @return false: the work ends with CBE_ERR_CANCELLED before its next step. A step is an evaluation
 * of a search, or a layer that is prepared */
typedef bool cbe_callback(void *context, cbe_event event, const char *text, size_t done,
                          size_t total);

/** @param callback  NULL: none */
CBE_API void cbe_run_set_callback(cbe_run *run, cbe_callback *callback, void *context);

/** Does it. With the option "output" results are saved there, and a checkpoint is kept there while
 * an extraction lasts; without, they are kept for the functions below alone.
 * @return CBE_OK; CBE_ERR_ARG (an option named in err->option, inputs missing or too many, a run
 * that is done already, a decoder that is not that of the hidden states); CBE_ERR_SHAPE (inputs
 * that do not fit together); CBE_ERR_NUMERIC; CBE_ERR_NOMEM; CBE_ERR_CANCELLED; and what reading
 * and writing files returns. A run that failed has no results, and can only
 * be freed. */
CBE_API cbe_status cbe_run_execute(cbe_run *run, cbe_error *err);
/** Writes the results of a run that was executed without "output": a folder, of "probe" a file.
 * @return CBE_OK; CBE_ERR_ARG (files of others there); CBE_ERR_IO; CBE_ERR_SYSTEM;
 * CBE_ERR_NOMEM */
CBE_API cbe_status cbe_run_save(cbe_run *run, const char *path, cbe_error *err);

/** Layers that have results, rising, borrowed; in a callback all layers of the run, whether they
 * are done or not. @return how many */
CBE_API size_t cbe_run_layers(const cbe_run *run, const size_t **layers);
/** The vectors of a layer: (n, d), a vector a row, borrowed. Of "extract" a basis, energies
 * falling, orthonormal in the Euclidean metric, of unit vectors in the covariance metric; of
 * "probe" the vectors given.
 * @return n; 0: the layer has none */
CBE_API size_t cbe_run_vectors(const cbe_run *run, size_t layer, const double **vectors);
/** Numbers of a layer by name, borrowed, NaN where one is not known.
 * "extract", (n): "energy", "standard_error", "held_out_energy", "held_out_error",
 *   "optimal_energy", "optimal_constant", "kappa", "share_of_ceiling", "half_energy",
 *   "amplification", "median", "top_share", "model_energy", "model_standard_error",
 *   "own_energy", "verdict" (0 removal, 1 injection, 2 few tokens,
 *   3 unstable, 4 context), "evaluations", "seconds"; (1): "ceiling", "covariance_trace", and of
 *   the first principal component and of random directions "principal.NAME", "random.NAME", NAME
 *   up to "verdict" (docs/formats.md)
 * "probe": "energy" and "standard_error" (m), "ceiling" (1), in the Euclidean metric "kappa" (m),
 *   with optimal ablation "constant" (m); without the option "output" also "gradient" (m, d) and
 *   "energy_per_token" (m, N)
 * "ablate", (ranks): SPAN.EFFECT and SPAN.EFFECT_error, SPAN "basis", "principal" or "random",
 *   EFFECT "kl", "ce" or "top1"
 * "fidelity", of each direction, those of the basis first, then principal components, then random
 *   ones: "kappa", and energies in nats "lens.energy", "all.energy", "own.energy" (in the model, by
 *   scope). One number each: SCOPE.LIST.spearman, SCOPE.LIST.low, SCOPE.LIST.high, SCOPE.alignment,
 *   SCOPE.alignment_error, SCOPE "all" or "own", LIST "basis", "principal", "random" or "together";
 *   the same with "below." before: of directions with kappa below 10 alone
 * "spectrum": "energy" (d), nats, and "variance" (d), both falling; one number each: "sum",
 *   "dimensions_50", "dimensions_90", "dimensions_99", "participation", "variance_participation"
 * @return how many; 0: the layer has none of that name */
CBE_API size_t cbe_run_values(cbe_run *run, size_t layer, const char *name, const double **values);

#ifdef __cplusplus
}
#endif
#endif
