/*
 * ablation.c - see ablate/ablation.h.
 *
 * A variant is a subspace and a rank; a pair is a variant and a sequence. Pairs run through the
 * blocks behind the layer in batches, forward only, and their energies, cross-entropies and top
 * tokens come from one pass through the unembedding (divergence.h). The clean output is computed
 * once for all layers. Sums go over the tokens of a pair in their order, then over pairs.
 *
 * N tokens are ablated: those of B sequences of S positions that are not skipped.
 */
#include "ablate/ablation.h"

#include <math.h>
#include <string.h>

#include "objective/divergence.h"
#include "core/arrays.h"
#include "core/fail.h"
#include "core/memory.h"
#include "math/loss.h"
#include "math/random.h"
#include "math/sequence_error.h"
#include "core/sizes.h"
#include "model/suffix.h"

enum {
    BATCH_TOKENS = 4096, /* most tokens that run at once */
    N_ARRAYS = 11,
    EIGEN_MATRICES = 4 /* (d, d) in double: for principal components, and LAPACK's scratch */
};

struct cbe_ablation_run {
    const cbe_model *model;
    const cbe_hidden_states *states;
    cbe_ablation_options options;
    size_t n_sequences, length, each, n_tokens, d; /* B, S, S - skip, N */
    size_t first_block, at_once, bytes;
    bool derangement_unused;
    cbe_suffix *suffix;
    cbe_divergence *divergence;
    float *whole;                  /* (B S, d), the layer's hidden states */
    float *hidden;                 /* (N, d), the hidden states that are ablated */
    int64_t *labels;               /* (N), the next token or -1 */
    int64_t *derangement;          /* (N); NULL unless resample */
    cbe_divergence_measure *clean; /* (N) */
    double *coeff;                 /* (CBE_N_SPANS, N, m) coefficients of each subspace */
    double (*sums)[CBE_N_EFFECTS]; /* (CBE_N_SPANS, m, B): sums over the tokens of a pair */
    cbe_divergence_item *items;    /* (at_once each), at least (N) */
    int64_t *item_labels;          /* of the same size, as are the arrays below */
    double *energy;
    cbe_divergence_measure *measures;
    const cbe_subspace *spans[CBE_N_SPANS];
};

const char *cbe_effect_name(cbe_effect effect)
{
    static const char *const names[] = {"kl", "ce", "top1"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_EFFECTS, "one name for each effect");
    return names[effect];
}

const char *cbe_span_name(cbe_span_kind span)
{
    static const char *const names[] = {"basis", "principal", "random"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_SPANS, "one name for each span");
    return names[span];
}

/* Lists every array, with sizes from the members set before. */
static void list_arrays(cbe_ablation_run *o, cbe_array list[N_ARRAYS])
{
    const size_t n = o->n_tokens, m = o->options.max_rank,
                 pairs = cbe_times(CBE_N_SPANS, m, o->n_sequences);
    const size_t items = cbe_max_size(n, cbe_times(o->at_once, o->each, 1));
    const cbe_array arrays[] = {
        {&o->whole, cbe_times(o->n_sequences, o->length, o->d), sizeof *o->whole,
         "hidden states of a layer"},
        {&o->hidden, cbe_times(n, o->d, 1), sizeof *o->hidden, "hidden states of a layer"},
        {&o->labels, n, sizeof *o->labels, "labels"},
        {&o->derangement, o->options.ablation == CBE_ABLATE_RESAMPLE ? n : 0,
         sizeof *o->derangement, "derangement"},
        {&o->clean, n, sizeof *o->clean, "clean output"},
        {&o->coeff, cbe_times(CBE_N_SPANS, n, m), sizeof *o->coeff, "coefficients of subspaces"},
        {&o->sums, pairs, sizeof *o->sums, "sums over tokens"},
        {&o->items, items, sizeof *o->items, "rows"},
        {&o->item_labels, items, sizeof *o->item_labels, "rows"},
        {&o->energy, items, sizeof *o->energy, "energies"},
        {&o->measures, items, sizeof *o->measures, "measures"},
    };
    _Static_assert(sizeof arrays / sizeof *arrays == N_ARRAYS, "all of them");
    memcpy(list, arrays, sizeof arrays);
}

