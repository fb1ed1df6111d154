/* hidden_states_trade.c - exchanging hidden states between processes; see model/hidden_states.h. */
#include "core/memory.h"
#include "model/hidden_states_private.h"

cbe_status cbe_hidden_states_trade(cbe_hidden_states *s, const cbe_processes *processes,
                                   const size_t *first, const cbe_tokens *tokens, size_t from,
                                   const bool *keep, cbe_error *err)
{
    const size_t size = cbe_processes_size(processes), length = s->context_length,
                 n = tokens->n_sequences * length, d = s->hidden_size;
    size_t *firsts = cbe_alloc(size + 1, sizeof *firsts, "sequences of others", err);
    size_t *wanted = cbe_alloc(n, sizeof *wanted, "sequences of others", err);
    cbe_status st =
        firsts && wanted ? cbe_hidden_states_take_tokens(s, tokens, err) : CBE_ERR_NOMEM;
    if ((st = cbe_processes_agree(processes, st, err)) != CBE_OK) goto done;
    for (size_t r = 0; r <= size; r++) firsts[r] = first[r] * length;
    for (size_t i = 0; i < n; i++) wanted[i] = from * length + i;
    for (size_t i = 0; i < s->end && st == CBE_OK; i++) {
        if (!s->captured[i]) continue;
        float *kept = keep[i] ? cbe_alloc(n, d * sizeof *kept, "hidden states", err) : NULL;
        st = cbe_processes_agree(processes, keep[i] && !kept ? CBE_ERR_NOMEM : CBE_OK, err);
        if (st == CBE_OK)
            st = cbe_processes_fetch_rows(processes, firsts, d, s->captured[i], keep[i] ? n : 0,
                                          wanted, kept, err);
        cbe_free(s->captured[i]);
        s->captured[i] = kept;
    }
    while (s->end > 0 && !s->captured[s->end - 1]) s->end--;
done:
    cbe_free(firsts);
    cbe_free(wanted);
    return st;
}
