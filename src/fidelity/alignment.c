/*
 * alignment.c - see fidelity/alignment.h.
 *
 * Sequences run through the blocks behind the layer in batches, with their changed states kept
 * beside them. Then blocks of tokens take the lens's change, the model's and the clean logits, by
 * products with the unembedding, and a thread a row takes its sums.
 *
 * N tokens, B sequences of S positions, d hidden size, V vocabulary; K tokens of a block.
 */
#include "fidelity/alignment.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/arrays.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/pulse.h"
#include "core/sizes.h"
#include "math/gemm.h"
#include "math/kernels.h"
#include "math/norm.h"
#include "math/random.h"
#include "model/suffix.h"

enum {
    BATCH_TOKENS = 4096, /* most tokens that run at once */
    BLOCK_TOKENS = 256,
    LEAST_TOKENS = 16,
    N_ARRAYS = 14
};

static const size_t block_bytes = (size_t)32 << 20;
static const double LOG2E = 1.4426950408889634;

struct cbe_alignment {
    const cbe_model *model;
    const cbe_decoder *decoder;
    const cbe_hidden_states *states;
    const cbe_kernels *kernels;
    cbe_alignment_options options;
    size_t n_sequences, length, each, n_tokens, d, vocab; /* B, S, S - skip, N */
    size_t first_block, at_once, block, n_threads;
    cbe_suffix *suffix;
    float *whole;               /* (B S, d), the layer's states */
    float *hidden;              /* (N, d), those that are changed */
    float *last;                /* (N, d), hidden_states.L */
    float *changed;             /* (at_once each, d), changed states of a batch */
    float *responded;           /* (K, d), hidden_states.L of a block after the change */
    int64_t *derangement;       /* (N); NULL unless resample */
    double *coeff;              /* (N, max_rank) */
    float *x;                   /* (K, d), translated states */
    float *y, *y_changed;       /* (K, d), normalised */
    float *clean;               /* (K, V) of the model: logits before the cap */
    float *stimulus, *response; /* (K, V) changes */
    /* (K, V) of the lens's logits before the cap; NULL: there is no cap */
    float *through;
    float *weights; /* (n_threads, V) */
};

double cbe_alignment_similarity(size_t n, const float *weights, size_t top, const float *stimulus,
                                const float *response)
{
    /* Less their values at a likely entry, so that squares of means take away little. */
    const double s0 = (double)stimulus[top], r0 = (double)response[top];
    double w = 0, ws = 0, wr = 0, wss = 0, wrr = 0, wsr = 0;
#pragma omp simd reduction(+ : w, ws, wr, wss, wrr, wsr)
    for (size_t i = 0; i < n; i++) {
        const double p = (double)weights[i], s = (double)stimulus[i] - s0,
                     r = (double)response[i] - r0;
        w += p;
        ws += p * s;
        wr += p * r;
        wss += p * s * s;
        wrr += p * r * r;
        wsr += p * s * r;
    }
    const double s_mean = ws / w, r_mean = wr / w, s_variance = wss / w - s_mean * s_mean,
                 r_variance = wrr / w - r_mean * r_mean;
    if (s_variance <= 0 || r_variance <= 0) return 0;
    const double similarity = (wsr / w - s_mean * r_mean) / sqrt(s_variance * r_variance);
    return isnan(similarity) ? NAN : fmax(-1, fmin(1, similarity));
}

