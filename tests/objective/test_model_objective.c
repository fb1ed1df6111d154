/*
 * Energies and gradients in the whole model: PyTorch's golden values for each family and ablation,
 * and the plain twin for everything that these do not have.
 */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objective/model/objective.h"
#include "math/bf16.h"
#include "core/memory.h"
#include "ref/model_objective_ref.h"
#include "ref/model_ref.h"
#include "support/capture.h"
#include "support/families.h"
#include "support/golden.h"
#include "support/smollm2.h"

static cbe_error err;

static double top_of(size_t n, const double *x)
{
    double top = 0;
    for (size_t i = 0; i < n; i++) top = fmax(top, fabs(x[i]));
    return top;
}

/* A model, its tokens, and all its hidden states. */
typedef struct {
    cbe_model *model;
    size_t n_sequences, length, n, d, n_layers;
    int64_t *ids;
    capture states;
} problem;

static problem open_problem(const char *path, size_t n_sequences, size_t length, const int64_t *ids)
{
    problem p = {.model = open_model(path),
                 .n_sequences = n_sequences,
                 .length = length,
                 .n = n_sequences * length};
    p.d = cbe_model_get_config(p.model)->hidden_size;
    p.n_layers = cbe_model_get_config(p.model)->n_layers;
    p.ids = malloc(p.n * sizeof *p.ids);
    assert_non_null(p.ids);
    for (size_t i = 0; i < p.n; i++)
        p.ids[i] = ids ? ids[i] : (int64_t)(i * i * 7 % cbe_model_get_config(p.model)->vocab_size);
    capture_run(&p.states, p.model, n_sequences, length, p.ids);
    return p;
}

static void close_problem(problem *p)
{
    capture_free(&p->states);
    cbe_model_close(p->model);
    free(p->ids);
}

static const float *state_of(const problem *p, size_t layer)
{
    return p->states.hidden + layer * p->n * p->d;
}

static cbe_objective *make_in(const problem *p, const cbe_model_objective_options *options,
                              size_t first, const cbe_metric *metric)
{
    cbe_objective *o = NULL;
    cbe_assert_ok(cbe_model_objective_create(&o, p->model, options, state_of(p, p->n_layers), &err),
                  &err);
    cbe_assert_ok(cbe_model_objective_set_layer(o, first, state_of(p, first), metric, &err), &err);
    return o;
}

static cbe_objective *make(const problem *p, const cbe_model_objective_options *options,
                           size_t first)
{
    return make_in(p, options, first, NULL);
}

/* Whether the golden file has the tensor; then compares energy, energies of tokens where there are
 * some, and gradient. */
static void compare_golden(const problem *p, const cbe_safetensors *golden, const char *prefix,
                           size_t block, size_t mode, const int64_t *derangement, const double *v,
                           cbe_precision precision)
{
    /* 16 bits of factors in place of 24: measured below 4.1e-6 and 9.2e-5. */
    const bool float32 = precision == CBE_PRECISION_FLOAT32;
    const double close = float32 ? 1e-6 : 6e-6, close_token = float32 ? 1e-5 : 1.2e-4;
    char name[96];
    snprintf(name, sizeof name, "%s.%zu.%s.energy", prefix, block,
             cbe_ablation_name((cbe_ablation)mode));
    if (!cbe_safetensors_has(golden, name)) return;
    const cbe_model_objective_options options = {.n_sequences = p->n_sequences,
                                                 .context_length = p->length,
                                                 .first_block = block + 1,
                                                 .ablation = (cbe_ablation)mode,
                                                 .derangement = derangement,
                                                 .precision = precision};
    cbe_objective *o = make(p, &options, block + 1);
    double *grad = malloc((p->d + p->n) * sizeof *grad), *per_token = grad + p->d, energy;
    assert_non_null(grad);
    cbe_assert_ok(cbe_objective_eval(o, 1, v, &energy, grad, per_token, &err), &err);
    double *want = cbe_golden_f64(golden, name, 1);
    cbe_assert_close(&energy, want, 1, close, 1e-4, "%s", name);
    free(want);
    snprintf(name, sizeof name, "%s.%zu.%s.energy_per_token", prefix, block,
             cbe_ablation_name((cbe_ablation)mode));
    if (cbe_safetensors_has(golden, name)) {
        want = cbe_golden_f64(golden, name, p->n);
        cbe_assert_close(per_token, want, p->n, close_token, 1e-4, "%s", name);
        free(want);
    }
    snprintf(name, sizeof name, "%s.%zu.%s.grad", prefix, block,
             cbe_ablation_name((cbe_ablation)mode));
    want = cbe_golden_f64(golden, name, p->d);
    cbe_assert_close(grad, want, p->d, 1e-3 * top_of(p->d, want), 0, "%s", name);
    free(want);
    free(grad);
    cbe_objective_free(o);
}

