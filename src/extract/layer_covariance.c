/* layer_covariance.c - see layer_covariance.h. */
#include "extract/layer_covariance.h"

#include "core/fail.h"
#include "core/memory.h"

static bool is_held_out(const cbe_layer_objective *o, size_t token)
{
    return o->held_out && o->held_out[o->first_token + token];
}

/* Lists the runs of tokens of each sequence that are not held out.
 * @param blocks  NULL: they are only counted */
static size_t list_blocks(const cbe_layer_objective *o, cbe_covariance_block *blocks)
{
    const size_t d = cbe_hidden_states_hidden_size(o->states);
    size_t count = 0, at = 0;
    for (size_t b = 0; b < cbe_hidden_states_n_sequences(o->states); b++) {
        const size_t end = at + cbe_hidden_states_n_tokens_of(o->states, b, o->skip);
        while (at < end) {
            size_t n = 0;
            while (at + n < end && !is_held_out(o, at + n)) n++;
            if (n && blocks) blocks[count] = (cbe_covariance_block){n, o->hidden + at * d};
            count += n > 0;
            for (at += n; at < end && is_held_out(o, at);) at++;
        }
    }
    return count;
}

cbe_status cbe_layer_covariance_check(const cbe_layer_objective *o, cbe_error *err)
{
    const size_t d = cbe_hidden_states_hidden_size(o->states), m = o->within;
    size_t n = 0;
    for (size_t i = 0; i < o->all_tokens; i++) n += !(o->held_out && o->held_out[i]);
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

static cbe_status check_rank(const cbe_layer_objective *o, size_t layer, cbe_error *err)
{
    const size_t rank = cbe_covariance_rank(o->covariance);
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
    const size_t n = list_blocks(o, NULL), d = cbe_hidden_states_hidden_size(o->states);
    cbe_covariance_block *blocks = cbe_alloc(n, sizeof *blocks, "covariance", err);
    cbe_status st = cbe_processes_agree(o->processes, blocks ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK) {
        list_blocks(o, blocks);
        st = cbe_covariance_create(&o->covariance, d, n, blocks, o->processes, err);
    }
    cbe_free(blocks);
    if (st != CBE_OK) return st;
    if (o->metric_kind == CBE_METRIC_COVARIANCE) o->metric.covariance = o->covariance;
    return check_rank(o, layer, err);
}
