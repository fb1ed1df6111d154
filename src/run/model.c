/* model.c - what callers of the library do with a model; see cbe/model.h. */
#include "model/model.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "math/gemm.h"
#include "model/hidden_states.h"
#include "run/watch.h"

size_t cbe_model_size(const cbe_model *model, const char *name)
{
    const cbe_model_config *c = model ? cbe_model_get_config(model) : NULL;
    if (!c || !name) return 0;
    const struct {
        const char *name;
        size_t size;
    } sizes[] = {{"n_layers", c->n_layers},     {"hidden_size", c->hidden_size},
                 {"vocab_size", c->vocab_size}, {"n_heads", c->n_heads},
                 {"n_kv_heads", c->n_kv_heads}, {"head_size", c->head_size},
                 {"mlp_size", c->mlp_size},     {"max_context", c->max_context}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (strcmp(name, sizes[i].name) == 0) return sizes[i].size;
    return 0;
}

cbe_status cbe_model_capture(cbe_hidden_states **out, const cbe_model *model, size_t n_sequences,
                             size_t context_length, const int64_t *ids, const bool *states,
                             cbe_callback *callback, void *context, cbe_error *err)
{
    size_t n;
    cbe_watch watch = {.callback = callback, .context = context, .side = CBE_IN_LIBRARY};
    if (!cbe_mul_size(n_sequences, context_length, &n) || n > SIZE_MAX / sizeof *ids)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "cbe_model_capture: %zu sequences of %zu tokens cannot be held",
                        n_sequences, context_length);
    if (!out || !model || !ids || n == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_model_capture: %s",
                        !out     ? "out is NULL"
                        : !model ? "the model is NULL"
                        : !ids   ? "the ids are NULL"
                                 : "there are no tokens");
    const size_t n_states = cbe_model_get_config(model)->n_layers + 1;
    bool *all = cbe_alloc(n_states, sizeof *all, "layers", err);
    int64_t *copy = cbe_alloc(n, sizeof *copy, "token ids", err);
    cbe_status st = all && copy ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        for (size_t i = 0; i < n_states; i++) all[i] = !states || states[i];
        memcpy(copy, ids, n * sizeof *copy);
        const cbe_tokens tokens = {
            .n_sequences = n_sequences, .context_length = context_length, .ids = copy};
        cbe_gemm_enter();
        st = cbe_hidden_states_capture(out, model, &tokens, all, cbe_watch_forward, &watch, err);
        cbe_gemm_leave();
    }
    cbe_free(all);
    cbe_free(copy);
    return st;
}
