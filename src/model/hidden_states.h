/*
 * hidden_states.h - the residual stream at some layers, for a set of tokens: captured from a model,
 * or read from a file made elsewhere.
 */
#ifndef CBE_MODEL_HIDDEN_STATES_H
#define CBE_MODEL_HIDDEN_STATES_H

#include <stdbool.h>

#include "model/model.h"
#include "processes/processes.h"
#include "text/tokens.h"

typedef struct cbe_hidden_states cbe_hidden_states;

/** Runs a model and keeps hidden_states.i in memory if layers[i]; layers (L + 1).
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
/** Opens a file of hidden states, .safetensors, .npz or .npy: `hidden_states.<i>` (B, S, d) or (N,
 * d), and, if present, `input_ids` (B, S), `attention_mask` or `mask` (B, S), whose zeros leave
 * tokens out, and `derangement` of all tokens or of the tokens left. A .npy file is one layer:
 * hidden_states.<i> if the file is called so, else hidden_states.0.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_SHAPE (tensor named); CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_open(cbe_hidden_states **out, const char *path, cbe_error *err);
/** Adds the file of cbe_hidden_states_open to the inputs of a run. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_note(const cbe_hidden_states *states, cbe_inputs *inputs,
                                  cbe_error *err);
void cbe_hidden_states_close(cbe_hidden_states *states); /* NULL is allowed */

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

/** B, S and d; a file of (N, d) without input_ids is one sequence of N tokens. */
size_t cbe_hidden_states_n_sequences(const cbe_hidden_states *states);
size_t cbe_hidden_states_context_length(const cbe_hidden_states *states);
size_t cbe_hidden_states_hidden_size(const cbe_hidden_states *states);
/** The highest layer plus 1. */
size_t cbe_hidden_states_end(const cbe_hidden_states *states);
/** L of the model that made the states; 0 if the file does not say. */
size_t cbe_hidden_states_n_blocks(const cbe_hidden_states *states);
bool cbe_hidden_states_has(const cbe_hidden_states *states, size_t layer);
/** Token ids (B S), borrowed; NULL: there are none. */
const int64_t *cbe_hidden_states_ids(const cbe_hidden_states *states);
/** Derangement of the tokens left, borrowed; NULL: there is none. */
const int64_t *cbe_hidden_states_derangement(const cbe_hidden_states *states);

/* Functions below leave out the first `skip` positions of every sequence, counted among the tokens
 * that a mask leaves. */

/** Number of tokens left: B (S - skip) without a mask. */
size_t cbe_hidden_states_n_tokens(const cbe_hidden_states *states, size_t skip);
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
