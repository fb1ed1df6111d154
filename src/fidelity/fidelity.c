/*
 * fidelity.c - see fidelity/fidelity.h.
 *
 * Turns: energies through the lens, with the covariances that directions come from; energies in the
 * model, scope after scope; alignments, scope after scope. A step is one layer of a turn.
 */
#include "fidelity/fidelity.h"

#include <math.h>
#include <string.h>

#include "ablate/subspace.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "extract/layer_objective.h"
#include "fidelity/alignment.h"
#include "fidelity/directions.h"

enum {
    N_TURNS = 1 + 2 * CBE_N_SCOPES,
    MOST_BATCH = 8 /* directions evaluated together */
};

typedef struct {
    const cbe_model *model;
    const cbe_hidden_states *states;
    const cbe_fidelity_options *options;
    size_t n, d, n_sequences;
    cbe_layer_fidelity *layers;
    double **directions;    /* (n) of each layer (n_directions, d), owned */
    double *kappa;          /* (n, rank) of vectors whose span is removed, owned */
    cbe_subspace **oblique; /* (n) spans in the covariance metric, owned; NULL: the Euclidean one */
    size_t done;            /* steps */
} fidelity_run;

const char *cbe_direction_list_name(cbe_direction_list list)
{
    static const char *const names[] = {"basis", "principal", "random", "together"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_LISTS, "one name for each list");
    return names[list];
}

void cbe_layer_fidelity_free(cbe_layer_fidelity *layer)
{
    cbe_free(layer->directions);
    layer->directions = NULL;
    layer->n_directions = 0;
}

static cbe_status step(fidelity_run *r, cbe_error *err)
{
    const cbe_fidelity_options *o = r->options;
    r->done++;
    if (o->progress && !o->progress(o->context, r->done, N_TURNS * r->n))
        return cbe_fail(err, CBE_ERR_CANCELLED, -1, "the comparison was cancelled");
    return CBE_OK;
}

/* The mean of n values a sequence, all sequences alike, and its standard error from their means. */
static cbe_estimate estimate(size_t n_sequences, size_t n_tokens, const double *values)
{
    const size_t each = n_tokens / n_sequences;
    const double b = (double)n_sequences;
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n_tokens; i++) mean += values[i] / (double)n_tokens;
    for (size_t s = 0; s < n_sequences; s++) {
        double of_sequence = 0;
        for (size_t i = 0; i < each; i++) of_sequence += values[s * each + i] / (double)each;
        squares += (of_sequence - mean) * (of_sequence - mean);
    }
    return (cbe_estimate){mean, n_sequences > 1 ? sqrt(squares / (b - 1) / b) : NAN};
}

/* What the objectives may take beside the directions of all layers, their energies of tokens, and
 * `more` bytes. */
static size_t memory_beside(const fidelity_run *r, size_t more)
{
    const size_t memory = r->options->extraction.memory, pairs = r->oblique ? 2 : 0,
                 vectors = cbe_times(CBE_LIST_TOGETHER, r->options->n_directions, 1) +
                           cbe_times(pairs, r->options->rank, 1),
                 used = cbe_times(cbe_times(vectors, sizeof(double), 1), r->n, r->d);
    size_t all;
    if (memory == 0) return 0;
    if (!cbe_add_size(used, more, &all)) all = SIZE_MAX;
    return memory > all ? memory - all : 1;
}

/* Energies of a layer's directions, a batch at a time.
 * @param per_token  (batch, N)  @param scope  CBE_N_SCOPES: through the lens */
static cbe_status measure_energies(const fidelity_run *r, size_t place, cbe_objective *objective,
                                   size_t scope, double *per_token, cbe_error *err)
{
    cbe_layer_fidelity *layer = &r->layers[place];
    const size_t batch = cbe_min_size(cbe_objective_max_batch(objective), MOST_BATCH),
                 n_tokens = cbe_objective_n_tokens(objective);
    cbe_status st = CBE_OK;
    for (size_t first = 0; first < layer->n_directions && st == CBE_OK; first += batch) {
        const size_t n = cbe_min_size(batch, layer->n_directions - first);
        double energies[MOST_BATCH];
        st = cbe_objective_eval(objective, n, r->directions[place] + first * r->d, energies, NULL,
                                per_token, err);
        for (size_t i = 0; i < n && st == CBE_OK; i++) {
            cbe_direction *to = &layer->directions[first + i];
            cbe_estimate e = estimate(r->n_sequences, n_tokens, per_token + i * n_tokens);
            e.mean = energies[i];
            if (!isfinite(e.mean))
                st = cbe_fail(err, CBE_ERR_NUMERIC, -1,
                              "layer %zu: the energy of a direction is not finite", layer->layer);
            *(scope == CBE_N_SCOPES ? &to->lens : &to->model[scope]) = e;
        }
    }
    return st;
}