/* Lists every array, with sizes from the members set before. */
static void list_arrays(cbe_alignment *o, cbe_array list[N_ARRAYS])
{
    static const char states[] = "hidden states", logits[] = "logits";
    const size_t n = o->n_tokens, d = o->d, rows = cbe_times(o->block, o->vocab, 1);
    const bool deranged = o->options.ablation == CBE_ABLATE_RESAMPLE;
    const cbe_array arrays[] = {
        {&o->whole, cbe_times(o->n_sequences, o->length, d), sizeof *o->whole, states},
        {&o->hidden, cbe_times(n, d, 1), sizeof *o->hidden, states},
        {&o->last, cbe_times(n, d, 1), sizeof *o->last, states},
        {&o->changed, cbe_times(o->at_once, o->each, d), sizeof *o->changed, states},
        {&o->responded, cbe_times(o->block, d, 1), sizeof *o->responded, states},
        {&o->derangement, deranged ? n : 0, sizeof *o->derangement, "derangement"},
        {&o->coeff, cbe_times(n, o->options.max_rank, 1), sizeof *o->coeff,
         "coefficients of subspaces"},
        {&o->x, cbe_times(o->block, d, 1), sizeof *o->x, states},
        {&o->y, cbe_times(o->block, d, 2), sizeof *o->y, states},
        {&o->clean, rows, sizeof *o->clean, logits},
        {&o->stimulus, rows, sizeof *o->stimulus, logits},
        {&o->response, rows, sizeof *o->response, logits},
        {&o->through, o->decoder->logit_softcap > 0 ? rows : 0, sizeof *o->through, logits},
        {&o->weights, cbe_times(o->n_threads, o->vocab, 1), sizeof *o->weights, logits},
    };
    _Static_assert(sizeof arrays / sizeof *arrays == N_ARRAYS, "all of them");
    memcpy(list, arrays, sizeof arrays);
}

void cbe_alignment_free(cbe_alignment *o)
{
    if (!o) return;
    cbe_array arrays[N_ARRAYS];
    list_arrays(o, arrays);
    cbe_arrays_free(N_ARRAYS, arrays);
    cbe_suffix_free(o->suffix);
    cbe_free(o);
}

static cbe_suffix_options suffix_options(const cbe_alignment *o)
{
    return (cbe_suffix_options){.first = o->first_block,
                                .context_length = o->length,
                                .n_sequences = o->at_once,
                                .way_back = CBE_SUFFIX_FORWARD,
                                .n_clean = o->options.scope == CBE_SCOPE_OWN ? o->at_once : 0};
}

/* Bytes of all memory, with o->at_once sequences at once. */
static size_t bytes_of(cbe_alignment *o)
{
    cbe_array arrays[N_ARRAYS];
    const cbe_suffix_options suffix = suffix_options(o);
    list_arrays(o, arrays);
    return cbe_arrays_bytes(N_ARRAYS, arrays, cbe_suffix_bytes(o->model, &suffix));
}

/* Sets the number of sequences at once: as many as memory and BATCH_TOKENS allow. */
static cbe_status choose_batch(cbe_alignment *o, cbe_error *err)
{
    const size_t memory = o->options.memory;
    size_t bytes = 0;
    o->block = cbe_max_size(cbe_min_size(BLOCK_TOKENS, block_bytes / sizeof(float) / o->vocab),
                            LEAST_TOKENS);
    o->block = cbe_min_size(o->block, o->each);
    for (o->at_once = cbe_min_size(cbe_max_size(BATCH_TOKENS / o->length, 1), o->n_sequences);
         o->at_once > 0; o->at_once /= 2)
        if ((bytes = bytes_of(o)) != SIZE_MAX && (memory == 0 || bytes <= memory)) return CBE_OK;
    return cbe_fail(
        err, CBE_ERR_ARG, -1,
        "%zu sequences of %zu tokens need %.4g MB at least for alignments, and %.4g MB "
        "are left for them; give more " CBE_OPTION("memory") ", or a smaller " CBE_OPTION(
            "context-length") " or " CBE_OPTION("max-tokens"),
        o->n_sequences, o->length, 1e-6 * (double)bytes, 1e-6 * (double)memory);
}

