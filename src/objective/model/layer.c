/* layer.c - the layer of a whole-model objective: hidden states, their mean, and the states of
 * other processes' tokens. */
#include "objective/model/objective.h"

#include <string.h>

#include "core/memory.h"
#include "objective/model/state.h"
#include "objective/model/tokens.h"
#include "processes/long_sums.h"

/* The hidden states that ours are ablated with, wherever they are. */
static cbe_status fetch_others(const cbe_model_setup *setup, cbe_model_layer *layer, cbe_error *err)
{
    const size_t each = setup->tokens_each;
    size_t *wanted =
        cbe_alloc(setup->n_tokens, sizeof *wanted, "hidden states of other processes", err);
    cbe_status st = cbe_processes_agree(setup->processes, wanted ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK) {
        for (size_t n = 0; n < setup->n_tokens; n++) {
            const size_t token = (size_t)setup->derangement[n];
            wanted[n] = token / each * setup->context_length + setup->skip + token % each;
        }
        st = cbe_processes_fetch_rows(setup->processes, setup->first_states, setup->hidden_size,
                                      layer->hidden, setup->n_tokens, wanted, layer->other, err);
    }
    cbe_free(wanted);
    return st;
}

cbe_status cbe_model_objective_set_layer(cbe_objective *objective, size_t first,
                                         const float *hidden, const cbe_metric *metric,
                                         cbe_error *err)
{
    cbe_model_objective *o = (cbe_model_objective *)objective;
    const size_t d = o->setup.hidden_size, searched = o->setup.all_sequences - o->setup.n_held_out;
    o->layer.block = first;
    o->layer.hidden = hidden;
    o->layer.metric = cbe_metric_is_plain(metric) ? NULL : metric;
    cbe_suffix_forget_clean(o->setup.suffix);
    memset(o->work.sums, 0, d * sizeof *o->work.sums);
    for (size_t i = 0; i < searched; i++) {
        const size_t b = o->setup.order[i] - o->setup.first_sequence;
        /* another process's */
        if (o->setup.order[i] < o->setup.first_sequence || b >= o->setup.n_sequences) continue;
        for (size_t n = 0; n < o->setup.tokens_each; n++) {
            const float *h = cbe_model_token(&o->setup, &o->layer, b * o->setup.tokens_each + n);
            for (size_t k = 0; k < d; k++) cbe_long_add(&o->work.sums[k], (double)h[k]);
        }
    }
    cbe_processes_add_up(o->setup.processes, d, o->work.sums);
    for (size_t k = 0; k < d; k++)
        o->layer.mean[k] = cbe_long_value(&o->work.sums[k]) / (double)o->setup.n_mean;
    return o->layer.other ? fetch_others(&o->setup, &o->layer, err) : CBE_OK;
}
