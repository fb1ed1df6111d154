/*
 * Energies and gradients in the whole model against PyTorch in float64, in both metrics and scopes,
 * with each ablation, at every layer, and at other strengths; the first position of each sequence
 * is skipped.
 */
#include "support/assert_close.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objective/model/objective.h"
#include "support/capture.h"
#include "support/golden.h"

static cbe_error err;

enum { SKIP = 1 };

/* A model, its tokens and hidden states, and what the file says of them. */
typedef struct {
    const char *name;
    cbe_safetensors *golden;
    cbe_model *model;
    size_t n_sequences, length, n, d, n_layers; /* n: of tokens that are not skipped */
    int64_t *ids, *perm;
    double *v, *u;
    capture states;
} problem;

static problem open_problem(const char *name)
{
    problem p = {.name = name};
    char *model = cbe_golden_path("models/%s", name),
         *path = cbe_golden_path("truth/%s/golden.safetensors", name);
    cbe_tensor t;
    p.golden = open_golden(path);
    p.model = open_model(model);
    p.ids = cbe_golden_ids(p.golden, "input_ids", &p.n_sequences, &p.length);
    p.n = p.n_sequences * (p.length - SKIP);
    p.d = cbe_model_get_config(p.model)->hidden_size;
    p.n_layers = cbe_model_get_config(p.model)->n_layers;
    p.v = cbe_golden_f64(p.golden, "v", p.d);
    p.u = cbe_golden_f64(p.golden, "u", p.d);
    cbe_assert_ok(cbe_safetensors_get(p.golden, "perm", &t, &err), &err);
    assert_int_equal(t.n_bytes, p.n * sizeof *p.perm);
    assert_non_null(p.perm = malloc(t.n_bytes));
    memcpy(p.perm, t.data, t.n_bytes);
    capture_run(&p.states, p.model, p.n_sequences, p.length, p.ids);
    free(model);
    free(path);
    return p;
}

static void close_problem(problem *p)
{
    capture_free(&p->states);
    cbe_model_close(p->model);
    cbe_safetensors_close(p->golden);
    free(p->ids);
    free(p->perm);
    free(p->v);
    free(p->u);
}

static const float *state_of(const problem *p, size_t layer)
{
    return p->states.hidden + layer * p->n_sequences * p->length * p->d;
}

/* The file of a deep model leaves one out. */
static bool has_layer(const problem *p, size_t layer)
{
    char name[40];
    snprintf(name, sizeof name, "layers.%zu.mean", layer);
    return cbe_safetensors_has(p->golden, name);
}

static double top_of(size_t n, const double *x)
{
    double top = 0;
    for (size_t i = 0; i < n; i++) top = fmax(top, fabs(x[i]));
    return top;
}

/* The covariance of the tokens that are not skipped. */
static cbe_covariance *covariance_of(const problem *p, size_t layer)
{
    cbe_covariance_block *blocks = malloc(p->n_sequences * sizeof *blocks);
    cbe_covariance *covariance = NULL;
    assert_non_null(blocks);
    for (size_t b = 0; b < p->n_sequences; b++)
        blocks[b] = (cbe_covariance_block){p->length - SKIP,
                                           state_of(p, layer) + (b * p->length + SKIP) * p->d};
    cbe_assert_ok(cbe_covariance_create(&covariance, p->d, p->n_sequences, blocks, NULL, &err),
                  &err);
    free(blocks);
    return covariance;
}

static cbe_objective *make(const problem *p, cbe_ablation ablation, cbe_scope scope)
{
    const cbe_model_objective_options options = {.n_sequences = p->n_sequences,
                                                 .context_length = p->length,
                                                 .skip_positions = SKIP,
                                                 .first_block = 1,
                                                 .ablation = ablation,
                                                 .derangement = p->perm,
                                                 .scope = scope};
    cbe_objective *o = NULL;
    cbe_assert_ok(
        cbe_model_objective_create(&o, p->model, &options, state_of(p, p->n_layers), &err), &err);
    return o;
}

/* Energy, energies of tokens and gradient of one direction, beside PREFIX.energy and so on. Logits
 * are float32: energies are held to 1e-6 nats, single tokens to 1e-5. */