static cbe_status describe(cbe_alignment *o, cbe_error *err)
{
    const cbe_alignment_options *options = &o->options;
    const size_t n_layers = cbe_model_get_config(o->model)->n_layers;
    o->n_sequences = cbe_hidden_states_n_sequences(o->states);
    o->length = cbe_hidden_states_context_length(o->states);
    o->n_tokens = cbe_hidden_states_n_tokens(o->states, options->skip_positions);
    o->d = cbe_hidden_states_hidden_size(o->states);
    o->vocab = o->decoder->vocab_size;
    o->n_threads = (size_t)omp_get_max_threads();
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
static void make_derangement(cbe_alignment *o)
{
    const int64_t *given = cbe_hidden_states_derangement(o->states);
    if (given && !o->options.skip_positions) {
        memcpy(o->derangement, given, o->n_tokens * sizeof *given);
        return;
    }
    cbe_rng rng;
    cbe_rng_seed(&rng, o->options.seed);
    cbe_rng_derangement(&rng, o->n_tokens, o->derangement);
}

cbe_status cbe_alignment_create(cbe_alignment **out, const cbe_model *model,
                                const cbe_hidden_states *states,
                                const cbe_alignment_options *options, cbe_error *err)
{
    cbe_alignment *o = cbe_alloc_zero(1, sizeof *o, "alignment", err);
    if (!o) return CBE_ERR_NOMEM;
    *o = (cbe_alignment){.model = model,
                         .decoder = cbe_model_decoder(model),
                         .states = states,
                         .kernels = cbe_kernels_choose(NULL),
                         .options = *options};
    cbe_array arrays[N_ARRAYS];
    cbe_status st = describe(o, err);
    list_arrays(o, arrays);
    const cbe_suffix_options suffix = suffix_options(o);
    if (st == CBE_OK) st = cbe_arrays_allocate(N_ARRAYS, arrays, err);
    if (st == CBE_OK) st = cbe_suffix_create(&o->suffix, model, &suffix, err);
    if (st == CBE_OK)
        st = cbe_hidden_states_read(states, cbe_model_get_config(model)->n_layers,
                                    o->options.skip_positions, o->last, err);
    if (st != CBE_OK) {
        cbe_alignment_free(o);
        return st;
    }
    o->y_changed = o->y + o->block * o->d;
    if (o->derangement) make_derangement(o);
    *out = o;
    return CBE_OK;
}

size_t cbe_alignment_n_tokens(const cbe_alignment *alignment)
{
    return alignment->n_tokens;
}

/* Puts sequences first .. first + n - 1 with their changes in the batch. */
static void change(cbe_alignment *o, const cbe_subspace *subspace, size_t first, size_t n)
{
    const size_t d = o->d, each = o->each, skip = o->options.skip_positions;
#pragma omp parallel for schedule(dynamic)
    for (size_t p = 0; p < n; p++) {
        const size_t token = (first + p) * each;
        float *rows = cbe_suffix_hidden(o->suffix) + p * o->length * d,
              *changed = o->changed + p * each * d;
        memcpy(rows, o->whole + (first + p) * o->length * d, skip * d * sizeof *rows);
        cbe_subspace_subtract(subspace, cbe_subspace_rank(subspace), each,
                              o->coeff + token * cbe_subspace_rank(subspace), o->hidden + token * d,
                              changed);
        memcpy(rows + skip * d, changed, each * d * sizeof *rows);
    }
}

/* out (n, V) = W times the difference of two normalised states; z (n, V) = the logits of the first
 * before the cap, unless it is NULL. */
static void unembed(cbe_alignment *o, size_t n, const float *clean, const float *changed, float *z,
                    float *out)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t d = o->d, vocab = o->vocab;
    const float common = cbe_decoder_common(decoder);
    cbe_norm_rows(decoder->norm, decoder->norm_eps, n, d, clean, decoder->gamma, decoder->beta,
                  o->y);
    cbe_norm_rows(decoder->norm, decoder->norm_eps, n, d, changed, decoder->gamma, decoder->beta,
                  o->y_changed);
    for (size_t i = 0; i < n * d; i++) o->y_changed[i] -= o->y[i];
    cbe_gemm(false, true, n, vocab, d, 1, o->y_changed, d, decoder->unembedding, d, 0, out, vocab);
    if (!z) return;
    cbe_gemm(false, true, n, vocab, d, 1, o->y, d, decoder->unembedding, d, 0, z, vocab);
    for (size_t i = 0; i < n && decoder->bias; i++)
        for (size_t t = 0; t < vocab; t++) z[i * vocab + t] += decoder->bias[t] - common;
}

/* Changes of capped logits from changes before the cap. */
static void cap_changes(double cap, size_t n, const float *z, float *change)
{
    for (size_t t = 0; t < n; t++) {
        const double before = tanh((double)z[t] / cap),
                     after = tanh(((double)z[t] + (double)change[t]) / cap);
        change[t] = (float)(cap * tanh((double)change[t] / cap) * (1 - before * after));
    }
}