void cbe_ablation_run_free(cbe_ablation_run *o)
{
    if (!o) return;
    cbe_array arrays[N_ARRAYS];
    list_arrays(o, arrays);
    cbe_arrays_free(N_ARRAYS, arrays);
    cbe_suffix_free(o->suffix);
    cbe_divergence_free(o->divergence);
    cbe_free(o);
}

static cbe_suffix_options suffix_options(const cbe_ablation_run *o)
{
    const bool own = o->options.scope == CBE_SCOPE_OWN;
    return (cbe_suffix_options){.first = o->first_block,
                                .context_length = o->length,
                                .n_sequences = o->at_once,
                                .way_back = CBE_SUFFIX_FORWARD,
                                .n_clean = own ? cbe_min_size(o->at_once, o->n_sequences) : 0};
}

/* Bytes of all memory, with o->at_once sequences at once. */
static size_t bytes_of(cbe_ablation_run *o)
{
    cbe_array arrays[N_ARRAYS];
    const cbe_suffix_options suffix = suffix_options(o);
    size_t total = cbe_suffix_bytes(o->model, &suffix);
    list_arrays(o, arrays);
    size_t spans = cbe_times(EIGEN_MATRICES * sizeof(double), o->d, o->d);
    if (o->options.metric == CBE_METRIC_COVARIANCE)
        spans = cbe_max_size(spans, cbe_covariance_bytes(o->d));
    if (!cbe_add_size(total,
                      cbe_divergence_bytes(cbe_model_decoder(o->model), CBE_LOSS_KL, o->n_tokens),
                      &total) ||
        !cbe_add_size(total, spans, &total))
        return SIZE_MAX;
    return cbe_arrays_bytes(N_ARRAYS, arrays, total);
}

/* Sets the number of sequences at once: as many as memory and BATCH_TOKENS allow. */
static cbe_status choose_batch(cbe_ablation_run *o, cbe_error *err)
{
    const size_t memory = o->options.memory;
    const size_t wanted = cbe_min_size(cbe_max_size(BATCH_TOKENS / o->length, 1),
                                       cbe_times(CBE_N_SPANS, o->options.max_rank, o->n_sequences));
    for (o->at_once = wanted;; o->at_once /= 2) {
        o->bytes = bytes_of(o);
        if (o->bytes != SIZE_MAX && (!memory || o->bytes <= memory)) return CBE_OK;
        if (o->at_once == 1) break;
    }
    return cbe_fail(
        err, CBE_ERR_ARG, -1,
        "%zu sequences of %zu tokens need %.4g MB at least for ablations, and %.4g MB "
        "are left for them; give more " CBE_OPTION("memory") ", or a smaller " CBE_OPTION(
            "context-length") " or " CBE_OPTION("max-tokens"),
        o->n_sequences, o->length, 1e-6 * (double)o->bytes, 1e-6 * (double)memory);
}

static cbe_status describe(cbe_ablation_run *o, cbe_error *err)
{
    const cbe_ablation_options *options = &o->options;
    const size_t n_layers = cbe_model_get_config(o->model)->n_layers;
    o->n_sequences = cbe_hidden_states_n_sequences(o->states);
    o->length = cbe_hidden_states_context_length(o->states);
    o->n_tokens = cbe_hidden_states_n_tokens(o->states, options->skip_positions);
    o->d = cbe_hidden_states_hidden_size(o->states);
    if (options->ablation == CBE_ABLATE_OPTIMAL)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "optimal ablation is not known for subspaces, only for single directions: "
                        "use mean, resample or zero");
    if (o->n_tokens == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "no token is left: sequences have %zu tokens and %zu positions are skipped",
                        o->length, options->skip_positions);
    o->each = o->length - options->skip_positions;
    if (o->n_tokens != o->n_sequences * o->each)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "the whole model needs all tokens of its sequences; leave out the mask");
    if (options->ablation != CBE_ABLATE_ZERO && o->n_tokens < 2)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s ablation needs at least 2 tokens, there is 1",
                        cbe_ablation_name(options->ablation));
    /* Layers before the first with hidden states will not be asked for. */
    while (o->first_block < n_layers && !cbe_hidden_states_has(o->states, o->first_block))
        o->first_block++;
    return choose_batch(o, err);
}