static void compare_with_file(const char *model, const char *golden_path, const char *prefix,
                              const char *direction, cbe_precision precision)
{
    cbe_safetensors *golden = open_golden(golden_path);
    char name[32];
    size_t n_sequences, length, d;
    int64_t *ids = cbe_golden_ids(golden, "input_ids", &n_sequences, &length), *derangement = NULL;
    problem p = open_problem(model, n_sequences, length, ids);
    float *v32 = cbe_golden_floats(golden, direction, &d);
    assert_int_equal(d, p.d);
    double *v = malloc(d * sizeof *v);
    for (size_t k = 0; k < d; k++) v[k] = (double)v32[k];
    snprintf(name, sizeof name, "%s.perm", prefix);
    cbe_tensor t;
    if (cbe_safetensors_has(golden, name)) {
        cbe_assert_ok(cbe_safetensors_get(golden, name, &t, &err), &err);
        derangement = malloc(t.n_bytes);
        memcpy(derangement, t.data, t.n_bytes);
    }
    for (size_t block = 0; block < p.n_layers; block++)
        for (size_t mode = 0; mode < CBE_ABLATE_OPTIMAL; mode++)
            compare_golden(&p, golden, prefix, block, mode, derangement, v, precision);
    close_problem(&p);
    cbe_safetensors_close(golden);
    free(ids);
    free(v32);
    free(v);
    free(derangement);
}

static void objective__matches_golden(void **state)
{
    char *model = cbe_golden_path("models/%s", (const char *)*state);
    char *golden = cbe_golden_path("models/%s/golden.safetensors", (const char *)*state);
    cbe_safetensors *file = open_golden(golden);
    const bool there = cbe_safetensors_has(file, "ablate.v"); /* fixtures of variants have none */
    cbe_safetensors_close(file);
    if (there) compare_with_file(model, golden, "ablate", "ablate.v", CBE_PRECISION_FLOAT32);
    if (there && !cbe_bf16_missing())
        compare_with_file(model, golden, "ablate", "ablate.v", CBE_PRECISION_BF16X3);
    free(model);
    free(golden);
}

static void objective__matches_golden_of_smollm2(void **state)
{
    (void)state;
    if (!cbe_test_smollm2_path()) skip();
    char *golden = cbe_golden_path("smollm2/golden.safetensors");
    compare_with_file(cbe_test_smollm2_path(), golden, "model", "v", CBE_PRECISION_FLOAT32);
    if (!cbe_bf16_missing())
        compare_with_file(cbe_test_smollm2_path(), golden, "model", "v", CBE_PRECISION_BF16X3);
    free(golden);
}

/* --- against the twin --- */

enum { B = 4, S = 13 };

typedef struct {
    problem p;
    cbe_model_objective_options options;
    int64_t labels[B * S], derangement[B * S];
    bool held_out[B * S];
    double *hidden; /* (B S, d) of the layer */
    double *v;      /* (3, d) */
    size_t first;
    cbe_metric metric;
    cbe_covariance *covariance; /* owned; NULL: the Euclidean metric */
} twin_case;

static void make_case(twin_case *c, const char *name, size_t first, size_t skip,
                      cbe_ablation ablation, cbe_loss kind, bool hold_out)
{
    char *path = cbe_golden_path("models/%s", name);
    c->p = open_problem(path, B, S, NULL);
    free(path);
    c->first = first;
    const size_t each = S - skip, n = B * each, d = c->p.d;
    for (size_t i = 0; i < n; i++) {
        const size_t at = i / each * S + skip + i % each;
        c->labels[i] = i % each + 1 < each ? c->p.ids[at + 1] : -1;
        c->held_out[i] = hold_out && i / each == 1;
    }
    /* A cycle among the tokens held out, and one among the others. */
    for (int part = 0; part < 2; part++) {
        size_t before = n;
        for (size_t round = 0; round < 2; round++)
            for (size_t i = 0; i < n; i++) {
                if (c->held_out[i] != (part == 1)) continue;
                if (before < n) c->derangement[before] = (int64_t)i;
                before = i;
            }
    }
    c->options = (cbe_model_objective_options){.n_sequences = B,
                                               .context_length = S,
                                               .skip_positions = skip,
                                               .first_block = first,
                                               .ablation = ablation,
                                               .kind = kind,
                                               .derangement = c->derangement,
                                               .labels = c->labels,
                                               .held_out = hold_out ? c->held_out : NULL,
                                               .max_batch = 3};
    c->hidden = malloc(B * S * d * sizeof *c->hidden);
    c->v = malloc(3 * d * sizeof *c->v);
    assert_true(c->hidden && c->v);
    for (size_t i = 0; i < B * S * d; i++) c->hidden[i] = (double)state_of(&c->p, first)[i];
    for (size_t i = 0; i < 3 * d; i++)
        c->v[i] = sin(3.7 * (double)(i + 1) + (double)(i * i % 101)) / sqrt((double)d);
    c->metric = cbe_metric_plain;
    c->covariance = NULL;
}