/* The similarity of row i of a block. */
static double compare_row(cbe_alignment *o, size_t i, float *weights)
{
    const size_t vocab = o->vocab;
    const double cap = o->decoder->logit_softcap;
    float *clean = o->clean + i * vocab, *stimulus = o->stimulus + i * vocab,
          *response = o->response + i * vocab;
    if (cap > 0) {
        cap_changes(cap, vocab, o->through + i * vocab, stimulus);
        cap_changes(cap, vocab, clean, response);
        for (size_t t = 0; t < vocab; t++) clean[t] = (float)(cap * tanh((double)clean[t] / cap));
    }
    size_t top = 0;
    for (size_t t = 1; t < vocab; t++)
        if (clean[t] > clean[top]) top = t;
    o->kernels->subtract(vocab, clean, (double)clean[top]);
    o->kernels->row_exp(vocab, clean, clean, NULL, (float)LOG2E, 0, 0, false, weights);
    return cbe_alignment_similarity(vocab, weights, top, stimulus, response);
}

/* Tokens from .. from + n - 1 of the sequence at a place of the batch, which are tokens first .. of
 * all. */
static void compare(cbe_alignment *o, size_t state, size_t place, size_t from, size_t first,
                    size_t n, double *similarity)
{
    const size_t d = o->d;
    const cbe_translator translator = cbe_tuned_lens_translator(o->options.lens, state);
    const float *after =
        cbe_suffix_hidden(o->suffix) + (place * o->length + o->options.skip_positions + from) * d;
    unembed(o, n, o->last + first * d, after, o->clean, o->response);
    cbe_translate(translator, n, d, o->hidden + first * d, o->x);
    cbe_translate(translator, n, d, o->changed + (place * o->each + from) * d, o->responded);
    unembed(o, n, o->x, o->responded, o->through, o->stimulus);
#pragma omp parallel for schedule(static) num_threads((int)o->n_threads)
    for (size_t i = 0; i < n; i++)
        similarity[first + i] =
            compare_row(o, i, o->weights + (size_t)omp_get_thread_num() * o->vocab);
    cbe_pulse();
}

static cbe_status check_finite(const cbe_alignment *o, size_t state, const double *similarity,
                               cbe_error *err)
{
    for (size_t i = 0; i < o->n_tokens; i++)
        if (!isfinite(similarity[i]))
            return cbe_fail(
                err, CBE_ERR_NUMERIC, -1,
                "hidden_states.%zu: changes of logits at sequence %zu, position %zu are "
                "not finite",
                state, i / o->each, i % o->each + o->options.skip_positions);
    return CBE_OK;
}

cbe_status cbe_alignment_measure(cbe_alignment *o, size_t state, const cbe_subspace *subspace,
                                 double *similarity, cbe_error *err)
{
    if (cbe_subspace_rank(subspace) > o->options.max_rank || state < o->first_block)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "a subspace of rank %zu at hidden_states.%zu: prepared were ranks up to "
                        "%zu, from hidden_states.%zu on",
                        cbe_subspace_rank(subspace), state, o->options.max_rank, o->first_block);
    cbe_status st = cbe_hidden_states_read(o->states, state, 0, o->whole, err);
    if (st == CBE_OK)
        st = cbe_hidden_states_read(o->states, state, o->options.skip_positions, o->hidden, err);
    if (st == CBE_OK)
        st = cbe_subspace_coefficients(subspace, o->options.ablation, o->n_tokens, o->hidden,
                                       o->derangement, o->coeff, err);
    cbe_suffix_forget_clean(o->suffix);
    for (size_t first = 0; first < o->n_sequences && st == CBE_OK; first += o->at_once) {
        const size_t n = cbe_min_size(o->at_once, o->n_sequences - first);
        st = cbe_suffix_set_clean(o->suffix, state, o->whole, o->n_sequences, NULL, first, n, err);
        if (st != CBE_OK) break;
        change(o, subspace, first, n);
        st = cbe_suffix_forward(o->suffix, state, n, false, err);
        for (size_t p = 0; p < n && st == CBE_OK; p++)
            for (size_t from = 0; from < o->each; from += o->block)
                compare(o, state, p, from, (first + p) * o->each + from,
                        cbe_min_size(o->block, o->each - from), similarity);
    }
    return st == CBE_OK ? check_finite(o, state, similarity, err) : st;
}