static void compare(const problem *p, cbe_objective *o, const double *direction, const char *prefix)
{
    char name[96];
    double *grad = malloc((p->d + p->n) * sizeof *grad), *per_token = grad + p->d, energy;
    assert_non_null(grad);
    cbe_assert_ok(cbe_objective_eval(o, 1, direction, &energy, grad, per_token, &err), &err);
    snprintf(name, sizeof name, "%s.energy", prefix);
    double *want = cbe_golden_f64(p->golden, name, 1);
    cbe_assert_close(&energy, want, 1, 1e-6, 1e-4, "%s %s", p->name, name);
    free(want);
    snprintf(name, sizeof name, "%s.energy_per_token", prefix);
    want = cbe_golden_f64(p->golden, name, p->n);
    cbe_assert_close(per_token, want, p->n, 1e-5, 1e-4, "%s %s", p->name, name);
    free(want);
    snprintf(name, sizeof name, "%s.grad", prefix);
    want = cbe_golden_f64(p->golden, name, p->d);
    cbe_assert_close(grad, want, p->d, 1e-3 * top_of(p->d, want), 0, "%s %s", p->name, name);
    free(want);
    free(grad);
}

static void energies__match_pytorch(void **state)
{
    problem p = open_problem(*state);
    char prefix[64];
    for (size_t i = 0; i < p.n_layers; i++) {
        if (!has_layer(&p, i)) continue;
        cbe_covariance *covariance = covariance_of(&p, i + 1);
        const cbe_metric oblique = {covariance, CBE_COVARIANCE_RIDGE, 1};
        for (int scope = 0; scope < CBE_N_SCOPES; scope++)
            for (int mode = 0; mode < CBE_ABLATE_OPTIMAL; mode++) {
                cbe_objective *o = make(&p, (cbe_ablation)mode, (cbe_scope)scope);
                for (int metric = 0; metric < 2; metric++) {
                    cbe_assert_ok(cbe_model_objective_set_layer(o, i + 1, state_of(&p, i + 1),
                                                                metric ? &oblique : NULL, &err),
                                  &err);
                    snprintf(prefix, sizeof prefix, "layers.%zu.%s.%s.%s", i,
                             metric ? "covariance" : "euclidean", cbe_scope_name((cbe_scope)scope),
                             cbe_ablation_name((cbe_ablation)mode));
                    compare(&p, o, metric ? p.u : p.v, prefix);
                }
                cbe_objective_free(o);
            }
        cbe_covariance_free(covariance);
    }
    close_problem(&p);
}

static void energies__match_pytorch_at_other_strengths(void **state)
{
    problem p = open_problem(*state);
    static const char *const strengths[] = {"0.1", "0.5"};
    cbe_objective *o = make(&p, CBE_ABLATE_MEAN, CBE_SCOPE_ALL);
    for (size_t i = 0; i < p.n_layers; i++)
        for (size_t s = 0; s < 2 && has_layer(&p, i); s++) {
            char name[64];
            double energy;
            const cbe_metric metric = {NULL, 0, atof(strengths[s])};
            snprintf(name, sizeof name, "layers.%zu.euclidean.all.mean.energy_at.%s", i,
                     strengths[s]);
            cbe_assert_ok(
                cbe_model_objective_set_layer(o, i + 1, state_of(&p, i + 1), &metric, &err), &err);
            cbe_assert_ok(cbe_objective_eval(o, 1, p.v, &energy, NULL, NULL, &err), &err);
            double *want = cbe_golden_f64(p.golden, name, 1);
            cbe_assert_close(&energy, want, 1, 1e-6, 1e-4, "%s %s", p.name, name);
            free(want);
        }
    cbe_objective_free(o);
    close_problem(&p);
}

int main(void)
{
    static char names[][16] = {"bloom", "gemma2", "gpt2", "gpt_neox", "llama", "olmo2"};
    enum { N_NAMES = sizeof names / sizeof *names };
    static char titles[2 * N_NAMES][96];
    static struct CMUnitTest tests[2 * N_NAMES];
    for (size_t i = 0; i < N_NAMES; i++) {
        snprintf(titles[2 * i], sizeof *titles, "%.15s__matches_pytorch", names[i]);
        snprintf(titles[2 * i + 1], sizeof *titles, "%.15s__matches_pytorch_at_other_strengths",
                 names[i]);
        tests[2 * i] =
            (struct CMUnitTest){titles[2 * i], energies__match_pytorch, NULL, NULL, names[i]};
        tests[2 * i + 1] = (struct CMUnitTest){
            titles[2 * i + 1], energies__match_pytorch_at_other_strengths, NULL, NULL, names[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
