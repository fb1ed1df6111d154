/*
 * hidden_states.h - the residual stream at some layers, for a set of tokens: captured from a model,
 * read from a file made elsewhere, or given in arrays.
 *
 * cbe/cbe.h has what callers of the library use of it. In a file, `hidden_states.<i>` is (B, S, d)
 * or (N, d), which is one sequence of N unless there are input_ids (B, S); attention_mask or mask
 * (B, S) leaves tokens out by its zeros; `derangement` is of all tokens or of those that are left.
 * A .npy file is one layer: hidden_states.<i> when it is called so, else hidden_states.0.
 */
#ifndef CBE_MODEL_HIDDEN_STATES_H
#define CBE_MODEL_HIDDEN_STATES_H

#include <stdbool.h>

#include "cbe/cbe.h"
#include "model/model.h"
#include "processes/processes.h"
#include "text/tokens.h"

/** Runs a model and keeps hidden_states.i where layers[i] (L + 1 of them) in memory.
 * @param progress as in cbe_forward_sink, with its context; NULL: none
 * @return CBE_OK, CBE_ERR_ARG, CBE_ERR_NOMEM, CBE_ERR_CANCELLED */
cbe_status cbe_hidden_states_capture(cbe_hidden_states **out, const cbe_model *model,
                                     const cbe_tokens *tokens, const bool *layers,
                                     bool (*progress)(void *context, size_t done, size_t total),
                                     void *context, cbe_error *err);
/** The same, in a file without a name in a folder, which is mapped: memory holds one batch, and the
 * file ends with the states. They cannot be traded.
 * @return also CBE_ERR_IO and CBE_ERR_SYSTEM: the folder cannot be written, or is full */
cbe_status cbe_hidden_states_spill(cbe_hidden_states **out, const char *folder,
                                   const cbe_model *model, const cbe_tokens *tokens,
                                   const bool *layers,
                                   bool (*progress)(void *context, size_t done, size_t total),
                                   void *context, cbe_error *err);
/** Runs a model and writes a hidden-state file (docs/formats.md) as it goes: memory holds one
 * batch.
 * @param with_logits also `logits` (B, S, V)
 * @return CBE_OK; CBE_ERR_NUMERIC where the model overflows: NaN and infinity are never written;
 * and as above */
cbe_status cbe_hidden_states_save(const char *path, const cbe_model *model,
                                  const cbe_tokens *tokens, const bool *layers, bool with_logits,
                                  bool (*progress)(void *context, size_t done, size_t total),
                                  void *context, cbe_error *err);
/** Adds the file of states that were opened to the inputs of a run. @return CBE_OK,
 * CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_note(const cbe_hidden_states *states, cbe_inputs *inputs,
                                  cbe_error *err);

/** Of captured states, gives other processes what they want of them and takes from them what the
 * caller wants. Process r has captured sequences first[r] .. first[r + 1] - 1 of a text, all of
 * them the same layers; after it, the caller has the layers of `keep` alone, of sequences `from` ..
 * from + tokens->n_sequences - 1, as if it had captured these. Called by all processes.
 * @param first  (size + 1), the same in all
 * @param tokens the caller's, with their derangement or NULL; copied
 * @param keep   (L + 1), of the layers captured Memory: what is kept, beside what was captured and
 * two copies of one layer.
 * @return CBE_OK; CBE_ERR_NOMEM, in all processes: then `states` can only be closed */
cbe_status cbe_hidden_states_trade(cbe_hidden_states *states, const cbe_processes *processes,
                                   const size_t *first, const cbe_tokens *tokens, size_t from,
                                   const bool *keep, cbe_error *err);

/** Keeps n sequences from `first` on, as if there were no others; a derangement remains one of all
 * tokens. */
void cbe_hidden_states_keep(cbe_hidden_states *states, size_t first, size_t n);

/** One more than the highest layer that is there. */
size_t cbe_hidden_states_end(const cbe_hidden_states *states);
/** L of the model that made them; 0 when the file does not say. */
size_t cbe_hidden_states_n_blocks(const cbe_hidden_states *states);
/** (B S) borrowed, NULL when there are none. */
const int64_t *cbe_hidden_states_ids(const cbe_hidden_states *states);
/** Of the tokens that are left. */
const int64_t *cbe_hidden_states_derangement(const cbe_hidden_states *states);

/** Whether the model's own logits are there: of hidden_states.<state>, (B, S, vocab_size). */
bool cbe_hidden_states_logits(const cbe_hidden_states *states, size_t *state, size_t *vocab_size);
/** Logits of n tokens, numbers of those that a mask leaves, rising: out (n, vocab_size). There must
 * be logits. @return CBE_OK; CBE_ERR_IO, CBE_ERR_FORMAT, CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_read_logits(const cbe_hidden_states *states, size_t n,
                                         const size_t *tokens, float *out, cbe_error *err);

/* Leaving out the first positions of every sequence, counted among the tokens that a mask
 * leaves. */

/** B (S - skip) without a mask. */
size_t cbe_hidden_states_n_tokens(const cbe_hidden_states *states, size_t skip);
/** hidden_states.<layer> of the tokens that are left: out (n_tokens, d).
 * @return CBE_OK; CBE_ERR_ARG (no such layer); CBE_ERR_NUMERIC (NaN or infinity: sequence and
 * position named) */
cbe_status cbe_hidden_states_read(const cbe_hidden_states *states, size_t layer, size_t skip,
                                  float *out, cbe_error *err);
/** Next token of each token that is left, -1 for the last of a sequence and before one that is left
 * out: out (n_tokens). CBE_ERR_ARG when there are no ids. */
cbe_status cbe_hidden_states_labels(const cbe_hidden_states *states, size_t skip, int64_t *out,
                                    cbe_error *err);
/** Median norm of the first positions over the median norm of all tokens of a layer: above 10 where
 * a model puts a huge norm on the first token. scratch: B S + B floats */
cbe_status cbe_hidden_states_first_norm_ratio(const cbe_hidden_states *states, size_t layer,
                                              double *ratio, cbe_error *err);

#endif