/* The covariance of all tokens of the layer takes the place of the plain metric. */
static void make_oblique(twin_case *c)
{
    const cbe_covariance_block block = {B * S, state_of(&c->p, c->first)};
    cbe_assert_ok(cbe_covariance_create(&c->covariance, c->p.d, 1, &block, NULL, &err), &err);
    c->metric.covariance = c->covariance;
    c->metric.ridge = 0.05;
}

static void free_case(twin_case *c)
{
    close_problem(&c->p);
    cbe_covariance_free(c->covariance);
    free(c->hidden);
    free(c->v);
}

static double twin_energy(const twin_case *c, const double *v, double constant, bool which,
                          double *per_token)
{
    const size_t d = c->p.d;
    double *read = malloc(2 * d * sizeof *read), *write = read + d;
    assert_non_null(read);
    cbe_metric_read(&c->metric, d, 1, v, read);
    cbe_metric_write(&c->metric, d, 1, v, write);
    const double energy = cbe_model_energy_ref(c->p.model, &c->options, c->first, c->hidden, read,
                                               write, constant, which, per_token);
    free(read);
    return energy;
}

/* d energy / d v along a direction u, by central differences of the twin. */
static double twin_slope(const twin_case *c, const double *v, const double *u, double constant)
{
    const size_t d = c->p.d;
    double *moved = malloc(d * sizeof *moved), energy[2];
    for (int side = 0; side < 2; side++) {
        for (size_t k = 0; k < d; k++) moved[k] = v[k] + (side ? 1e-5 : -1e-5) * u[k];
        energy[side] = twin_energy(c, moved, constant, false, NULL);
    }
    free(moved);
    return (energy[1] - energy[0]) / 2e-5;
}

static double dot(size_t d, const double *a, const double *b)
{
    double sum = 0;
    for (size_t k = 0; k < d; k++) sum += a[k] * b[k];
    return sum;
}

/* What a direction reads and writes, and which tokens change at once. */
typedef struct {
    double strength;
    bool oblique;
    cbe_scope scope;
    size_t at_once; /* sequences that run at once; 0: as many as there is room for */
} variant;

/* A batch of three directions: energies, energies of tokens, slopes along two directions. */
static void compare_variant(const char *name, size_t first, size_t skip, cbe_ablation ablation,
                            cbe_loss kind, bool hold_out, variant how)
{
    twin_case c;
    make_case(&c, name, first, skip, ablation, kind, hold_out);
    if (how.oblique) make_oblique(&c);
    c.metric.strength = how.strength;
    c.options.scope = how.scope;
    if (how.at_once) {
        cbe_model_objective_plan plan;
        do { /* less memory until no more sequences run at once */
            cbe_assert_ok(cbe_model_objective_choose(&plan, c.p.model, &c.options, &err), &err);
            c.options.memory = plan.bytes - 1;
        } while (plan.n_sequences > how.at_once);
        c.options.memory++;
    }
    cbe_objective *o = make_in(&c.p, &c.options, first, &c.metric);
    const size_t d = c.p.d, rows = cbe_objective_n_tokens(o);
    double energy[3], *grad = malloc(3 * d * sizeof *grad),
                      *per_token = malloc(2 * 3 * B * S * sizeof *per_token);
    double *want_tokens = per_token + 3 * B * S;
    assert_int_equal(rows, (B - hold_out) * (S - skip - (kind == CBE_LOSS_CE)));
    cbe_memory_fail_after(0); /* nothing is allocated in an evaluation */
    cbe_assert_ok(cbe_objective_eval(o, 3, c.v, energy, grad, per_token, &err), &err);
    cbe_memory_fail_after(-1);
    for (size_t j = 0; j < 3; j++) {
        const double want = twin_energy(&c, c.v + j * d, 0, false, want_tokens);
        const double *u = c.v + (j + 1) % 3 * d;
        /* Logits are float32, a few units: measured below 2e-6 for a token, 1e-6 for their mean. */
        cbe_assert_close(&energy[j], &want, 1, 1e-6, 1e-4, "%s energy %zu", name, j);
        cbe_assert_close(per_token + j * rows, want_tokens, rows, 1e-5, 1e-4,
                         "%s energies of tokens %zu", name, j);
        for (int along = 0; along < 2; along++) {
            const double *w = along ? c.v + j * d : u;
            const double want_slope = twin_slope(&c, c.v + j * d, w, 0),
                         got = dot(d, grad + j * d, w);
            cbe_assert_close(&got, &want_slope, 1, 2e-5 * sqrt(dot(d, grad + j * d, grad + j * d)),
                             1e-5, "%s slope %zu", name, j);
        }
    }
    if (hold_out) {
        cbe_objective_set_held_out(o);
        assert_int_equal(cbe_objective_n_tokens(o), S - skip - (kind == CBE_LOSS_CE));
        cbe_assert_ok(cbe_objective_eval(o, 1, c.v, energy, NULL, NULL, &err), &err);
        const double want = twin_energy(&c, c.v, 0, true, NULL);
        cbe_assert_close(energy, &want, 1, 1e-6, 1e-4, "%s held out", name);
        cbe_objective_set_sample(o, 0);
        assert_int_equal(cbe_objective_n_tokens(o), rows);
    }
    free(grad);
    free(per_token);
    cbe_objective_free(o);
    free_case(&c);
}