/* Makes the derangement: that of the hidden states, or a random one. */
static void make_derangement(cbe_ablation_run *o)
{
    const int64_t *given = cbe_hidden_states_derangement(o->states);
    o->derangement_unused = given && o->options.skip_positions;
    if (given && !o->options.skip_positions) {
        memcpy(o->derangement, given, o->n_tokens * sizeof *given);
        return;
    }
    cbe_rng rng;
    cbe_rng_seed(&rng, o->options.seed);
    cbe_rng_derangement(&rng, o->n_tokens, o->derangement);
}

/* Computes the clean output from hidden_states.L in o->whole. */
static cbe_status take_clean(cbe_ablation_run *o, cbe_error *err)
{
    for (size_t n = 0; n < o->n_tokens; n++)
        o->items[n] = (cbe_divergence_item){n, n / o->each * o->length + o->options.skip_positions +
                                                   n % o->each};
    const cbe_status st = cbe_divergence_set_clean(o->divergence, o->items, o->whole, err);
    if (st == CBE_OK)
        cbe_divergence_measure_rows(o->divergence, o->n_tokens, o->items, o->whole, o->labels,
                                    o->energy, o->clean);
    return st;
}

cbe_status cbe_ablation_run_create(cbe_ablation_run **out, const cbe_model *model,
                                   const cbe_hidden_states *states,
                                   const cbe_ablation_options *options, cbe_error *err)
{
    cbe_ablation_run *o = cbe_alloc_zero(1, sizeof *o, "ablations", err);
    if (!o) return CBE_ERR_NOMEM;
    *o = (cbe_ablation_run){.model = model, .states = states, .options = *options};
    if (o->options.max_rank == 0) o->options.max_rank = 1;
    cbe_array arrays[N_ARRAYS];
    cbe_status st = describe(o, err);
    list_arrays(o, arrays);
    const cbe_suffix_options suffix = suffix_options(o);
    if (st == CBE_OK) st = cbe_arrays_allocate(N_ARRAYS, arrays, err);
    if (st == CBE_OK) st = cbe_suffix_create(&o->suffix, model, &suffix, err);
    if (st == CBE_OK)
        st = cbe_divergence_create(&o->divergence, cbe_model_decoder(model), CBE_LOSS_KL,
                                   o->n_tokens, NULL, err);
    if (st == CBE_OK)
        st = cbe_hidden_states_labels(states, options->skip_positions, o->labels, err);
    if (st == CBE_OK)
        st =
            cbe_hidden_states_read(states, cbe_model_get_config(model)->n_layers, 0, o->whole, err);
    if (st == CBE_OK) st = take_clean(o, err);
    if (st != CBE_OK) {
        cbe_ablation_run_free(o);
        return st;
    }
    if (o->derangement) make_derangement(o);
    *out = o;
    return CBE_OK;
}

size_t cbe_ablation_n_tokens(const cbe_ablation_run *run)
{
    return run->n_tokens;
}

size_t cbe_ablation_n_labelled(const cbe_ablation_run *run)
{
    return run->n_tokens - run->n_sequences; /* the last token of each sequence has no next token */
}

size_t cbe_ablation_n_at_once(const cbe_ablation_run *run, size_t *bytes)
{
    if (bytes) *bytes = run->bytes;
    return run->at_once;
}

bool cbe_ablation_derangement_unused(const cbe_ablation_run *run)
{
    return run->derangement_unused;
}