/* In the covariance metric: turns directions, which are what is written, into those in whitened
 * coordinates at length 1, and makes the span. Ablation of u writes w = S^(1/2) u of Mahalanobis
 * length 1, c_n times, so that kappa is the variance of what is read. */
static cbe_status whiten(fidelity_run *r, size_t place, const cbe_metric *metric, cbe_error *err)
{
    cbe_layer_fidelity *layer = &r->layers[place];
    const size_t d = r->d, rank = cbe_min_size(r->options->rank, layer->n_vectors);
    cbe_error why;
    double *u = cbe_alloc(2, cbe_times(d, sizeof *u, 1), "directions", err);
    if (!u) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < layer->n_directions; i++) {
        double *to = r->directions[place] + i * d, square = 0;
        cbe_metric_read(metric, d, 1, to, u);
        for (size_t k = 0; k < d; k++) square += u[k] * u[k];
        for (size_t k = 0; k < d; k++) to[k] = u[k] / sqrt(square);
        cbe_metric_read(metric, d, 1, to, u + d);
        layer->directions[i].kappa = cbe_covariance_variance(metric->covariance, u + d);
    }
    cbe_free(u);
    for (size_t i = 0; i < rank; i++) r->kappa[place * r->options->rank + i] = 0;
    const cbe_status st =
        cbe_subspace_whitened(&r->oblique[place], rank, d, layer->vectors, metric, &why);
    if (st != CBE_OK) cbe_fail_as(err, &why, "layer %zu: ", layer->layer);
    return st;
}

/* What follows from the covariance of a layer's states: directions, and kappa of vectors. */
static cbe_status take_covariance(fidelity_run *r, size_t place, const cbe_covariance *covariance,
                                  cbe_error *err)
{
    const cbe_fidelity_options *o = r->options;
    cbe_layer_fidelity *layer = &r->layers[place];
    for (size_t i = 0; i < cbe_min_size(o->rank, layer->n_vectors); i++) {
        const double *v = layer->vectors + i * r->d;
        double square = 0;
        for (size_t k = 0; k < r->d; k++) square += v[k] * v[k];
        r->kappa[place * o->rank + i] =
            cbe_covariance_kappa(covariance, CBE_COVARIANCE_RIDGE, v) / (square * square);
    }
    return cbe_directions_make(&r->directions[place], layer, o->n_directions, covariance,
                               o->extraction.search.seed, err);
}

/* A turn of energies: through the lens, after which there are directions, or in the model. */
static cbe_status run_energies(fidelity_run *r, size_t scope, cbe_error *err)
{
    const bool lens = scope == CBE_N_SCOPES;
    cbe_extraction_options options = r->options->extraction;
    cbe_layer_objective *objective = NULL;
    double *per_token = NULL;
    options.objective = CBE_LOSS_KL;
    options.held_out = 0;
    options.held_out_apart = 0;
    options.model_energies = NULL;
    options.model = lens ? NULL : r->model;
    options.scope = lens ? CBE_SCOPE_ALL : (cbe_scope)scope;
    options.covariance = lens;
    const size_t n_tokens = cbe_hidden_states_n_tokens(r->states, options.skip_positions);
    options.memory = memory_beside(r, (lens ? cbe_covariance_bytes(r->d) : 0) +
                                          cbe_times(MOST_BATCH, n_tokens, sizeof *per_token));
    cbe_status st = cbe_layer_objective_create(&objective, r->states, cbe_model_decoder(r->model),
                                               &options, err);
    if (st == CBE_OK &&
        !(per_token = cbe_alloc(n_tokens, MOST_BATCH * sizeof *per_token, "energies", err)))
        st = CBE_ERR_NOMEM;
    for (size_t i = 0; i < r->n && st == CBE_OK; i++) {
        cbe_objective *layer = NULL;
        st = cbe_layer_objective_set(objective, r->layers[i].layer, &layer, err);
        if (st == CBE_OK && lens)
            st = take_covariance(r, i, cbe_layer_objective_covariance(objective), err);
        if (st == CBE_OK && lens && r->oblique)
            st = whiten(r, i, cbe_layer_objective_metric(objective), err);
        if (st == CBE_OK) st = measure_energies(r, i, layer, scope, per_token, err);
        if (st == CBE_OK) st = step(r, err);
    }
    cbe_free(per_token);
    cbe_layer_objective_free(objective);
    return st;
}