static void compare_twin(const char *name, size_t first, size_t skip, cbe_ablation ablation,
                         cbe_loss kind, bool hold_out)
{
    compare_variant(name, first, skip, ablation, kind, hold_out, (variant){.strength = 1});
}

static void objective__matches_the_twin_in_any_metric_and_scope(void **state)
{
    (void)state;
    const variant half = {.strength = 0.5}, oblique = {.strength = 1, .oblique = true},
                  own = {.strength = 1, .scope = CBE_SCOPE_OWN},
                  all_of_it = {1.25, true, CBE_SCOPE_OWN, 0};
    compare_variant("llama", 1, 1, CBE_ABLATE_RESAMPLE, CBE_LOSS_CE, false, half);
    compare_variant("gemma2", 2, 1, CBE_ABLATE_ZERO, CBE_LOSS_KL, true, oblique);
    compare_variant("gptj", 1, 0, CBE_ABLATE_RESAMPLE, CBE_LOSS_KL, false, oblique);
    compare_variant("llama", 1, 1, CBE_ABLATE_MEAN, CBE_LOSS_CE, true, own);
    compare_variant("gemma3", 0, 2, CBE_ABLATE_RESAMPLE, CBE_LOSS_KL, false, own);
    compare_variant("bloom", 1, 1, CBE_ABLATE_MEAN, CBE_LOSS_KL, false, all_of_it);
    compare_variant("phi", 3, 1, CBE_ABLATE_ZERO, CBE_LOSS_KL, false, all_of_it); /* no block */
    /* fewer at once than there are sequences: clean ones run anew in each batch */
    for (size_t at_once = 1; at_once < 4; at_once++)
        compare_variant("gpt2", 1, 1, CBE_ABLATE_MEAN, CBE_LOSS_KL, true,
                        (variant){0.75, true, CBE_SCOPE_OWN, at_once});
}

/* One layer after the other, and samples in between: clean keys are those of the layer. */
static void own_scope__does_not_remember_another_layer(void **state)
{
    (void)state;
    twin_case c;
    make_case(&c, "llama", 1, 1, CBE_ABLATE_MEAN, CBE_LOSS_KL, false);
    c.options.scope = CBE_SCOPE_OWN;
    cbe_objective *o = make(&c.p, &c.options, 1);
    double first, other, again, same;
    cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &first, NULL, NULL, &err), &err);
    cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &same, NULL, NULL, &err), &err);
    assert_true(same == first);
    cbe_assert_ok(cbe_model_objective_set_layer(o, 2, state_of(&c.p, 2), NULL, &err), &err);
    cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &other, NULL, NULL, &err), &err);
    cbe_objective_set_sample(o, S - 1);
    cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &same, NULL, NULL, &err), &err);
    cbe_assert_ok(cbe_model_objective_set_layer(o, 1, state_of(&c.p, 1), NULL, &err), &err);
    cbe_objective_set_sample(o, 0);
    cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &again, NULL, NULL, &err), &err);
    assert_true(again == first && other != first);
    cbe_objective_free(o);
    free_case(&c);
}

static void objective__matches_the_twin(void **state)
{
    (void)state;
    compare_twin("llama", 1, 0, CBE_ABLATE_MEAN, CBE_LOSS_CE, false);
    compare_twin("llama", 2, 2, CBE_ABLATE_MEAN, CBE_LOSS_KL, false);
    compare_twin("gpt2", 1, 1, CBE_ABLATE_RESAMPLE, CBE_LOSS_CE, true);
    compare_twin("gptj", 0, 1, CBE_ABLATE_ZERO, CBE_LOSS_KL, true); /* an output bias */
    compare_twin("gptj", 2, 0, CBE_ABLATE_MEAN, CBE_LOSS_CE, true);
    compare_twin("gemma2", 1, 1, CBE_ABLATE_MEAN, CBE_LOSS_KL, true); /* soft caps */
    compare_twin("gemma2", 2, 1, CBE_ABLATE_RESAMPLE, CBE_LOSS_CE, false);
    /* no final norm */
    compare_twin("opt-post-norm", 1, 0, CBE_ABLATE_ZERO, CBE_LOSS_KL, false);
    /* nothing but the decoder */
    compare_twin("phi-norms", 2, 0, CBE_ABLATE_MEAN, CBE_LOSS_KL, false);
}

