/*
 * ablation.h - effects of removing subspaces from a layer on the model's output.
 *
 * The span of the first r of m vectors is removed (ablate/subspace.h), the blocks behind the layer
 * and the decoder run, and the output is compared with the clean model's. r principal components of
 * D and r random directions are removed for comparison. Source: Belrose et al. 2023,
 * arXiv:2303.08112, section 4. Definitions: docs/ablation.md.
 */
#ifndef CBE_ABLATE_ABLATION_H
#define CBE_ABLATE_ABLATION_H

#include "extract/site.h"
#include "model/hidden_states.h"
#include "model/model.h"
#include "objective/objective.h"
#include "objective/scope.h"
#include "ablate/subspace.h"

/** Effects of an ablation. */
typedef enum {
    CBE_EFFECT_KL = 0, /* KL(clean || ablated), nats a token */
    /* Increase of the cross-entropy of the next token, nats a token with a next token. */
    CBE_EFFECT_CE,
    CBE_EFFECT_TOP1, /* share of tokens whose most probable next token changes */
    CBE_N_EFFECTS
} cbe_effect;

/** Kinds of spans that are removed. */
typedef enum {
    CBE_SPAN_BASIS = 0, /* the vectors given */
    CBE_SPAN_PRINCIPAL, /* principal components of D, whose removal changes hidden states most */
    CBE_SPAN_RANDOM,    /* random directions */
    CBE_N_SPANS
} cbe_span_kind;

const char *cbe_effect_name(cbe_effect effect); /* "kl", "ce", "top1" */
const char *cbe_span_name(cbe_span_kind span);  /* "basis", "principal", "random" */

/** Means over tokens, and their standard errors, from the means of sequences; NaN if no token has a
 * next token, and for errors of a single sequence. */
typedef struct {
    double mean[CBE_N_EFFECTS], error[CBE_N_EFFECTS];
} cbe_effects;

/** Options of a run; start with {.strength = 1}. */
typedef struct {
    cbe_ablation ablation; /* mean, resample or zero */
    /* First positions of every sequence, which are not ablated and do not count. */
    size_t skip_positions;
    size_t max_rank; /* most vectors removed together; 0: 1 */
    /* Seed of the derangement; the layer's number is added for random directions. */
    uint64_t seed;
    /* Most bytes of memory, which decide how many sequences run at once; 0: no limit. */
    size_t memory;
    /* Called with work done of a layer; false cancels; NULL: no calls. */
    bool (*progress)(void *context, size_t done, size_t total);
    void *context;
    cbe_scope scope;
    double strength; /* t of h' = h - t P D: 1 removes the span, 0 nothing */
    /* Covariance: vectors are written, and read as the states of the run's own tokens vary. */
    cbe_metric_kind metric;
    double ridge; /* of the covariance metric */
} cbe_ablation_options;

typedef struct cbe_ablation_run cbe_ablation_run;

/** Prepares a run on hidden states of the model. hidden_states.L, from which the clean output is
 * computed, must be among them.
 * @param model, states  borrowed until free
 * @return CBE_OK; CBE_ERR_ARG (no token is left, or too few for the ablation; too little memory);
 * CBE_ERR_UNSUPPORTED (optimal); CBE_ERR_NUMERIC; CBE_ERR_NOMEM */
cbe_status cbe_ablation_run_create(cbe_ablation_run **out, const cbe_model *model,
                                   const cbe_hidden_states *states,
                                   const cbe_ablation_options *options, cbe_error *err);
void cbe_ablation_run_free(cbe_ablation_run *run); /* NULL is allowed */
/** Number of tokens ablated; number of them with a next token; number of sequences that run at
 * once, and bytes of memory. */
size_t cbe_ablation_n_tokens(const cbe_ablation_run *run);
size_t cbe_ablation_n_labelled(const cbe_ablation_run *run);
size_t cbe_ablation_n_at_once(const cbe_ablation_run *run, size_t *bytes);
/** Whether the hidden states' derangement could not be used because positions are skipped. */
bool cbe_ablation_derangement_unused(const cbe_ablation_run *run);

/** Computes effects at hidden_states.<state> for ranks 1 .. m. Cost: 3 m forward passes through the
 * blocks behind. The same bits for any number of threads.
 * @param layer   added to the seed
 * @param vectors (m, d), independent; m up to max_rank
 * @param read    (m, d): the vectors are w_j, and what is read of a state is r_j, whatever the
 * metric of the run; NULL: as that metric says
 * @param out     [out] (CBE_N_SPANS, m), ranks rising; undefined after a failure
 * @return CBE_OK; CBE_ERR_ARG and CBE_ERR_NUMERIC as cbe_subspace_create; CBE_ERR_NUMERIC also for
 * hidden states that are not finite; CBE_ERR_CANCELLED; CBE_ERR_NOMEM */
cbe_status cbe_ablation_run_layer(cbe_ablation_run *run, size_t layer, size_t state, size_t m,
                                  const double *vectors, const double *read, cbe_effects *out,
                                  cbe_error *err);

/* Results of one layer. */

typedef struct {
    size_t layer, n_ranks;
    size_t state;         /* the layer is hidden_states.<state> */
    bool oblique;         /* whether the basis read other directions than it wrote */
    cbe_effects *effects; /* (CBE_N_SPANS, n_ranks) */
} cbe_layer_ablation;

/** Description of the run, for ablate.json. */
typedef struct {
    const char *model, *basis, *tokens; /* paths; tokens NULL: texts */
    size_t n_texts;
    const char *const *texts;
    cbe_site site;
    cbe_ablation ablation;
    uint64_t seed;
    size_t n_sequences, context_length, skip_positions, n_tokens, n_labelled;
    cbe_scope scope;
    double strength;
    const char *metric; /* as it was given; NULL: as the basis was made */
} cbe_ablation_record;

/** Writes ablate.json, ablate.csv and for each layer ablate-<i>.svg, KL over ranks, to a folder
 * that exists.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_NOMEM */
cbe_status cbe_ablation_save(const char *folder, size_t n, const cbe_layer_ablation *layers,
                             const cbe_ablation_record *record, cbe_error *err);

#endif