/* Writes the ablated sequence of a pair to a place of the batch, and lists its rows. */
static void ablate_pair(cbe_ablation_run *o, size_t m, size_t pair, size_t place)
{
    const size_t d = o->d, each = o->each, skip = o->options.skip_positions;
    const size_t variant = pair / o->n_sequences, b = pair % o->n_sequences, span = variant / m,
                 rank = variant % m + 1;
    float *rows = cbe_suffix_hidden(o->suffix) + place * o->length * d;
    memcpy(rows, o->whole + b * o->length * d, skip * d * sizeof *rows);
    cbe_subspace_subtract(o->spans[span], rank, each,
                          o->coeff + (span * o->n_tokens + b * each) * m, o->hidden + b * each * d,
                          rows + skip * d);
    for (size_t i = 0; i < each; i++) {
        o->items[place * each + i] =
            (cbe_divergence_item){b * each + i, place * o->length + skip + i};
        o->item_labels[place * each + i] = o->labels[b * each + i];
    }
}

/* Adds up the effects over the tokens of the pair at a place of the batch. */
static void add_up(cbe_ablation_run *o, size_t pair, size_t place)
{
    const size_t each = o->each, b = pair % o->n_sequences;
    double *sums = o->sums[pair];
    memset(sums, 0, sizeof o->sums[pair]);
    for (size_t i = 0; i < each; i++) {
        const size_t at = place * each + i, token = b * each + i;
        sums[CBE_EFFECT_KL] += o->energy[at];
        sums[CBE_EFFECT_TOP1] += o->measures[at].top != o->clean[token].top;
        if (o->labels[token] >= 0) sums[CBE_EFFECT_CE] += o->measures[at].ce - o->clean[token].ce;
    }
}

static cbe_status run_pairs(cbe_ablation_run *o, size_t state, size_t m, cbe_error *err)
{
    const size_t pairs = CBE_N_SPANS * m * o->n_sequences;
    for (size_t first = 0; first < pairs; first += o->at_once) {
        const size_t n = cbe_min_size(o->at_once, pairs - first);
        cbe_status st =
            cbe_suffix_set_clean(o->suffix, state, o->whole, o->n_sequences, NULL, first, n, err);
        if (st != CBE_OK) return st;
#pragma omp parallel for schedule(dynamic)
        for (size_t p = 0; p < n; p++) ablate_pair(o, m, first + p, p);
        st = cbe_suffix_forward(o->suffix, state, n, false, err);
        if (st != CBE_OK) return st;
        cbe_divergence_measure_rows(o->divergence, n * o->each, o->items,
                                    cbe_suffix_hidden(o->suffix), o->item_labels, o->energy,
                                    o->measures);
        for (size_t p = 0; p < n; p++) add_up(o, first + p, p);
        if (o->options.progress && !o->options.progress(o->options.context, first + n, pairs))
            return cbe_fail(err, CBE_ERR_CANCELLED, -1, "the ablations were cancelled");
    }
    return CBE_OK;
}

/* Computes the mean of the means of n sequences of `count` tokens each, and its standard error. */
static void average(size_t n, size_t count, const double (*sums)[CBE_N_EFFECTS], cbe_effect effect,
                    cbe_effects *out)
{
    double mean = 0, squares = 0;
    for (size_t b = 0; b < n; b++) mean += sums[b][effect] / (double)count / (double)n;
    for (size_t b = 0; b < n; b++) squares += pow(sums[b][effect] / (double)count - mean, 2);
    if (effect == CBE_EFFECT_KL) mean = cbe_not_below_zero(mean);
    out->mean[effect] = count ? mean : NAN;
    out->error[effect] = count ? cbe_sequence_error_even(n, squares) : NAN;
}

/* Computes the covariance of the layer's states, a sequence a block. */
static cbe_status make_covariance(const cbe_ablation_run *o, size_t layer, cbe_covariance **out,
                                  cbe_error *err)
{
    cbe_covariance_block *blocks = cbe_alloc(o->n_sequences, sizeof *blocks, "covariance", err);
    if (!blocks) return CBE_ERR_NOMEM;
    for (size_t b = 0; b < o->n_sequences; b++)
        blocks[b] = (cbe_covariance_block){o->each, o->hidden + b * o->each * o->d};
    const cbe_status st = cbe_covariance_create(out, o->d, o->n_sequences, blocks, NULL, err);
    cbe_free(blocks);
    if (st == CBE_OK && cbe_covariance_rank(*out) == 0)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION("metric") " covariance: the states of layer %zu do not vary; "
                                 "give more or other tokens, or " CBE_OPTION("metric") " euclidean",
            layer);
    return st;
}

