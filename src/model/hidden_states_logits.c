/* hidden_states_logits.c - the model's own logits beside hidden states; see
 * model/hidden_states.h. */
#include <string.h>

#include "core/memory.h"
#include "model/hidden_states_private.h"

static const char name[] = "logits";

bool cbe_hidden_states_logits(const cbe_hidden_states *states, size_t *state, size_t *vocab_size)
{
    cbe_tensor t;
    if (states->logits) {
        *state = states->logits_state;
        *vocab_size = states->vocab_size;
        return true;
    }
    if (!states->file || states->n_blocks == 0 || !cbe_array_file_has(states->file, name) ||
        cbe_array_file_describe(states->file, name, &t, NULL) != CBE_OK || t.n_dims < 2 ||
        t.n_elements == 0)
        return false;
    if (!cbe_hidden_states_has(states, states->n_blocks)) return false;
    *state = states->n_blocks;
    *vocab_size = t.dims[t.n_dims - 1];
    return t.n_elements / *vocab_size == states->n_sequences * states->context_length;
}

cbe_status cbe_hidden_states_read_logits(const cbe_hidden_states *states, size_t n,
                                         const size_t *tokens, float *out, cbe_error *err)
{
    size_t state, v, at = 0;
    cbe_array_reader *reader = NULL;
    if (!cbe_hidden_states_logits(states, &state, &v)) return CBE_ERR_INTERNAL;
    cbe_status st =
        states->logits ? CBE_OK : cbe_array_reader_open(&reader, states->file, name, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const size_t token = states->kept ? states->kept[tokens[i]] : tokens[i];
        if (states->logits) {
            memcpy(out + i * v, states->logits + token * v, v * sizeof *out);
            continue;
        }
        st = cbe_array_reader_next(reader, (token - at) * v, NULL, err);
        if (st == CBE_OK) st = cbe_array_reader_next(reader, v, out + i * v, err);
        at = token + 1;
    }
    cbe_array_reader_close(reader);
    return st;
}
