/* model_energies.c - see model_energies.h. */
#include "extract/model_energies.h"

#include "core/memory.h"
#include "core/sizes.h"
#include "extract/controls.h"
#include "extract/layer_objective.h"
#include "objective/scope.h"

/* Random directions evaluated: an evaluation takes as long as dozens through a lens. */
struct cbe_model_energies {
    size_t d, n_tokens;
    cbe_layer_objective *scopes[CBE_N_SCOPES];
};

size_t cbe_model_energies_n_directions(size_t n)
{
    return n + 1 + CBE_MODEL_RANDOM_CONTROLS;
}

void cbe_model_energies_free(cbe_model_energies *e)
{
    if (!e) return;
    for (int s = 0; s < CBE_N_SCOPES; s++) cbe_layer_objective_free(e->scopes[s]);
    cbe_free(e);
}

cbe_status cbe_model_energies_create(cbe_model_energies **out, const cbe_hidden_states *states,
                                     const cbe_model *model, const cbe_extraction_options *options,
                                     size_t memory, cbe_error *err)
{
    cbe_model_energies *e = cbe_alloc_zero(1, sizeof *e, "energies in the model", err);
    cbe_extraction_options o = *options;
    cbe_status st = e ? CBE_OK : CBE_ERR_NOMEM;
    o.model = model;
    o.lens = NULL;
    o.covariance = false;
    o.within = 0;
    o.memory = memory / CBE_N_SCOPES;
    for (int s = 0; s < CBE_N_SCOPES && st == CBE_OK; s++) {
        o.scope = (cbe_scope)s;
        st = cbe_layer_objective_create(&e->scopes[s], states, cbe_model_decoder(model), &o, err);
    }
    if (st != CBE_OK) {
        cbe_model_energies_free(e);
        return st;
    }
    e->d = cbe_hidden_states_hidden_size(states);
    e->n_tokens = cbe_layer_objective_n_tokens(e->scopes[0]);
    *out = e;
    return CBE_OK;
}

/* Energies of n directions in one scope. errors NULL: not wanted */
static cbe_status measure(const cbe_model_energies *e, cbe_scope scope, size_t layer, size_t n,
                          const double *v, double *energies, double *errors, cbe_error *err)
{
    cbe_objective *objective = NULL;
    cbe_status st = cbe_layer_objective_set(e->scopes[scope], layer, &objective, err);
    if (st != CBE_OK) return st;
    const size_t batch = cbe_objective_max_batch(objective),
                 tokens = cbe_objective_n_tokens(objective);
    double *per_token = cbe_alloc(errors ? batch : 0, cbe_times(tokens, sizeof *per_token, 1),
                                  "energies of tokens", err);
    if (!per_token) return CBE_ERR_NOMEM;
    for (size_t first = 0; first < n && st == CBE_OK; first += batch) {
        const size_t m = cbe_min_size(batch, n - first);
        st = cbe_objective_eval(objective, m, v + first * e->d, energies + first, NULL,
                                errors ? per_token : NULL, err);
        for (size_t j = 0; j < m && errors && st == CBE_OK; j++)
            errors[first + j] =
                cbe_layer_objective_error(e->scopes[scope], false, per_token + j * tokens);
    }
    cbe_free(per_token);
    return st;
}

/* Puts the numbers of directions first .. first + n - 1, averaged, in a report. */
static void fill(cbe_vector_report *report, size_t first, size_t n, const double *all,
                 const double *errors, const double *own)
{
    report->model_energy = report->own_energy = 0;
    for (size_t i = first; i < first + n; i++) {
        report->model_energy += all[i] / (double)n;
        report->own_energy += own[i] / (double)n;
    }
    if (n == 1) report->model_error = errors[first];
}

cbe_status cbe_model_energies_measure(cbe_model_energies *e, const cbe_survey *survey,
                                      uint64_t seed, cbe_layer_result *result, cbe_error *err)
{
    const size_t k = result->basis.n_vectors, n = cbe_model_energies_n_directions(k), d = e->d;
    /* The controls' directions behind those found; of the random ones the first are used. */
    double *v = cbe_alloc(k + 1 + CBE_RANDOM_CONTROLS, d * sizeof *v, "directions", err),
           *all = cbe_alloc(n, 3 * sizeof *all, "energies in the model", err);
    cbe_status st = v && all ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        double *errors = all + n, *own = all + 2 * n;
        for (size_t i = 0; i < k * d; i++) v[i] = result->basis.vectors[i];
        cbe_controls_make(survey->covariance, survey->metric, seed, result->state, v + k * d);
        st = measure(e, CBE_SCOPE_ALL, result->layer, n, v, all, errors, err);
        if (st == CBE_OK) st = measure(e, CBE_SCOPE_OWN, result->layer, n, v, own, NULL, err);
        for (size_t j = 0; j < k && st == CBE_OK; j++)
            fill(&result->reports[j], j, 1, all, errors, own);
        if (st == CBE_OK) {
            fill(&result->controls[CBE_CONTROL_PRINCIPAL], k, 1, all, errors, own);
            fill(&result->controls[CBE_CONTROL_RANDOM], k + 1, CBE_MODEL_RANDOM_CONTROLS, all,
                 errors, own);
        }
    }
    cbe_free(v);
    cbe_free(all);
    return st;
}