static void optimal__finds_the_least_energy(void **state)
{
    (void)state;
    static const cbe_loss kinds[] = {CBE_LOSS_KL, CBE_LOSS_CE};
    for (size_t i = 0; i < 3; i++) {
        twin_case c;
        make_case(&c, i % 2 ? "gemma2" : "llama", 1, 1, CBE_ABLATE_OPTIMAL, kinds[i % 2], false);
        if (i >= 2) {
            make_oblique(&c);
            c.metric.strength = 0.75;
            c.options.scope = CBE_SCOPE_OWN;
        }
        cbe_objective *o = make_in(&c.p, &c.options, 1, &c.metric);
        const size_t d = c.p.d, n = cbe_objective_n_tokens(o);
        double energy[3], constant[3], *grad = malloc(3 * d * sizeof *grad),
                                       *per_token = malloc(3 * n * sizeof *per_token);
        cbe_memory_fail_after(0);
        cbe_assert_ok(
            cbe_objective_eval_optimal(o, 3, c.v, energy, constant, grad, per_token, &err), &err);
        cbe_memory_fail_after(-1);
        for (size_t j = 0; j < 3; j++) {
            const double *v = c.v + j * d;
            const double want = twin_energy(&c, v, constant[j], false, NULL);
            cbe_assert_close(&energy[j], &want, 1, 1e-6, 1e-4, "energy %zu", j);
            double mean = 0;
            for (size_t t = 0; t < n; t++) mean += per_token[j * n + t] / (double)n;
            cbe_assert_close(&mean, &energy[j], 1, 1e-6, 1e-5, "mean of tokens %zu", j);
            /* No constant nearby does better, and for kl, where none can be good far away, none
             * anywhere. */
            const double reach = i == 1 ? 0.5 : 3;
            for (double a = -reach; a <= reach; a += reach / (i < 2 ? 16 : 4)) {
                const double other = twin_energy(&c, v, constant[j] + a * a * a, false, NULL);
                assert_true(other >= energy[j] - 1e-5 * fabs(energy[j]) - 1e-6);
            }
            /* The constant held fixed: what moves with it is of second order. */
            const double *u = c.v + (j + 1) % 3 * d;
            const double want_slope = twin_slope(&c, v, u, constant[j]),
                         got = dot(d, grad + j * d, u);
            cbe_assert_close(&got, &want_slope, 1, 2e-5 * sqrt(dot(d, grad + j * d, grad + j * d)),
                             1e-5, "slope %zu", j);
        }
        double slope, same;
        cbe_assert_ok(
            cbe_objective_eval_constant(o, 1, c.v, constant, &same, &slope, NULL, NULL, &err),
            &err);
        assert_true(fabs(slope) < 1e-3);
        cbe_assert_close(&same, energy, 1, 1e-6, 1e-5, "the constant given");
        const double away[] = {constant[0] + 1};
        cbe_assert_ok(
            cbe_objective_eval_constant(o, 1, c.v, away, energy, &slope, NULL, NULL, &err), &err);
        const double want = (twin_energy(&c, c.v, away[0] + 1e-4, false, NULL) -
                             twin_energy(&c, c.v, away[0] - 1e-4, false, NULL)) /
                            2e-4;
        cbe_assert_close(&slope, &want, 1, 1e-6, 1e-4, "slope in the constant");
        free(grad);
        free(per_token);
        cbe_objective_free(o);
        free_case(&c);
    }
}

/* A sample is whole sequences; what is ablated stays that of all. */
static void sample__is_whole_sequences(void **state)
{
    (void)state;
    twin_case c;
    make_case(&c, "llama", 2, 1, CBE_ABLATE_MEAN, CBE_LOSS_KL, false);
    cbe_objective *o = make(&c.p, &c.options, 2);
    double energy, whole, all[B * S], part[B * S];
    cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &whole, NULL, all, &err), &err);
    cbe_objective_set_sample(o, 1);
    assert_int_equal(cbe_objective_n_tokens(o), S - 1);
    cbe_objective_set_sample(o, 2 * (S - 1) + 3);
    assert_int_equal(cbe_objective_n_tokens(o), 2 * (S - 1));
    cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &energy, NULL, part, &err), &err);
    for (size_t i = 0; i < S - 1; i++) {
        cbe_assert_close(&part[i], &all[i], 1, 1e-5, 1e-5, "first sequence");
        cbe_assert_close(&part[S - 1 + i], &all[2 * (S - 1) + i], 1, 1e-5, 1e-5, "third sequence");
    }
    cbe_objective_set_sample(o, 0);
    cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &energy, NULL, NULL, &err), &err);
    assert_true(energy == whole);
    cbe_objective_free(o);
    free_case(&c);
}

