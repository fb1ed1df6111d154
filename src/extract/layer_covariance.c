/* layer_covariance.c - see layer_covariance.h. */
#include "extract/layer_covariance.h"

#include "core/fail.h"
#include "core/memory.h"

/* A block for each sequence of the process; sequences that are held out are empty. */
static void list_blocks(const cbe_layer_objective *o, cbe_covariance_block *blocks)
{
    const size_t d = cbe_hidden_states_hidden_size(o->states);
    const float *rows = o->hidden;
    for (size_t b = 0; b < cbe_hidden_states_n_sequences(o->states); b++) {
        const size_t s = o->first_sequence + b, n = o->sequences.tokens[s];
        blocks[b] = (cbe_covariance_block){o->sequences.held_out[s] ? 0 : n, rows};
        rows += n * d;
    }
}

cbe_status cbe_layer_covariance_prepare(cbe_layer_objective *o, cbe_error *err)
{
    const size_t d = cbe_hidden_states_hidden_size(o->states), m = o->asked_within;
    size_t n = 0;
    for (size_t s = 0; s < o->sequences.n; s++)
        n += o->sequences.held_out[s] ? 0 : o->sequences.tokens[s];
    o->within = m;
    if (m == CBE_WITHIN_AUTO) {
        o->within = cbe_within_auto(o->n_vectors, n > d ? d : n - (n > 0));
        return CBE_OK;
    }
    if (m > d)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("within") " pc=%zu: states have %zu dimensions; give %zu or "
                                             "less, or all",
                        m, d, d);
    if (m && n <= m)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("within") " pc=%zu: %zu tokens are searched, which span %zu "
                                             "dimensions about their mean; give more tokens, or "
                                             "fewer components",
                        m, n, n - 1);
    return CBE_OK;
}

static cbe_status take_rank(cbe_layer_objective *o, size_t layer, cbe_error *err)
{
    const size_t rank = cbe_covariance_rank(o->covariance);
    if (o->asked_within == CBE_WITHIN_AUTO) o->within = cbe_within_auto(o->n_vectors, rank);
    if (rank < o->within)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("within") " pc=%zu: the states of layer %zu vary in %zu "
                                             "dimensions alone; give %zu or less, more or other "
                                             "tokens, or all",
                        o->within, layer, rank, rank);
    if (rank == 0 && o->metric_kind == CBE_METRIC_COVARIANCE)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION("metric") " covariance: the states of layer %zu do not vary; "
                                 "give more or other tokens, or " CBE_OPTION("metric") " euclidean",
            layer);
    return CBE_OK;
}

cbe_status cbe_layer_covariance_set(cbe_layer_objective *o, size_t layer, cbe_error *err)
{
    cbe_covariance_free(o->covariance);
    o->covariance = NULL;
    o->metric.covariance = NULL;
    if (!o->wants_covariance) return CBE_OK;
    const size_t n = cbe_hidden_states_n_sequences(o->states),
                 d = cbe_hidden_states_hidden_size(o->states);
    cbe_covariance_block *blocks = cbe_alloc(n, sizeof *blocks, "covariance", err);
    cbe_status st = cbe_processes_agree(o->processes, blocks ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK) {
        list_blocks(o, blocks);
        st = cbe_covariance_create(&o->covariance, d, n, blocks, o->processes, err);
    }
    cbe_free(blocks);
    if (st != CBE_OK) return st;
    if (o->metric_kind == CBE_METRIC_COVARIANCE) o->metric.covariance = o->covariance;
    return take_rank(o, layer, err);
}
