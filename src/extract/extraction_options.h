/* extraction_options.h - what a run searches, and with what. */
#ifndef CBE_EXTRACT_EXTRACTION_OPTIONS_H
#define CBE_EXTRACT_EXTRACTION_OPTIONS_H

#include "covariance/metric.h"
#include "extract/site.h"
#include "extract/within.h"
#include "lens/tuned_lens.h"
#include "model/model.h"
#include "objective/model/objective.h"
#include "objective/objective.h"
#include "search/search.h"

#define CBE_HELD_OUT_AUTO (-1.0)

/** All pointers are borrowed. */
typedef struct {
    cbe_search_options search;
    cbe_ablation ablation;
    cbe_loss objective;
    cbe_site site;
    const cbe_tuned_lens *lens; /* NULL: the logit lens */
    /* The whole model, which runs on behind the layer; hidden states, hidden_states.L among them,
     * are this model's. NULL: a lens. */
    const cbe_model *model;
    /* The metric of directions, whose covariance is that of the layer in hand; ridge and strength
     * as in cbe_metric: CBE_COVARIANCE_RIDGE and 1 from cbe_extraction_options_init. */
    cbe_metric_kind metric;
    double ridge, strength;
    /* First principal components to search within; 0: all directions; CBE_WITHIN_AUTO: as many as
     * within.h says, not with the presets of older programs. The metric does not matter here; a
     * run asks for it in the Euclidean metric alone. */
    size_t within;
    bool covariance;         /* the covariance is wanted even where neither needs it */
    size_t skip_positions;   /* first positions of every sequence left out */
    const char *kernels;     /* NULL: the best for this CPU */
    cbe_precision precision; /* of products in the whole model; a lens has float32 */
    cbe_scope scope;         /* in the whole model; through a lens both are the same */
    /* Share of the sequences, evenly spread, that the search does not see; 0: none.
     * CBE_HELD_OUT_AUTO: an eighth, if there are 8 sequences or more. */
    double held_out;
    /* Number of the last sequences, which come of a text for judging alone: they are held out, in
     * place of such a share. 0: none. */
    size_t held_out_apart;
    /* Bytes that the objective may take, by which is chosen how logits are kept. 0: no limit. */
    size_t memory;
    /* A basis whose vectors are among the starts of the default preset (layer_starts.h). NULL:
     * none. */
    const struct cbe_basis_file *init;
    /* Processes that tokens are divided over in whole sequences; the hidden states are the
     * process's own share (cbe_extract_assist). NULL: not divided. */
    const cbe_processes *processes;
    /* All processes of the run, in groups of the size of `processes`. Each group has layers of its
     * own, and rank 0 of the run has every result. NULL: one group. */
    cbe_processes *run;
    /* Derangement of the tokens of all processes. NULL: the one of the hidden states. */
    const int64_t *derangement;
    /* Measures directions found through a lens in the model too (model_energies.h). NULL: not
     * wanted. */
    struct cbe_model_energies *model_energies;
    /* Keeps up with cbe_extract, which begins with what was read from it (checkpoint.h). NULL:
     * none. */
    struct cbe_checkpoint *checkpoint;
} cbe_extraction_options;

void cbe_extraction_options_init(cbe_extraction_options *options);

/** Whether the i-th layer of a run belongs to the caller's group: groups take turns. */
bool cbe_layer_is_own(const cbe_extraction_options *options, size_t i);

#endif
