/* sampled_gradients.c - see sampled_gradients.h. */
#include "fisher/sampled_gradients.h"

#include <omp.h>
#include <string.h>

#include "core/arrays.h"
#include "core/fail.h"
#include "core/groups.h"
#include "core/memory.h"
#include "core/pulse.h"
#include "core/sizes.h"
#include "math/gemm.h"
#include "model/embedding.h"
#include "model/suffix.h"

enum {
    BATCH_TOKENS = 1024, /* that run at once; of short sequences bits depend on it */
    KEPT_TOKENS = 256    /* fewer at once are not worth keeping all activations */
};

typedef struct {
    const cbe_sampled_gradients_options *options;
    const cbe_model *model;
    cbe_suffix *suffix;
    cbe_labels *labels;
    float *last; /* (plan's sequences S, d): hidden_states.L of the batch */
    cbe_sampled_gradients_fn *take;
    void *context;
    cbe_sampled_gradients batch; /* what is being taken */
    size_t done;                 /* sequences times passes */
    size_t lowest;               /* state wanted; L + 1: none */
    bool ended;                  /* a backward pass was ended behind the lowest state */
} run;

static cbe_labels_options labels_of(const cbe_sampled_gradients_options *o, size_t n_sequences)
{
    return (cbe_labels_options){o->context_length, o->skip_positions, n_sequences, o->n_draws,
                                o->seed};
}

static cbe_suffix_options suffix_of(const cbe_sampled_gradients_options *o,
                                    const cbe_sampled_gradients_plan *plan)
{
    return (cbe_suffix_options){.context_length = o->context_length,
                                .n_sequences = plan->n_sequences,
                                .way_back = plan->recompute ? CBE_SUFFIX_INPUTS : CBE_SUFFIX_ALL};
}

static size_t bytes_of(const cbe_model *model, const cbe_sampled_gradients_options *o,
                       const cbe_sampled_gradients_plan *plan)
{
    const cbe_suffix_options suffix = suffix_of(o, plan);
    const cbe_labels_options labels = labels_of(o, plan->n_sequences);
    const size_t last = cbe_times(cbe_times(plan->n_sequences, o->context_length, 1),
                                  cbe_model_get_config(model)->hidden_size, sizeof(float));
    size_t total = cbe_suffix_bytes(model, &suffix);
    if (total == SIZE_MAX || last == SIZE_MAX || !cbe_add_size(total, last, &total))
        return SIZE_MAX;
    const size_t more = cbe_labels_bytes(cbe_model_decoder(model), &labels);
    return more != SIZE_MAX && cbe_add_size(total, more, &total) ? total : SIZE_MAX;
}

/* Fewer sequences at once where memory asks for it, and blocks run anew where too few would be
 * left. Short sequences share products, so their number at once is fixed. */
cbe_status cbe_sampled_gradients_choose(cbe_sampled_gradients_plan *plan, const cbe_model *model,
                                        const cbe_sampled_gradients_options *o, cbe_error *err)
{
    const size_t length = o->context_length;
    if (o->n_sequences == 0 || length <= o->skip_positions)
        return cbe_fail(err, CBE_ERR_ARG, -1, "there are no tokens");
    const bool apart = cbe_forward_is_by_sequence(length);
    const size_t batch = cbe_max_size(BATCH_TOKENS / length, 1), all = o->n_sequences,
                 threads = (size_t)omp_get_max_threads();
    const size_t wanted = cbe_min_size(apart ? cbe_max_size(batch, threads) : batch, all);
    const size_t worth_keeping = cbe_min_size(cbe_max_size(KEPT_TOKENS / length, 1), wanted);
    for (int recompute = 0; recompute < 2; recompute++) {
        const size_t least = !apart ? wanted : recompute ? 1 : worth_keeping;
        for (size_t n = wanted;; n = cbe_max_size(n / 2, least)) {
            *plan = (cbe_sampled_gradients_plan){n, recompute, 0};
            plan->bytes = bytes_of(model, o, plan);
            if (plan->bytes != SIZE_MAX && (!o->memory || plan->bytes <= o->memory)) return CBE_OK;
            if (n == least) break;
        }
    }
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "sequences of %zu tokens need %.4g MB at least for the model's gradients, and "
                    "%.4g MB are left for it; give more " CBE_OPTION(
                        "memory") " or a smaller " CBE_OPTION("context-length"),
                    length, 1e-6 * (double)plan->bytes, 1e-6 * (double)o->memory);
}

static cbe_status see(void *context, size_t state, const float *hidden, const float *grad,
                      cbe_error *err)
{
    run *r = context;
    r->batch.state = state;
    r->batch.hidden = hidden ? hidden : r->last;
    r->batch.grad = grad;
    const cbe_status st = r->take(r->context, &r->batch, err);
    if (st != CBE_OK || state > r->lowest || state == 0) return st;
    r->ended = true; /* blocks before it need not be run */
    return CBE_ERR_CANCELLED;
}

/* Tells that a pass of the batch is done. */
static cbe_status tell(run *r, cbe_error *err)
{
    const cbe_sampled_gradients_options *o = r->options;
    r->done += r->batch.n_sequences;
    cbe_pulse();
    if (!o->progress || o->progress(o->context, r->done, o->n_sequences * (o->n_draws + 1)))
        return CBE_OK;
    return cbe_fail(err, CBE_ERR_CANCELLED, -1, "cancelled");
}

