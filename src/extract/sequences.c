/* sequences.c - see sequences.h. */
#include "extract/sequences.h"

#include <string.h>

#include "core/fail.h"
#include "core/held_out.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "math/sequence_error.h"

/* Where nothing is said, one of EIGHTH sequences is held out, if there are as many. */
enum { EIGHTH = 8 };

void cbe_sequences_free(cbe_sequences *sequences)
{
    cbe_free(sequences->tokens);
    cbe_free(sequences->held_out);
    cbe_free(sequences->rows);
    *sequences = (cbe_sequences){0};
}

/* Chooses the number of sequences held out among n of the same text. */
static cbe_status choose_number(double share, size_t n, size_t *out, cbe_error *err)
{
    *out = 0;
    if (share == CBE_HELD_OUT_AUTO) share = n < EIGHTH ? 0 : 1.0 / EIGHTH;
    if (share == 0) return CBE_OK;
    if (!(share > 0 && share < 1))
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "a share of %g of the sequences cannot be held out; give 0 or more, less than 1",
            share);
    *out = cbe_max_size((size_t)(share * (double)n + 0.5), 1);
    if (*out >= n)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "holding out %g of %zu sequence%s leaves none to search; give more tokens "
                        "or a smaller share",
                        share, n, n == 1 ? "" : "s");
    return CBE_OK;
}

/* Marks the sequences held out: the last ones, if they were given apart, else some evenly
 * spread. */
static cbe_status hold_out(cbe_sequences *out, const cbe_extraction_options *options,
                           cbe_error *err)
{
    const size_t n = out->n, apart = options->held_out_apart;
    if (apart >= n && apart > 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "all sequences are held out; none is searched");
    const cbe_status st =
        apart ? CBE_OK : choose_number(options->held_out, n, &out->n_held_out, err);
    if (st != CBE_OK) return st;
    for (size_t s = 0; s < n; s++)
        out->held_out[s] = apart ? s >= n - apart : cbe_is_held_out(s, out->n_held_out, n);
    if (apart) out->n_held_out = apart;
    return CBE_OK;
}

/* Puts the counts of searched sequences before those of the held-out ones. */
static void set_rows(cbe_sequences *out, const double *counts)
{
    size_t at[2] = {0, out->n - out->n_held_out};
    for (size_t s = 0; s < out->n; s++) out->rows[at[out->held_out[s]]++] = (size_t)counts[s];
}

/* Counts the tokens of each sequence of all processes, or those of them that have a label.
 * @param own     (own sequences) scratch
 * @param counts  [out] (n) */
static void count(const cbe_hidden_states *states, size_t first, size_t skip, const int64_t *labels,
                  const cbe_processes *processes, size_t n, size_t *own, double *counts)
{
    memset(counts, 0, n * sizeof *counts);
    cbe_hidden_states_sequence_tokens(states, skip, own);
    for (size_t b = 0; b < cbe_hidden_states_n_sequences(states); b++)
        for (size_t i = 0; i < own[b]; i++) counts[first + b] += !labels || *labels++ >= 0;
    cbe_processes_sum(processes, n, counts);
}

cbe_status cbe_sequences_make(cbe_sequences *out, const cbe_hidden_states *states, size_t first,
                              size_t n, const cbe_extraction_options *options, cbe_error *err)
{
    *out = (cbe_sequences){n, 0, cbe_alloc(n, sizeof *out->tokens, "sequences", err),
                           cbe_alloc_zero(n, sizeof *out->held_out, "sequences", err),
                           cbe_alloc(n, sizeof *out->rows, "sequences", err)};
    cbe_status st = out->tokens && out->held_out && out->rows ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) st = hold_out(out, options, err);
    double *counts = cbe_alloc(n, sizeof *counts, "sequences", err);
    size_t *own = cbe_alloc(cbe_hidden_states_n_sequences(states), sizeof *own, "sequences", err);
    if (st == CBE_OK && (!counts || !own)) st = CBE_ERR_NOMEM;
    if ((st = cbe_processes_agree(options->processes, st, err)) == CBE_OK) {
        count(states, first, options->skip_positions, NULL, options->processes, n, own, counts);
        for (size_t s = 0; s < n; s++) out->tokens[s] = (size_t)counts[s];
        set_rows(out, counts);
    }
    cbe_free(counts);
    cbe_free(own);
    return st;
}

cbe_status cbe_sequences_count_rows(cbe_sequences *sequences, const cbe_hidden_states *states,
                                    size_t first, const cbe_extraction_options *options,
                                    const int64_t *labels, cbe_error *err)
{
    const size_t n = sequences->n;
    double *counts = cbe_alloc(n, sizeof *counts, "sequences", err);
    size_t *own = cbe_alloc(cbe_hidden_states_n_sequences(states), sizeof *own, "sequences", err);
    const cbe_status st =
        cbe_processes_agree(options->processes, counts && own ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK) {
        count(states, first, options->skip_positions, labels, options->processes, n, own, counts);
        set_rows(sequences, counts);
    }
    cbe_free(counts);
    cbe_free(own);
    return st;
}

double cbe_sequences_error(const cbe_sequences *sequences, bool held_out, const double *values)
{
    const size_t searched = sequences->n - sequences->n_held_out;
    return held_out ? cbe_sequence_error(sequences->n_held_out, sequences->rows + searched, values)
                    : cbe_sequence_error(searched, sequences->rows, values);
}

double cbe_sequences_sample_error(const cbe_sequences *sequences, size_t n, size_t *rows,
                                  const double *values)
{
    const size_t searched = sequences->n - sequences->n_held_out;
    for (size_t i = 0; i < n; i++) rows[i] = sequences->rows[i * searched / n];
    return cbe_sequence_error(n, rows, values);
}
