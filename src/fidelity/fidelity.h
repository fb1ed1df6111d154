/*
 * fidelity.h - how far a lens tells of the model what its directions do: both measures of the tuned
 * lens paper, layer by layer.
 *
 * Influence: directions of three lists are ablated one by one, through the lens and in the model
 * (fidelity/influence.h compares the energies). Alignment: the span of the first vectors of the
 * basis is removed, and the changes of logits are compared (fidelity/alignment.h). The model is
 * read in both scopes (objective/scope.h); a lens reads each token alone. Both measures are taken
 * again of directions with kappa below CBE_FIDELITY_KAPPA alone, which write what the states
 * themselves have (covariance/covariance.h). In the covariance metric (covariance/metric.h)
 * directions are what is written, and each is read as the layer's states vary: all have a kappa of
 * 1 at most. Source: Belrose et al. 2023, arXiv:2303.08112,
 * sections 4.1, 4.2. docs/lens-fidelity.md.
 */
#ifndef CBE_FIDELITY_FIDELITY_H
#define CBE_FIDELITY_FIDELITY_H

#include "extract/extraction_options.h"
#include "fidelity/influence.h"
#include "model/hidden_states.h"
#include "objective/scope.h"

#define CBE_FIDELITY_KAPPA 10.0

/** Where directions come from. */
typedef enum {
    CBE_LIST_BASIS = 0, /* the vectors given */
    CBE_LIST_PRINCIPAL, /* principal components of the states */
    CBE_LIST_RANDOM,    /* drawn from N(0, Sigma) */
    CBE_LIST_TOGETHER,  /* all of them */
    CBE_N_LISTS
} cbe_direction_list;

const char *cbe_direction_list_name(cbe_direction_list list); /* "basis", "principal", .. */

/** Which directions count. */
typedef enum {
    CBE_KEEP_ALL = 0,
    CBE_KEEP_BELOW, /* those with kappa below CBE_FIDELITY_KAPPA */
    CBE_N_KEEPS
} cbe_fidelity_keep;

/** A number and its standard error, over sequences: NaN where it is not known. */
typedef struct {
    double mean, error;
} cbe_estimate;

typedef struct {
    cbe_direction_list list;
    double kappa;
    cbe_estimate lens, model[CBE_N_SCOPES]; /* energies, nats */
} cbe_direction;

/** Of one layer. What is set before the run: */
typedef struct {
    size_t layer, state; /* hidden_states.<state> */
    size_t n_vectors;
    const double *vectors; /* (n_vectors, d), borrowed */
    /* What the run finds: */
    size_t n_directions;
    cbe_direction *directions; /* (n_directions), owned */
    cbe_influence influence[CBE_N_KEEPS][CBE_N_SCOPES][CBE_N_LISTS];
    size_t rank[CBE_N_KEEPS]; /* of the span that was removed; 0: no vector has so small a kappa */
    cbe_estimate alignment[CBE_N_KEEPS][CBE_N_SCOPES];
} cbe_layer_fidelity;

void cbe_layer_fidelity_free(cbe_layer_fidelity *layer); /* what it owns */

typedef struct {
    /* The lens, ablation, metric, site, skipped positions, seed and memory of extraction; what else
     * it has is left at its defaults. The layers' states and hidden_states.L are there. */
    cbe_extraction_options extraction;
    size_t n_directions; /* most of each list */
    size_t rank;         /* of the span, the layer's first vectors; above their number: all */
    /* Called with steps done of all; false cancels; NULL: no calls. */
    bool (*progress)(void *context, size_t done, size_t total);
    /* Called when all of a layer is there; false cancels; NULL: no calls. */
    bool (*tell)(void *context, size_t place);
    void *context;
} cbe_fidelity_options;

/** Measures n layers. Lens, model and alignments take turns over all layers, so that each has all
 * the memory; the layers' results come with the last turn.
 * @param model, states  borrowed for the call
 * @return CBE_OK; CBE_ERR_ARG (too few tokens, vectors that do not span their number of dimensions,
 * too little memory); CBE_ERR_NUMERIC; CBE_ERR_UNSUPPORTED (optimal ablation); CBE_ERR_NOMEM;
 * CBE_ERR_CANCELLED */
cbe_status cbe_fidelity_run(const cbe_model *model, const cbe_hidden_states *states,
                            const cbe_fidelity_options *options, size_t n,
                            cbe_layer_fidelity *layers, cbe_error *err);

/** What the run was, for fidelity.json. */
typedef struct {
    const char *model, *lens, *basis, *tokens; /* tokens NULL: texts */
    size_t n_texts;
    const char *const *texts;
    cbe_site site;
    cbe_ablation ablation;
    uint64_t seed;
    size_t n_sequences, context_length, skip_positions, n_tokens, n_directions;
    const char *metric; /* as it was given */
} cbe_fidelity_record;

/** Writes fidelity.json, fidelity.csv and fidelity.svg to a folder that exists.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_NOMEM */
cbe_status cbe_fidelity_save(const char *folder, size_t n, const cbe_layer_fidelity *layers,
                             const cbe_fidelity_record *record, cbe_error *err);

#endif
