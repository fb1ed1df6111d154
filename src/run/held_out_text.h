/* held_out_text.h - a text that a search is judged on alone: its sequences come behind those that
 * are searched. */
#ifndef CBE_RUN_HELD_OUT_TEXT_H
#define CBE_RUN_HELD_OUT_TEXT_H

#include "run/inputs.h"

/** Refuses what cannot be before a model is read: a text apart beside hidden states, or beside a
 * share of the sequences.
 * @return CBE_OK, CBE_ERR_ARG */
cbe_status cbe_check_held_out_text(const cbe_run_settings *run, cbe_error *err);
/** Reads the text apart with the model's tokenizer, in sequences as long as those searched, and
 * adds its files to the inputs of the run. At most --max-tokens of it are read.
 * @param searched  tokens of the search
 * @param joined    [out] a copy of them without their derangement, and the text's sequences behind
 * @param n_apart   [out] number of the text's sequences
 * @return CBE_OK; CBE_ERR_ARG (less than one sequence; no tokenizer); what cbe_corpus_read_tokens
 * returns */
cbe_status cbe_read_held_out_text(cbe_tokens *joined, size_t *n_apart, const cbe_tokens *searched,
                                  const cbe_model *model, const cbe_run_settings *run,
                                  cbe_watch *watch, cbe_error *err);

#endif
