/*
 * inputs.h - the files that a run has read: their names and digests, and whether they are
 * unchanged.
 *
 * The reader of a file adds it to the run's list, with the digest of the bytes that it uses. No
 * file is read again for a record.
 */
#ifndef CBE_FILES_INPUTS_H
#define CBE_FILES_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "files/file_identity.h"
#include "cbe/status.h"

enum { CBE_SHA256_TEXT = 65 }; /* 64 hexadecimal digits and a 0 */

/** The role of a file in a run; a list is sorted by role. */
typedef enum {
    CBE_INPUT_MODEL = 0,    /* configuration and weights, by which a basis knows its model */
    CBE_INPUT_MODEL_BESIDE, /* other files of a model: its index of weights, its tokenizer */
    CBE_INPUT_TOKENS,
    CBE_INPUT_HIDDEN_STATES,
    CBE_INPUT_DECODER,
    CBE_INPUT_TEXT,
    CBE_INPUT_HELD_OUT_TEXT, /* a text that a search is judged on alone */
    CBE_INPUT_LENS,
    CBE_INPUT_INIT,
    CBE_INPUT_BASIS,
    CBE_INPUT_VECTORS,
    CBE_N_INPUT_ROLES
} cbe_input_role;

/** Name of a role in files: "model" for the first two, "tokens", "hidden_states", "decoder",
 * "text", "held_out_text", "lens", "init", "basis", "vectors". */
const char *cbe_input_role_name(cbe_input_role role);

typedef struct {
    cbe_input_role role;
    char *path;
    /* Digest of the bytes read; empty if the list takes no digests. */
    char sha256[CBE_SHA256_TEXT];
    uint64_t n_bytes; /* number of bytes read */
    cbe_file_identity identity;
} cbe_input;

/** A list of inputs; a zeroed one is empty. */
typedef struct {
    bool digests; /* take SHA-256 digests, for which each file is read whole */
    size_t n;
    cbe_input *files; /* (n), owned: by role, and within a role in the order of reading */
} cbe_inputs;

/** Frees the list's files and empties it. */
void cbe_inputs_free(cbe_inputs *inputs);

typedef enum { CBE_INPUT_SAME, CBE_INPUT_CHANGED, CBE_INPUT_GONE } cbe_input_state;

/** Whether a file is unchanged since it was opened, as far as stat tells. A file without a known
 * identity counts as unchanged. */
cbe_input_state cbe_input_look(const cbe_input *input);

#endif
