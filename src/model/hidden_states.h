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
/** cbe_hidden_states_capture into a mapped file without a name, in a folder: memory holds one
 * batch, and the file ends with the states. Such states cannot be traded.
 * @return also CBE_ERR_IO and CBE_ERR_SYSTEM: the folder cannot be written or is full */
cbe_status cbe_hidden_states_spill(cbe_hidden_states **out, const char *folder,
                                   const cbe_model *model, const cbe_tokens *tokens,
                                   const bool *layers,
                                   bool (*progress)(void *context, size_t done, size_t total),
                                   void *context, cbe_error *err);
/** Runs a model and writes a hidden-state file (docs/formats.md) as it goes: memory holds one
 * batch.
 * @param with_logits whether to write `logits` (B, S, V) too
 * @return CBE_OK; CBE_ERR_NUMERIC if the model overflows, since NaN and infinity are never written;
 * and as cbe_hidden_states_spill */
cbe_status cbe_hidden_states_save(const char *path, const cbe_model *model,
                                  const cbe_tokens *tokens, const bool *layers, bool with_logits,
                                  bool (*progress)(void *context, size_t done, size_t total),
                                  void *context, cbe_error *err);
/** Adds the file of cbe_hidden_states_open to the inputs of a run. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_note(const cbe_hidden_states *states, cbe_inputs *inputs,
                                  cbe_error *err);

/** Exchanges captured states between processes. Before, process r has captured sequences first[r]
 * .. first[r + 1] - 1 of a text, all processes the same layers. After, the caller has the layers of
 * `keep` of sequences `from` .. from + tokens->n_sequences - 1, as if it had captured them.
 * Collective. Memory: the states kept, beside the states captured and two copies of one layer.
 * @param first  (size + 1), the same in all processes
 * @param tokens the caller's tokens, with their derangement or NULL; copied
 * @param keep   (L + 1), among the layers captured
 * @return CBE_OK; CBE_ERR_NOMEM in all processes, and then `states` can only be closed */
cbe_status cbe_hidden_states_trade(cbe_hidden_states *states, const cbe_processes *processes,
                                   const size_t *first, const cbe_tokens *tokens, size_t from,
                                   const bool *keep, cbe_error *err);

/** Keeps n sequences from `first` on, as if there were no other sequences; a derangement still
 * refers to all tokens. */
void cbe_hidden_states_keep(cbe_hidden_states *states, size_t first, size_t n);

/** The highest layer plus 1. */
size_t cbe_hidden_states_end(const cbe_hidden_states *states);
/** L of the model that made the states; 0 if the file does not say. */
size_t cbe_hidden_states_n_blocks(const cbe_hidden_states *states);
/** Token ids (B S), borrowed; NULL: there are none. */
const int64_t *cbe_hidden_states_ids(const cbe_hidden_states *states);
/** Derangement of the tokens left, borrowed; NULL: there is none. */
const int64_t *cbe_hidden_states_derangement(const cbe_hidden_states *states);

/** Whether the model's own logits are there: of hidden_states.<state>, (B, S, vocab_size). */
bool cbe_hidden_states_logits(const cbe_hidden_states *states, size_t *state, size_t *vocab_size);
/** Logits of n tokens, numbers of those that a mask leaves, rising: out (n, vocab_size). There must
 * be logits. @return CBE_OK; CBE_ERR_IO, CBE_ERR_FORMAT, CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_read_logits(const cbe_hidden_states *states, size_t n,
                                         const size_t *tokens, float *out, cbe_error *err);

/* Leaving out the first positions of every sequence, counted among the tokens that a mask
 * leaves. */

/** Number of tokens left: B (S - skip) without a mask. */
size_t cbe_hidden_states_n_tokens(const cbe_hidden_states *states, size_t skip);
/** Number of tokens left of each sequence: out (n_sequences). */
void cbe_hidden_states_sequence_tokens(const cbe_hidden_states *states, size_t skip, size_t *out);
/** Reads hidden_states.<layer> of the tokens left: out (n_tokens, d).
 * @return CBE_OK; CBE_ERR_ARG (no such layer); CBE_ERR_NUMERIC (NaN or infinity: sequence and
 * position named) */
cbe_status cbe_hidden_states_read(const cbe_hidden_states *states, size_t layer, size_t skip,
                                  float *out, cbe_error *err);
/** Gives the next token of each token left: out (n_tokens), -1 for the last token of a sequence and
 * before a token that is left out.
 * @return CBE_OK; CBE_ERR_ARG: there are no ids */
cbe_status cbe_hidden_states_labels(const cbe_hidden_states *states, size_t skip, int64_t *out,
                                    cbe_error *err);
/** Computes the median norm of first positions over the median norm of all tokens of a layer: above
 * 10 if a model puts a huge norm on the first token.
 * @return as cbe_hidden_states_read; CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_first_norm_ratio(const cbe_hidden_states *states, size_t layer,
                                              double *ratio, cbe_error *err);

#endif