/* Whether a direction counts. */
static bool counts(const cbe_direction *direction, size_t list, size_t keep)
{
    return (list == CBE_LIST_TOGETHER || direction->list == (cbe_direction_list)list) &&
           (keep == CBE_KEEP_ALL || direction->kappa < CBE_FIDELITY_KAPPA);
}

/* Compares the energies of a layer. */
static cbe_status compare_energies(cbe_layer_fidelity *layer, cbe_error *err)
{
    double *lens = cbe_alloc(layer->n_directions, sizeof *lens, "energies", err),
           *model = cbe_alloc(layer->n_directions, sizeof *model, "energies", err);
    cbe_status st = lens && model ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t keep = 0; keep < CBE_N_KEEPS; keep++)
        for (size_t scope = 0; scope < CBE_N_SCOPES; scope++)
            for (size_t list = 0; list < CBE_N_LISTS && st == CBE_OK; list++) {
                size_t n = 0;
                for (size_t i = 0; i < layer->n_directions; i++) {
                    const cbe_direction *direction = &layer->directions[i];
                    if (!counts(direction, list, keep)) continue;
                    lens[n] = direction->lens.mean;
                    model[n++] = direction->model[scope].mean;
                }
                st = cbe_influence_measure(&layer->influence[keep][scope][list], n, lens, model,
                                           err);
            }
    cbe_free(lens);
    cbe_free(model);
    return st;
}

/* Makes the span of a layer's first vectors, or of those among them that count, in the Euclidean
 * metric. @param out [out] NULL: none counts */
static cbe_status make_span(cbe_subspace **out, const fidelity_run *r, size_t place, size_t keep,
                            cbe_error *err)
{
    const size_t d = r->d;
    cbe_layer_fidelity *layer = &r->layers[place];
    const double *kappa = r->kappa + place * r->options->rank;
    const size_t first = cbe_min_size(r->options->rank, layer->n_vectors);
    double *vectors = cbe_alloc(first, cbe_times(d, sizeof *vectors, 1), "vectors", err);
    cbe_status st = vectors ? CBE_OK : CBE_ERR_NOMEM;
    cbe_error why;
    size_t n = 0;
    for (size_t i = 0; i < first && st == CBE_OK; i++)
        if (keep == CBE_KEEP_ALL || kappa[i] < CBE_FIDELITY_KAPPA)
            memcpy(vectors + n++ * d, layer->vectors + i * d, d * sizeof *vectors);
    if (st == CBE_OK && n > 0 && (st = cbe_subspace_create(out, n, d, vectors, &why)) != CBE_OK)
        cbe_fail_as(err, &why, "layer %zu: ", layer->layer);
    layer->rank[keep] = st == CBE_OK ? n : 0;
    cbe_free(vectors);
    return st;
}

/* The span of a layer in the covariance metric, in which all vectors count. */
static cbe_status align_oblique(fidelity_run *r, size_t place, size_t scope,
                                cbe_alignment *alignment, double *similarity, cbe_error *err)
{
    cbe_layer_fidelity *layer = &r->layers[place];
    const cbe_subspace *span = r->oblique[place];
    const cbe_status st = cbe_alignment_measure(alignment, layer->state, span, similarity, err);
    for (size_t keep = 0; keep < CBE_N_KEEPS && st == CBE_OK; keep++) {
        layer->rank[keep] = cbe_subspace_rank(span);
        layer->alignment[keep][scope] =
            estimate(r->n_sequences, cbe_alignment_n_tokens(alignment), similarity);
    }
    return st;
}

