/*
 * inputs.h - the files that a run has read: what each was by name and content, and whether it is
 * still the same.
 *
 * Whoever opens a file of a run adds it to the run's list, from the very bytes that are used.
 * Nothing is read again for a record.
 */
#ifndef CBE_FILES_INPUTS_H
#define CBE_FILES_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "files/file_identity.h"
#include "cbe/status.h"

enum { CBE_SHA256_TEXT = 65 }; /* 64 hexadecimal digits and a 0 */

/** What a file is to a run; a list is in this order. */
typedef enum {
    CBE_INPUT_MODEL = 0,    /* configuration and weights: by these a basis knows its model */
    CBE_INPUT_MODEL_BESIDE, /* other files of a model: its index of weights, its tokenizer */
    CBE_INPUT_TOKENS,
    CBE_INPUT_HIDDEN_STATES,
    CBE_INPUT_DECODER,
    CBE_INPUT_TEXT,
    CBE_INPUT_LENS,
    CBE_INPUT_INIT,
    CBE_INPUT_BASIS,
    CBE_INPUT_VECTORS,
    CBE_N_INPUT_ROLES
} cbe_input_role;

/** "model" for the first two, "tokens", "hidden_states", "decoder", "text", "lens", "init",
 * "basis", "vectors". */
const char *cbe_input_role_name(cbe_input_role role);

typedef struct {
    cbe_input_role role;
    char *path;
    char sha256
        [CBE_SHA256_TEXT]; /* of the bytes that were read; empty where the list takes no digests */
    uint64_t n_bytes;      /* how many were read */
    cbe_file_identity identity;
} cbe_input;

/** A zeroed one is empty. */
typedef struct {
    bool digests; /* take SHA-256s, for which each file is read whole */
    size_t n;
    cbe_input *files; /* (n), owned: by role, and in each role in the order of reading */
} cbe_inputs;

void cbe_inputs_free(cbe_inputs *inputs);

typedef enum { CBE_INPUT_SAME, CBE_INPUT_CHANGED, CBE_INPUT_GONE } cbe_input_state;

/** Whether a file is still what it was when it was opened, as far as that can be told. */
cbe_input_state cbe_input_look(const cbe_input *input);

#endif
