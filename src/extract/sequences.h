/* sequences.h - the sequences of a run: which are held out, and how many tokens each has. */
#ifndef CBE_EXTRACT_SEQUENCES_H
#define CBE_EXTRACT_SEQUENCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "extract/extraction_options.h"
#include "model/hidden_states.h"

/** Sequences of all processes, in their order. Owns its arrays; start with {0}. */
typedef struct {
    size_t n, n_held_out;
    size_t *tokens; /* (n): tokens of each that are neither masked nor skipped */
    bool *held_out; /* (n) */
    /* (n): tokens that have an energy (for ce: a label) of the searched sequences, and behind them
     * of the held-out ones. An objective's energies per token have this order. */
    size_t *rows;
} cbe_sequences;

/** Counts the tokens of sequences and chooses those that are held out; rows are the tokens until
 * cbe_sequences_count_rows. Collective.
 * @param first  index of the process's first sequence among all of them
 * @param n      number of sequences of all processes
 * @return CBE_OK; CBE_ERR_ARG (a share that cannot be held out); CBE_ERR_NOMEM */
cbe_status cbe_sequences_make(cbe_sequences *out, const cbe_hidden_states *states, size_t first,
                              size_t n, const cbe_extraction_options *options, cbe_error *err);
/** Leaves tokens without a label out of the rows. Collective.
 * @param labels  of the process's own tokens
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_sequences_count_rows(cbe_sequences *sequences, const cbe_hidden_states *states,
                                    size_t first, const cbe_extraction_options *options,
                                    const int64_t *labels, cbe_error *err);
void cbe_sequences_free(cbe_sequences *sequences);

/** Returns the standard error of a mean over the tokens of n searched sequences, evenly spread, as
 * an objective's sample of whole sequences has them.
 * @param rows    (n) scratch
 * @param values  energies per token of these sequences */
double cbe_sequences_sample_error(const cbe_sequences *sequences, size_t n, size_t *rows,
                                  const double *values);

/** Returns the standard error of a mean over tokens (math/sequence_error.h).
 * @param held_out  whether values are of the tokens held out, or of those searched
 * @param values    energies per token of an objective that all these tokens are in force of */
double cbe_sequences_error(const cbe_sequences *sequences, bool held_out, const double *values);

#endif