/* Both spans of a layer; if all vectors count, they are one. */
static cbe_status align_layer(fidelity_run *r, size_t place, size_t scope, cbe_alignment *alignment,
                              double *similarity, cbe_error *err)
{
    cbe_layer_fidelity *layer = &r->layers[place];
    cbe_status st = CBE_OK;
    for (size_t keep = 0; keep < CBE_N_KEEPS && st == CBE_OK; keep++) {
        cbe_estimate *out = &layer->alignment[keep][scope];
        cbe_subspace *span = NULL;
        *out = (cbe_estimate){NAN, NAN};
        st = make_span(&span, r, place, keep, err);
        if (keep != CBE_KEEP_ALL && layer->rank[keep] == layer->rank[CBE_KEEP_ALL]) {
            *out = layer->alignment[CBE_KEEP_ALL][scope];
        } else if (st == CBE_OK && span) {
            st = cbe_alignment_measure(alignment, layer->state, span, similarity, err);
            if (st == CBE_OK)
                *out = estimate(r->n_sequences, cbe_alignment_n_tokens(alignment), similarity);
        }
        cbe_subspace_free(span);
    }
    return st;
}

/* A turn of alignments. */
static cbe_status run_alignments(fidelity_run *r, size_t scope, cbe_error *err)
{
    const cbe_fidelity_options *o = r->options;
    const cbe_extraction_options *e = &o->extraction;
    const size_t n_tokens = cbe_hidden_states_n_tokens(r->states, e->skip_positions);
    const cbe_alignment_options options = {
        .lens = e->lens,
        .ablation = e->ablation,
        .scope = (cbe_scope)scope,
        .skip_positions = e->skip_positions,
        .max_rank = o->rank,
        .seed = e->search.seed,
        .memory = memory_beside(r, cbe_times(n_tokens, sizeof(double), 1))};
    cbe_alignment *alignment = NULL;
    double *similarity = NULL;
    cbe_status st = cbe_alignment_create(&alignment, r->model, r->states, &options, err);
    if (st == CBE_OK &&
        !(similarity = cbe_alloc(n_tokens, sizeof *similarity, "similarities", err)))
        st = CBE_ERR_NOMEM;
    for (size_t i = 0; i < r->n && st == CBE_OK; i++) {
        st = r->oblique ? align_oblique(r, i, scope, alignment, similarity, err)
                        : align_layer(r, i, scope, alignment, similarity, err);
        if (st == CBE_OK) st = step(r, err);
        if (st == CBE_OK && scope + 1 == CBE_N_SCOPES && o->tell && !o->tell(o->context, i))
            st = cbe_fail(err, CBE_ERR_CANCELLED, -1, "the comparison was cancelled");
    }
    cbe_free(similarity);
    cbe_alignment_free(alignment);
    return st;
}

cbe_status cbe_fidelity_run(const cbe_model *model, const cbe_hidden_states *states,
                            const cbe_fidelity_options *options, size_t n,
                            cbe_layer_fidelity *layers, cbe_error *err)
{
    fidelity_run r = {.model = model,
                      .states = states,
                      .options = options,
                      .n = n,
                      .d = cbe_hidden_states_hidden_size(states),
                      .n_sequences = cbe_hidden_states_n_sequences(states),
                      .layers = layers};
    if (options->extraction.ablation == CBE_ABLATE_OPTIMAL)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "optimal ablation is not known for subspaces, only for single directions: "
                        "use mean, resample or zero");
    r.directions = cbe_alloc_zero(n, sizeof *r.directions, "directions", err);
    r.kappa = cbe_alloc(n, cbe_times(options->rank, sizeof *r.kappa, 1), "directions", err);
    const bool oblique = options->extraction.metric == CBE_METRIC_COVARIANCE;
    if (oblique) r.oblique = cbe_alloc_zero(n, sizeof *r.oblique, "directions", err);
    cbe_status st = r.directions && r.kappa && (!oblique || r.oblique) ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) st = run_energies(&r, CBE_N_SCOPES, err);
    for (size_t scope = 0; scope < CBE_N_SCOPES && st == CBE_OK; scope++)
        st = run_energies(&r, scope, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++) st = compare_energies(&layers[i], err);
    for (size_t scope = 0; scope < CBE_N_SCOPES && st == CBE_OK; scope++)
        st = run_alignments(&r, scope, err);
    for (size_t i = 0; i < n && r.directions; i++) cbe_free(r.directions[i]);
    for (size_t i = 0; i < n && r.oblique; i++) cbe_subspace_free(r.oblique[i]);
    cbe_free(r.oblique);
    cbe_free(r.directions);
    cbe_free(r.kappa);
    return st;
}