/* The states of the layer without what ablation takes out along n directions (n, d). */
static void remove_from_states(const twin_case *c, cbe_ablation ablation, size_t n, const double *v,
                               float *out)
{
    const size_t d = c->p.d, each = S - 1;
    double *mean = calloc(d, sizeof *mean);
    assert_non_null(mean);
    for (size_t t = 0; t < B * each; t++)
        for (size_t k = 0; k < d; k++)
            mean[k] += c->hidden[(t / each * S + 1 + t % each) * d + k] / (double)(B * each);
    for (size_t i = 0; i < B * S * d; i++) out[i] = (float)c->hidden[i];
    for (size_t t = 0; t < B * each; t++) {
        const double *h = c->hidden + (t / each * S + 1 + t % each) * d;
        const size_t other = (size_t)c->derangement[t];
        const double *less = ablation == CBE_ABLATE_MEAN ? mean
                             : ablation == CBE_ABLATE_RESAMPLE
                                 ? c->hidden + (other / each * S + 1 + other % each) * d
                                 : NULL;
        float *row = out + (t / each * S + 1 + t % each) * d;
        for (size_t j = 0; j < n; j++) {
            double along = 0;
            for (size_t k = 0; k < d; k++) along += (h[k] - (less ? less[k] : 0)) * v[j * d + k];
            for (size_t k = 0; k < d; k++) row[k] = (float)((double)row[k] - along * v[j * d + k]);
        }
    }
    free(mean);
}

/* Parts of a size have all sequences once, as far as they are whole. */
static void sample__has_parts_without_a_sequence_in_common(void **state)
{
    (void)state;
    twin_case c;
    make_case(&c, "llama", 2, 1, CBE_ABLATE_MEAN, CBE_LOSS_KL, false);
    cbe_objective *o = make(&c.p, &c.options, 2);
    double whole, sum = 0, energy, first;
    cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &whole, NULL, NULL, &err), &err);
    for (size_t n = 1; n < B; n++) {
        assert_int_equal(cbe_objective_n_parts(o, n * (S - 1)), B / n);
        cbe_objective_set_sample(o, n * (S - 1));
        cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &first, NULL, NULL, &err), &err);
        cbe_objective_set_part(o, n * (S - 1), 0);
        cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &energy, NULL, NULL, &err), &err);
        assert_true(energy == first);
        cbe_objective_set_part(o, n * (S - 1), B / n);
        cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &energy, NULL, NULL, &err), &err);
        assert_true(energy == first);
    }
    for (size_t part = 0; part < 2; part++) {
        cbe_objective_set_part(o, 2 * (S - 1), part);
        cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &energy, NULL, NULL, &err), &err);
        sum += energy / 2;
    }
    cbe_assert_close(&sum, &whole, 1, 1e-6, 1e-5, "mean of the parts");
    cbe_objective_free(o);
    free_case(&c);
}

/* Removing directions together is removing the last one from states without the others. Gradients
 * are compared with differences of energies. */
static void together__directions_are_removed_at_once(void **state)
{
    (void)state;
    for (int ablation = 0; ablation < CBE_N_ABLATIONS; ablation++) {
        const bool oblique = ablation == CBE_ABLATE_MEAN;
        twin_case c;
        make_case(&c, ablation % 2 ? "gemma2" : "llama", 1, 1, (cbe_ablation)ablation, CBE_LOSS_KL,
                  false);
        const size_t d = c.p.d;
        cbe_objective *o = make(&c.p, &c.options, 1);
        if (ablation == CBE_ABLATE_OPTIMAL) c.options.ablation = CBE_ABLATE_MEAN;
        cbe_objective *direct = make(&c.p, &c.options, 1);
        double *v = malloc(3 * d * sizeof *v), *grad = malloc(3 * d * sizeof *grad), energy, want,
               side[2];
        float *without = malloc(c.p.n * d * sizeof *without);
        assert_true(v && grad && without);
        memcpy(v, c.v, 3 * d * sizeof *v);
        for (size_t j = 0; j < 3; j++) { /* orthonormal */
            for (size_t i = 0; i < j; i++) {
                const double along = dot(d, v + i * d, v + j * d);
                for (size_t k = 0; k < d; k++) v[j * d + k] -= along * v[i * d + k];
            }
            const double length = sqrt(dot(d, v + j * d, v + j * d));
            for (size_t k = 0; k < d; k++) v[j * d + k] /= length;
        }
        cbe_assert_ok(cbe_objective_eval_together(o, 1, v, &energy, grad, &err), &err);
        cbe_assert_ok(cbe_objective_eval(direct, 1, v, &want, grad + d, NULL, &err), &err);
        cbe_assert_close(&energy, &want, 1, 1e-6, 1e-5, "one direction");
        cbe_assert_close(grad, grad + d, d, 1e-5 * top_of(d, grad), 1e-5, "its gradient");
        remove_from_states(&c, c.options.ablation, 2, v, without);
        cbe_assert_ok(cbe_model_objective_set_layer(direct, 1, without, NULL, &err), &err);
        cbe_assert_ok(cbe_objective_eval(direct, 1, v + 2 * d, &want, NULL, NULL, &err), &err);
        cbe_assert_ok(cbe_objective_eval_together(o, 3, v, &energy, NULL, &err), &err);
        cbe_assert_close(&energy, &want, 1, 1e-6, 1e-4, "ablation %d", ablation);
        if (oblique) {
            make_oblique(&c);
            cbe_assert_ok(cbe_model_objective_set_layer(o, 1, state_of(&c.p, 1), &c.metric, &err),
                          &err);
        }
        cbe_assert_ok(cbe_objective_eval_together(o, 3, v, &want, grad, &err), &err);
        const double top = top_of(3 * d, grad);
        for (size_t at = 0; at < 3 * d; at += 7) {
            const double step = 3e-3, before = v[at];
            for (int up = 0; up < 2; up++) {
                v[at] = before + (up ? step : -step);
                cbe_assert_ok(cbe_objective_eval_together(o, 3, v, &side[up], NULL, &err), &err);
            }
            v[at] = before;
            const double slope = (side[1] - side[0]) / (2 * step);
            cbe_assert_close(&grad[at], &slope, 1, 3e-3 * top, 1e-3, "slope %zu, ablation %d", at,
                             ablation);
        }
        free(without);
        free(grad);
        free(v);
        cbe_objective_free(direct);
        cbe_objective_free(o);
        free_case(&c);
    }
}

