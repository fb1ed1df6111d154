/* run_record.h - what a run was: its options, inputs and sizes, for the files that it writes. */
#ifndef CBE_EXTRACT_RUN_RECORD_H
#define CBE_EXTRACT_RUN_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "files/inputs.h"

/** An option as it was in force. */
typedef struct {
    const char *name, *value;
} cbe_run_option;

typedef struct {
    size_t n_options;
    const cbe_run_option *options;
    size_t n_texts;           /* number of texts given, read or not */
    const cbe_inputs *inputs; /* files that were read, with digests; NULL: not known */
    /* Digest of the parameters in the folder `lens` beside the basis; empty: there is none. */
    char lens_sha256[CBE_SHA256_TEXT];
    const char *kernels; /* name of the instruction set */
    const char *logits;  /* how logits were kept */
    size_t n_sequences;  /* of the run, held out or not */
    size_t context_length;
    size_t n_tokens;
    size_t n_reported;   /* searched tokens that energies are on, if not all of them; else 0 */
    size_t n_held_out;   /* number of sequences held out */
    bool model_energies; /* whether directions found through a lens were measured in the model */
    size_t skip_positions;
    size_t hidden_size;
    size_t n_processes; /* processes that share a layer */
    size_t n_groups;    /* groups of such processes, each with layers of its own */
    double seconds;
} cbe_run_record;

#endif