/* Sequences first .. first + n - 1 of this process. */
static cbe_status run_batch(run *r, size_t first, size_t n, cbe_error *err)
{
    const cbe_sampled_gradients_options *o = r->options;
    const size_t d = cbe_model_get_config(r->model)->hidden_size, tokens = n * o->context_length;
    const cbe_labels_given given = {o->labels ? o->labels + first * o->context_length : NULL,
                                    o->n_sequences * o->context_length};
    const cbe_suffix_taps taps = {o->states, see, r};
    cbe_status st;
    r->batch.first = o->first_sequence + first;
    r->batch.n_sequences = n;
    st = cbe_embed(r->model, o->context_length, tokens, o->ids + first * o->context_length,
                   cbe_suffix_hidden(r->suffix), err);
    if (st == CBE_OK) st = cbe_suffix_forward(r->suffix, 0, n, true, err);
    if (st != CBE_OK) return st;
    memcpy(r->last, cbe_suffix_hidden(r->suffix), tokens * d * sizeof(float));
    st = cbe_labels_take(r->labels, r->batch.first, n, r->last, &given, err);
    if (st == CBE_OK) st = tell(r, err);
    const bool wanted = r->lowest <= cbe_model_get_config(r->model)->n_layers;
    for (size_t draw = 0; draw < o->n_draws && wanted && st == CBE_OK; draw++) {
        r->batch.draw = draw;
        r->ended = false;
        cbe_labels_gradient(r->labels, draw, r->last, cbe_suffix_grad(r->suffix));
        st = cbe_suffix_backward_seen(r->suffix, &taps, err);
        if (r->ended) st = CBE_OK;
        if (st == CBE_OK) st = tell(r, err);
    }
    return st;
}

/* Number of sequences of the batch that begins at `first`: short sequences stay within a group. */
static size_t batch_size(const cbe_sampled_gradients_options *o, size_t first, size_t at_once)
{
    const bool apart = cbe_forward_is_by_sequence(o->context_length);
    const size_t most = cbe_min_size(at_once, o->n_sequences - first),
                 group = cbe_group_of_sequence(o->all_sequences, o->first_sequence + first, apart);
    size_t n = 1;
    while (n < most &&
           (apart ||
            cbe_group_of_sequence(o->all_sequences, o->first_sequence + first + n, apart) == group))
        n++;
    return n;
}

static cbe_status check_ids(const cbe_model *model, const cbe_sampled_gradients_options *o,
                            cbe_error *err)
{
    const size_t vocabulary = cbe_model_get_config(model)->vocab_size;
    for (size_t n = 0; n < o->n_sequences * o->context_length; n++)
        if (o->ids[n] < 0 || (uint64_t)o->ids[n] >= vocabulary)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "token id %lld at position %zu of sequence %zu is not in the model's "
                            "vocabulary, 0 to %zu",
                            (long long)o->ids[n], n % o->context_length, n / o->context_length,
                            vocabulary - 1);
    return CBE_OK;
}

/* Long sequences have the same bits in any batch, so that a run may go on at any of them. */
static cbe_status check_done(const cbe_sampled_gradients_options *o, size_t at_once, cbe_error *err)
{
    size_t first = 0;
    if (cbe_forward_is_by_sequence(o->context_length) && o->n_done <= o->n_sequences) return CBE_OK;
    while (first < o->n_done && first < o->n_sequences) first += batch_size(o, first, at_once);
    if (first == o->n_done) return CBE_OK;
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "the run cannot go on behind sequence %zu of %zu, where no batch ends",
                    o->n_done, o->n_sequences);
}

cbe_status cbe_sampled_gradients_run(const cbe_model *model,
                                     const cbe_sampled_gradients_options *options,
                                     cbe_sampled_gradients_fn *take, void *context, cbe_error *err)
{
    run r = {.options = options, .model = model, .take = take, .context = context};
    cbe_sampled_gradients_plan plan;
    cbe_status st = cbe_sampled_gradients_choose(&plan, model, options, err);
    if (st == CBE_OK) st = check_ids(model, options, err);
    if (st == CBE_OK) st = check_done(options, plan.n_sequences, err);
    if (st != CBE_OK) return st;
    const cbe_suffix_options suffix = suffix_of(options, &plan);
    const cbe_labels_options labels = labels_of(options, plan.n_sequences);
    const size_t size = plan.n_sequences * options->context_length,
                 n_layers = cbe_model_get_config(model)->n_layers;
    while (r.lowest <= n_layers && !options->states[r.lowest]) r.lowest++;
    cbe_gemm_enter();
    r.last = cbe_alloc(size, cbe_model_get_config(model)->hidden_size * sizeof(float),
                       "hidden states", err);
    st = r.last ? cbe_suffix_create(&r.suffix, model, &suffix, err) : CBE_ERR_NOMEM;
    if (st == CBE_OK) st = cbe_labels_create(&r.labels, cbe_model_decoder(model), &labels, err);
    r.done = options->n_done * (options->n_draws + 1);
    for (size_t first = options->n_done, n; first < options->n_sequences && st == CBE_OK;
         first += n) {
        n = batch_size(options, first, plan.n_sequences);
        st = run_batch(&r, first, n, err);
        if (st == CBE_OK && options->batch_done)
            st = options->batch_done(options->context, first + n, err);
    }
    cbe_suffix_free(r.suffix);
    cbe_labels_free(r.labels);
    cbe_free(r.last);
    cbe_gemm_leave();
    return st;
}