/* Makes the span of the basis, in the metric of the run, or of the pairs that it was made with. */
static cbe_status make_basis_span(const cbe_ablation_run *o, size_t layer, size_t m,
                                  const double *vectors, const double *read, cbe_subspace **out,
                                  cbe_error *err)
{
    if (read) return cbe_subspace_oblique(out, m, o->d, read, vectors, err);
    if (o->options.metric == CBE_METRIC_EUCLIDEAN)
        return cbe_subspace_create(out, m, o->d, vectors, err);
    cbe_covariance *covariance = NULL;
    cbe_status st = make_covariance(o, layer, &covariance, err);
    const cbe_metric metric = {covariance, o->options.ridge, 1};
    if (st == CBE_OK) st = cbe_subspace_whitened(out, m, o->d, vectors, &metric, err);
    cbe_covariance_free(covariance);
    return st;
}

static cbe_status make_spans(cbe_ablation_run *o, size_t layer, size_t m, const double *vectors,
                             const double *read, cbe_subspace **spans, cbe_error *err)
{
    const cbe_ablation ablation = o->options.ablation;
    cbe_status st = make_basis_span(o, layer, m, vectors, read, &spans[CBE_SPAN_BASIS], err);
    if (st == CBE_OK)
        st = cbe_subspace_principal(&spans[CBE_SPAN_PRINCIPAL], m, o->d, ablation, o->n_tokens,
                                    o->hidden, o->derangement, err);
    if (st == CBE_OK)
        st = cbe_subspace_random(&spans[CBE_SPAN_RANDOM], m, o->d, o->options.seed + layer, err);
    for (size_t i = 0; i < CBE_N_SPANS && st == CBE_OK; i++) {
        st = cbe_subspace_coefficients(spans[i], ablation, o->n_tokens, o->hidden, o->derangement,
                                       o->coeff + i * o->n_tokens * m, err);
        for (size_t c = i * o->n_tokens * m; c < (i + 1) * o->n_tokens * m && st == CBE_OK; c++)
            o->coeff[c] *= o->options.strength;
        o->spans[i] = spans[i];
    }
    return st;
}

cbe_status cbe_ablation_run_layer(cbe_ablation_run *o, size_t layer, size_t state, size_t m,
                                  const double *vectors, const double *read, cbe_effects *out,
                                  cbe_error *err)
{
    if (m == 0 || m > o->options.max_rank || state < o->first_block)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "%zu vectors at hidden_states.%zu: prepared were 1 to %zu, from hidden_states.%zu on",
            m, state, o->options.max_rank, o->first_block);
    cbe_subspace *spans[CBE_N_SPANS] = {NULL};
    cbe_status st = cbe_hidden_states_read(o->states, state, 0, o->whole, err);
    if (st == CBE_OK)
        st = cbe_hidden_states_read(o->states, state, o->options.skip_positions, o->hidden, err);
    if (st == CBE_OK) st = make_spans(o, layer, m, vectors, read, spans, err);
    cbe_suffix_forget_clean(o->suffix);
    if (st == CBE_OK) st = run_pairs(o, state, m, err);
    for (size_t v = 0; v < CBE_N_SPANS * m && st == CBE_OK; v++)
        for (int e = 0; e < CBE_N_EFFECTS; e++)
            average(o->n_sequences, e == CBE_EFFECT_CE ? o->each - 1 : o->each,
                    (const double(*)[CBE_N_EFFECTS])o->sums + v * o->n_sequences, (cbe_effect)e,
                    &out[v]);
    for (int i = 0; i < CBE_N_SPANS; i++) cbe_subspace_free(spans[i]);
    return st;
}
