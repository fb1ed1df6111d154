/* layer.c - the layer of a whole-model objective: its hidden states, their mean, and those of other
 * processes. */
#include "objective/model/objective.h"

#include <string.h>

#include "core/memory.h"
#include "objective/model/state.h"
#include "objective/model/tokens.h"
#include "processes/long_sums.h"

/* The hidden states that ours are ablated with, wherever they are. */
static cbe_status fetch_others(cbe_model_objective *o, cbe_error *err)
{
    const size_t each = o->tokens_each;
    size_t *wanted =
        cbe_alloc(o->n_tokens, sizeof *wanted, "hidden states of other processes", err);
    cbe_status st = cbe_processes_agree(o->processes, wanted ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK) {
        for (size_t n = 0; n < o->n_tokens; n++) {
            const size_t token = (size_t)o->derangement[n];
            wanted[n] = token / each * o->context_length + o->skip + token % each;
        }
        st = cbe_processes_fetch_rows(o->processes, o->first_states, o->hidden_size, o->hidden,
                                      o->n_tokens, wanted, o->other, err);
    }
    cbe_free(wanted);
    return st;
}

cbe_status cbe_model_objective_set_layer(cbe_objective *objective, size_t first,
                                         const float *hidden, cbe_error *err)
{
    cbe_model_objective *o = (cbe_model_objective *)objective;
    const size_t d = o->hidden_size, searched = o->all_sequences - o->n_held_out;
    o->first = first;
    o->hidden = hidden;
    memset(o->sums, 0, d * sizeof *o->sums);
    for (size_t i = 0; i < searched; i++) {
        const size_t b = o->order[i] - o->first_sequence;
        /* another process's */
        if (o->order[i] < o->first_sequence || b >= o->n_sequences) continue;
        for (size_t n = 0; n < o->tokens_each; n++) {
            const float *h = cbe_model_token(o, b * o->tokens_each + n);
            for (size_t k = 0; k < d; k++) cbe_long_add(&o->sums[k], (double)h[k]);
        }
    }
    cbe_processes_add_up(o->processes, d, o->sums);
    for (size_t k = 0; k < d; k++) o->mean[k] = cbe_long_value(&o->sums[k]) / (double)o->n_mean;
    return o->other ? fetch_others(o, err) : CBE_OK;
}