/* One part on a sample, three on all tokens: close to float32 in each way. */
static void precision__is_that_of_its_parts(void **state)
{
    (void)state;
    if (cbe_bf16_missing()) skip();
    static const char *const names[] = {"llama", "gemma2"};
    for (size_t i = 0; i < 2; i++) {
        twin_case c;
        make_case(&c, names[i], 1, 1, CBE_ABLATE_ZERO, CBE_LOSS_KL, false);
        double energy[3][2], *grad[3];
        for (int precision = 0; precision < CBE_N_PRECISIONS; precision++) {
            c.options.precision = (cbe_precision)precision;
            cbe_objective *o = make(&c.p, &c.options, 1);
            grad[precision] = malloc(2 * c.p.d * sizeof **grad);
            for (size_t n = 0; n < 2; n++) {
                cbe_objective_set_sample(o, n ? 0 : 2 * (S - 1));
                cbe_assert_ok(cbe_objective_eval(o, 1, c.v, &energy[precision][n],
                                                 grad[precision] + n * c.p.d, NULL, &err),
                              &err);
            }
            cbe_objective_free(o);
        }
        const double top = top_of(2 * c.p.d, grad[0]);
        cbe_assert_close(energy[CBE_PRECISION_BF16X3], energy[0], 2, 5e-6, 1e-4, "%s, three parts",
                         names[i]);
        cbe_assert_close(grad[CBE_PRECISION_BF16X3], grad[0], 2 * c.p.d, 1e-3 * top, 0,
                         "%s, three parts", names[i]);
        assert_true(energy[CBE_PRECISION_BF16][1] == energy[CBE_PRECISION_BF16X3][1]);
        assert_true(energy[CBE_PRECISION_BF16][0] != energy[CBE_PRECISION_BF16X3][0]);
        cbe_assert_close(energy[CBE_PRECISION_BF16], energy[0], 1, 1e-3, 0.02, "%s, one part",
                         names[i]);
        cbe_assert_close(grad[CBE_PRECISION_BF16], grad[0], c.p.d, 0.03 * top, 0, "%s, one part",
                         names[i]);
        for (int precision = 0; precision < CBE_N_PRECISIONS; precision++) free(grad[precision]);
        free_case(&c);
    }
}

