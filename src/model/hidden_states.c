/* hidden_states.c - what hidden states are, wherever they come from; see model/hidden_states.h. */
#include "model/hidden_states_private.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

void cbe_hidden_states_close(cbe_hidden_states *states)
{
    if (!states) return;
    const bool in_memory = states->captured && !states->spilled.numbers;
    for (size_t i = 0; in_memory && i < states->end; i++)
        if (!states->borrowed || !states->borrowed[i]) cbe_free(states->captured[i]);
    cbe_free(states->captured);
    cbe_free(states->borrowed);
    cbe_unnamed_array_close(&states->spilled);
    cbe_array_file_close(states->file);
    cbe_free(states->kept);
    cbe_free(states->starts);
    cbe_free(states->names);
    cbe_free(states->ids);
    cbe_free(states->derangement);
    cbe_free(states);
}

static int64_t *copy_int64(const void *data, size_t n, const char *what, cbe_error *err)
{
    int64_t *copy = cbe_alloc(n, sizeof *copy, what, err);
    if (copy) memcpy(copy, data, n * sizeof *copy);
    return copy;
}

cbe_status cbe_hidden_states_take_tokens(cbe_hidden_states *s, const cbe_tokens *tokens,
                                         cbe_error *err)
{
    const size_t n = tokens->n_sequences * tokens->context_length;
    cbe_free(s->ids);
    cbe_free(s->derangement);
    s->n_sequences = tokens->n_sequences;
    s->context_length = tokens->context_length;
    s->ids = copy_int64(tokens->ids, n, "token ids", err);
    s->derangement =
        tokens->derangement ? copy_int64(tokens->derangement, n, "derangement", err) : NULL;
    return s->ids && (s->derangement || !tokens->derangement) ? CBE_OK : CBE_ERR_NOMEM;
}

cbe_status cbe_hidden_states_take_mask(cbe_hidden_states *s, const int64_t *mask, const char *name,
                                       cbe_error *err)
{
    const size_t n = s->n_sequences * s->context_length;
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) n_kept += mask[i] != 0;
    if (n_kept == 0) return cbe_fail(err, CBE_ERR_ARG, -1, "%s leaves out every token", name);
    cbe_free(s->kept);
    cbe_free(s->starts);
    s->kept = s->starts = NULL;
    s->n_kept = 0;
    if (n_kept == n) return CBE_OK;
    s->kept = cbe_alloc(n_kept, sizeof *s->kept, "mask", err);
    s->starts = cbe_alloc(s->n_sequences + 1, sizeof *s->starts, "mask", err);
    if (!s->kept || !s->starts) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (i % s->context_length == 0) s->starts[i / s->context_length] = s->n_kept;
        if (mask[i]) s->kept[s->n_kept++] = i;
    }
    s->starts[s->n_sequences] = s->n_kept;
    return CBE_OK;
}

size_t cbe_hidden_states_n_sequences(const cbe_hidden_states *states)
{
    return states->n_sequences;
}

size_t cbe_hidden_states_context_length(const cbe_hidden_states *states)
{
    return states->context_length;
}

size_t cbe_hidden_states_hidden_size(const cbe_hidden_states *states)
{
    return states->hidden_size;
}

size_t cbe_hidden_states_end(const cbe_hidden_states *states)
{
    return states->end;
}

size_t cbe_hidden_states_n_blocks(const cbe_hidden_states *states)
{
    return states->n_blocks;
}

bool cbe_hidden_states_has(const cbe_hidden_states *states, size_t layer)
{
    if (layer >= states->end) return false;
    return states->captured ? states->captured[layer] != NULL : states->names[layer][0] != 0;
}

const int64_t *cbe_hidden_states_ids(const cbe_hidden_states *states)
{
    return states->ids ? states->ids + states->first_sequence * states->context_length : NULL;
}

const int64_t *cbe_hidden_states_derangement(const cbe_hidden_states *states)
{
    return states->derangement;
}

void cbe_hidden_states_keep(cbe_hidden_states *states, size_t first, size_t n)
{
    states->first_sequence += first;
    states->n_sequences = n;
}
