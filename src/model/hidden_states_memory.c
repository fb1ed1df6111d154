/* hidden_states_memory.c - hidden states that a caller has in arrays; see cbe/cbe.h. */
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "model/hidden_states_private.h"

/* More layers than any model has. */
enum { MOST_STATES = 10000 };

static cbe_status check(const cbe_hidden_states *s, const void *array, const char *caller,
                        const char *name, cbe_error *err)
{
    if (s && s->given && array) return CBE_OK;
    return cbe_fail(err, CBE_ERR_ARG, -1, "%s: %s", caller,
                    !s          ? "the hidden states are NULL"
                    : !s->given ? "these hidden states are not from memory"
                                : name);
}

cbe_status cbe_hidden_states_create(cbe_hidden_states **out, size_t n_sequences,
                                    size_t context_length, size_t hidden_size, cbe_error *err)
{
    const size_t numbers = cbe_times(n_sequences, context_length, hidden_size);
    if (!out || numbers == 0 || numbers > SIZE_MAX / sizeof(double))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        out ? "cbe_hidden_states_create: %zu sequences of %zu tokens with %zu "
                              "numbers each cannot be held"
                            : "cbe_hidden_states_create: out is NULL",
                        n_sequences, context_length, hidden_size);
    cbe_hidden_states *s = cbe_alloc_zero(1, sizeof *s, "hidden states", err);
    if (!s) return CBE_ERR_NOMEM;
    s->given = true;
    s->n_sequences = n_sequences;
    s->context_length = context_length;
    s->hidden_size = hidden_size;
    *out = s;
    return CBE_OK;
}

/* Room for one more state at a place. */
static cbe_status grow(cbe_hidden_states *s, size_t end, cbe_error *err)
{
    if (end <= s->end) return CBE_OK;
    float **captured = cbe_alloc_zero(end, sizeof *captured, "hidden states", err);
    bool *borrowed = cbe_alloc_zero(end, sizeof *borrowed, "hidden states", err);
    if (!captured || !borrowed) {
        cbe_free(captured);
        cbe_free(borrowed);
        return CBE_ERR_NOMEM;
    }
    if (s->end) memcpy(captured, s->captured, s->end * sizeof *captured);
    if (s->end) memcpy(borrowed, s->borrowed, s->end * sizeof *borrowed);
    cbe_free(s->captured);
    cbe_free(s->borrowed);
    s->captured = captured;
    s->borrowed = borrowed;
    s->end = end;
    return CBE_OK;
}

cbe_status cbe_hidden_states_set(cbe_hidden_states *s, size_t state, const float *hidden, bool copy,
                                 cbe_error *err)
{
    float *kept = NULL;
    cbe_status st = check(s, hidden, "cbe_hidden_states_set", "hidden is NULL", err);
    if (st != CBE_OK) return st;
    if (state >= MOST_STATES)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "cbe_hidden_states_set: hidden_states.%zu: no model has so many layers",
                        state);
    if (cbe_hidden_states_has(s, state))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "cbe_hidden_states_set: hidden_states.%zu is there already", state);
    const size_t n = s->n_sequences * s->context_length * s->hidden_size;
    if (copy && !(kept = cbe_alloc(n, sizeof *kept, "hidden states", err))) return CBE_ERR_NOMEM;
    if ((st = grow(s, state + 1, err)) != CBE_OK) {
        cbe_free(kept);
        return st;
    }
    if (copy) memcpy(kept, hidden, n * sizeof *kept);
    s->captured[state] = copy ? kept : (float *)(uintptr_t)hidden; /* which is only read */
    s->borrowed[state] = !copy;
    return CBE_OK;
}

cbe_status cbe_hidden_states_set_ids(cbe_hidden_states *s, const int64_t *ids, cbe_error *err)
{
    cbe_status st = check(s, ids, "cbe_hidden_states_set_ids", "ids are NULL", err);
    if (st != CBE_OK) return st;
    const size_t n = s->n_sequences * s->context_length;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "cbe_hidden_states_set_ids: sequence %zu, position %zu: the id is "
                            "negative",
                            i / s->context_length, i % s->context_length);
    int64_t *copy = cbe_alloc(n, sizeof *copy, "token ids", err);
    if (!copy) return CBE_ERR_NOMEM;
    memcpy(copy, ids, n * sizeof *copy);
    cbe_free(s->ids);
    s->ids = copy;
    return CBE_OK;
}

cbe_status cbe_hidden_states_set_mask(cbe_hidden_states *s, const unsigned char *mask,
                                      cbe_error *err)
{
    const cbe_status st = check(s, mask, "cbe_hidden_states_set_mask", "the mask is NULL", err);
    if (st != CBE_OK) return st;
    const size_t n = s->n_sequences * s->context_length;
    int64_t *whole = cbe_alloc(n, sizeof *whole, "mask", err);
    if (!whole) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) whole[i] = mask[i];
    const cbe_status taken = cbe_hidden_states_take_mask(s, whole,
                                                         "cbe_hidden_states_set_mask: "
                                                         "the mask",
                                                         err);
    cbe_free(whole);
    return taken;
}

cbe_status cbe_hidden_states_set_logits(cbe_hidden_states *s, size_t state, size_t vocab_size,
                                        const float *logits, cbe_error *err)
{
    const cbe_status st =
        check(s, logits, "cbe_hidden_states_set_logits", "the logits are NULL", err);
    if (st != CBE_OK) return st;
    if (vocab_size == 0 ||
        cbe_times(s->n_sequences * s->context_length, vocab_size, sizeof *logits) == SIZE_MAX)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "cbe_hidden_states_set_logits: logits of %zu tokens cannot be held",
                        vocab_size);
    s->logits = logits;
    s->logits_state = state;
    s->vocab_size = vocab_size;
    return CBE_OK;
}