/* Any number of threads has the same bits; other batches of sequences nearly so. */
static void objective__has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "gemma2"};
    for (size_t i = 0; i < 2; i++) {
        char *path = cbe_golden_path("models/%s", names[i]);
        problem p = open_problem(path, 24, 40, NULL);
        cbe_model_objective_options options = {
            .n_sequences = 24, .context_length = 40, .skip_positions = 1, .first_block = 1};
        double *v = malloc(2 * p.d * sizeof *v), *grad[3], energy[3][2];
        for (size_t k = 0; k < 2 * p.d; k++) v[k] = sin((double)(k * k));
        const int threads = omp_get_max_threads();
        for (int way = 0; way < 3; way++) {
            omp_set_num_threads(way == 1 ? 3 : 1);
            if (way == 2) { /* one sequence at a time, blocks run anew */
                cbe_model_objective_plan plan;
                options.memory = 1;
                assert_int_equal(cbe_model_objective_choose(&plan, p.model, &options, &err),
                                 CBE_ERR_ARG);
                assert_non_null(strstr(err.message, "sequences of 40 tokens"));
                assert_non_null(strstr(err.message, "give more memory"));
                assert_int_equal(plan.n_sequences, 1);
                options.memory = plan.bytes;
                cbe_assert_ok(cbe_model_objective_choose(&plan, p.model, &options, &err), &err);
                assert_true(plan.recompute && plan.n_sequences == 1 &&
                            plan.bytes == options.memory);
            }
            cbe_objective *o = make(&p, &options, 1);
            grad[way] = malloc(2 * p.d * sizeof *grad[way]);
            cbe_assert_ok(cbe_objective_eval(o, 2, v, energy[way], grad[way], NULL, &err), &err);
            cbe_objective_free(o);
        }
        omp_set_num_threads(threads);
        assert_memory_equal(energy[0], energy[1], sizeof energy[0]);
        assert_memory_equal(grad[0], grad[1], 2 * p.d * sizeof *v);
        cbe_assert_close(energy[2], energy[0], 2, 1e-6, 1e-5, "%s, energies", names[i]);
        cbe_assert_close(grad[2], grad[0], 2 * p.d, 1e-5 * top_of(2 * p.d, grad[0]), 0,
                         "%s, gradients", names[i]);
        for (int way = 0; way < 3; way++) free(grad[way]);
        free(v);
        close_problem(&p);
        free(path);
    }
}

static void expect_refusal(const problem *p, const cbe_model_objective_options *options,
                           const char *word)
{
    cbe_objective *o = NULL;
    assert_int_equal(
        cbe_model_objective_create(&o, p->model, options, state_of(p, p->n_layers), &err),
        CBE_ERR_ARG);
    assert_null(o);
    if (!strstr(err.message, word)) fail_msg("\"%s\", expected \"%s\"", err.message, word);
}

static void objective__refuses_what_it_cannot_do(void **state)
{
    (void)state;
    twin_case c;
    make_case(&c, "llama", 1, 1, CBE_ABLATE_RESAMPLE, CBE_LOSS_CE, true);
    cbe_model_objective_options o = c.options;
    o.labels = NULL;
    expect_refusal(&c.p, &o, "labels");
    o = c.options;
    o.derangement = NULL;
    expect_refusal(&c.p, &o, "derangement");
    o = c.options;
    o.skip_positions = S;
    expect_refusal(&c.p, &o, "no tokens");
    o = c.options;
    c.held_out[3] = true;
    expect_refusal(&c.p, &o, "held out in part");
    c.held_out[3] = false;
    c.derangement[2] = 2;
    expect_refusal(&c.p, &o, "derangement[2]");
    c.derangement[2] = 3;
    c.labels[0] = 1 << 20;
    expect_refusal(&c.p, &o, "label 1048576");
    c.labels[0] = 0;
    memset(c.held_out, true, sizeof c.held_out);
    expect_refusal(&c.p, &o, "held out");
    o.held_out = NULL;
    cbe_objective *objective = NULL;
    for (long countdown = 0;; countdown++) { /* memory that runs out at any point */
        cbe_memory_fail_after(countdown);
        const cbe_status st = cbe_model_objective_create(&objective, c.p.model, &o,
                                                         state_of(&c.p, c.p.n_layers), &err);
        cbe_memory_fail_after(-1);
        if (st == CBE_OK) break;
        assert_int_equal(st, CBE_ERR_NOMEM);
        assert_null(objective);
    }
    double energy;
    assert_int_equal(cbe_objective_eval(objective, 1, c.v, &energy, NULL, NULL, &err), CBE_ERR_ARG);
    cbe_objective_free(objective);
    free_case(&c);
}

int main(void)
{
    static char names[][24] = {CBE_TEST_FAMILIES};
    enum { N_NAMES = sizeof names / sizeof *names };
    static char titles[N_NAMES][96];
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(objective__matches_golden_of_smollm2),
        cmocka_unit_test(objective__matches_the_twin),
        cmocka_unit_test(objective__matches_the_twin_in_any_metric_and_scope),
        cmocka_unit_test(own_scope__does_not_remember_another_layer),
        cmocka_unit_test(optimal__finds_the_least_energy),
        cmocka_unit_test(sample__is_whole_sequences),
        cmocka_unit_test(sample__has_parts_without_a_sequence_in_common),
        cmocka_unit_test(together__directions_are_removed_at_once),
        cmocka_unit_test(precision__is_that_of_its_parts),
        cmocka_unit_test(objective__has_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(objective__refuses_what_it_cannot_do),
    };
    enum { N_OTHERS = sizeof others / sizeof *others };
    static struct CMUnitTest tests[N_NAMES + N_OTHERS];
    memcpy(tests + N_NAMES, others, sizeof others);
    for (size_t i = 0; i < N_NAMES; i++) {
        snprintf(titles[i], sizeof titles[i], "%.40s__matches_golden", names[i]);
        tests[i] = (struct CMUnitTest){titles[i], objective__matches_golden, NULL, NULL, names[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
