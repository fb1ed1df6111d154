/* survey.c - see survey.h. */
#include "extract/survey.h"

#include <math.h>

#include "core/memory.h"
#include "extract/layer_objective_state.h"
#include "objective/ceiling.h"

/* Divides the process's own tokens (.., d) into blocks, a sequence each; sequences that are held
 * out are empty. */
static void cut(const cbe_layer_objective *o, const float *hidden, size_t d,
                cbe_ceiling_block *blocks)
{
    const cbe_sequences *sequences = &o->sequences;
    for (size_t b = 0; b < cbe_hidden_states_n_sequences(o->states); b++) {
        const size_t s = o->first_sequence + b, n = sequences->tokens[s];
        blocks[b] = (cbe_ceiling_block){sequences->held_out[s] ? 0 : n, hidden};
        hidden += n * d;
    }
}

/* The ceiling of the whole model, whose clean output is the same for all layers. */
static cbe_status measure_model(cbe_layer_objective *o, const cbe_decoder *decoder,
                                const cbe_kernels *kernels, cbe_ceiling_block *blocks,
                                cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    if (o->ceiling_known) return CBE_OK;
    float *last = cbe_alloc(o->n_tokens, d * sizeof *last, "hidden states of a layer", err);
    cbe_status st =
        last ? cbe_hidden_states_read(o->states, cbe_model_get_config(o->model)->n_layers, o->skip,
                                      last, err)
             : CBE_ERR_NOMEM;
    if ((st = cbe_processes_agree(o->processes, st, err)) == CBE_OK) {
        cut(o, last, d, blocks);
        st = cbe_ceiling(&o->ceiling, decoder, (cbe_translator){0}, kernels,
                         cbe_hidden_states_n_sequences(o->states), blocks, o->processes, err);
    }
    o->ceiling_known = st == CBE_OK;
    cbe_free(last);
    return st;
}

cbe_status cbe_survey_make(cbe_survey *out, cbe_layer_objective *o, const cbe_decoder *decoder,
                           cbe_error *err)
{
    const size_t d = decoder->hidden_size, n = cbe_hidden_states_n_sequences(o->states);
    const cbe_kernels *kernels = cbe_kernels_choose(o->kernels);
    double ceiling = 0;
    cbe_ceiling_block *blocks = cbe_alloc(n, sizeof *blocks, "sequences", err);
    cbe_status st = cbe_processes_agree(o->processes, blocks ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK && o->model) {
        st = measure_model(o, decoder, kernels, blocks, err);
        ceiling = o->ceiling;
    } else if (st == CBE_OK) {
        cut(o, o->hidden, d, blocks);
        st = cbe_ceiling(&ceiling, decoder, o->translator, kernels, n, blocks, o->processes, err);
    }
    cbe_free(blocks);
    if (st == CBE_OK) *out = (cbe_survey){o->covariance, &o->metric, ceiling};
    return st;
}
