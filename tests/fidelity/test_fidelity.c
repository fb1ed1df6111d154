/* Both measures of a lens beside PyTorch's numbers in float64, what they come to where the lens is
 * the model, and which directions count. */
#include "fidelity/fidelity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"

enum { M = 4, SKIP = 1 };

static cbe_error err;

/* A model with the tokens of its file of truth, and all of its layers. */
typedef struct {
    const char *name;
    cbe_safetensors *golden;
    cbe_model *model;
    cbe_tokens tokens;
    cbe_hidden_states *states;
    size_t n_layers, d;
    double *v; /* (d) */
    cbe_layer_fidelity *layers;
} problem;

static problem open_problem(const char *name)
{
    problem p = {.name = name};
    char *model = cbe_golden_path("models/%s", name),
         *path = cbe_golden_path("truth/%s/golden.safetensors", name);
    p.golden = open_golden(path);
    p.model = open_model(model);
    p.n_layers = cbe_model_get_config(p.model)->n_layers;
    p.d = cbe_model_get_config(p.model)->hidden_size;
    p.v = cbe_golden_f64(p.golden, "v", p.d);
    p.tokens.ids =
        cbe_golden_ids(p.golden, "input_ids", &p.tokens.n_sequences, &p.tokens.context_length);
    bool *wanted = malloc((p.n_layers + 1) * sizeof *wanted);
    p.layers = calloc(p.n_layers, sizeof *p.layers);
    assert_true(wanted && p.layers);
    for (size_t i = 0; i <= p.n_layers; i++) wanted[i] = true;
    cbe_assert_ok(
        cbe_hidden_states_capture(&p.states, p.model, &p.tokens, wanted, NULL, NULL, &err), &err);
    for (size_t i = 0; i < p.n_layers; i++)
        p.layers[i] =
            (cbe_layer_fidelity){.layer = i, .state = i + 1, .n_vectors = 1, .vectors = p.v};
    free(wanted);
    free(model);
    free(path);
    return p;
}

static void close_problem(problem *p)
{
    for (size_t i = 0; i < p->n_layers; i++) cbe_layer_fidelity_free(&p->layers[i]);
    free(p->layers);
    cbe_hidden_states_close(p->states);
    cbe_model_close(p->model);
    cbe_safetensors_close(p->golden);
    free(p->tokens.ids);
    free(p->v);
}

static cbe_fidelity_options options_of(cbe_ablation ablation)
{
    cbe_fidelity_options options = {.n_directions = M, .rank = 8};
    cbe_extraction_options_init(&options.extraction);
    options.extraction.site = CBE_SITE_POST;
    options.extraction.ablation = ablation;
    options.extraction.skip_positions = SKIP;
    return options;
}

/* The mean and the error over sequences of n numbers. */
static cbe_estimate plain_estimate(size_t n_sequences, size_t n, const double *x)
{
    const size_t each = n / n_sequences;
    double sum = 0, squares = 0;
    for (size_t s = 0; s < n_sequences; s++) {
        double mean = 0;
        for (size_t i = 0; i < each; i++) mean += x[s * each + i];
        mean /= (double)each;
        sum += mean;
        squares += mean * mean;
    }
    const double b = (double)n_sequences, mean = sum / b;
    return (cbe_estimate){mean, sqrt((squares / b - mean * mean) / (b - 1))};
}

static void compare(const problem *p, size_t layer, const char *what, const cbe_estimate *got)
{
    const size_t n = p->tokens.n_sequences * (p->tokens.context_length - SKIP);
    char name[96];
    snprintf(name, sizeof name, "layers.%zu.%s", layer, what);
    double *per_token = cbe_golden_f64(p->golden, name, n);
    const cbe_estimate want = plain_estimate(p->tokens.n_sequences, n, per_token);
    cbe_assert_close(&got->mean, &want.mean, 1, 1e-6, 1e-4, "%s, %s", p->name, name);
    cbe_assert_close(&got->error, &want.error, 1, 1e-6, 1e-3, "%s, %s, error", p->name, name);
    free(per_token);
}

/* The file of a deep model leaves a layer out. */
static bool has_layer(const problem *p, size_t layer)
{
    char name[48];
    snprintf(name, sizeof name, "layers.%zu.kappa", layer);
    return cbe_safetensors_has(p->golden, name);
}

static void one_vector__matches_pytorch(void **state)
{
    problem p = open_problem(*state);
    const cbe_fidelity_options options = options_of(CBE_ABLATE_MEAN);
    cbe_assert_ok(cbe_fidelity_run(p.model, p.states, &options, p.n_layers, p.layers, &err), &err);
    for (size_t i = 0; i < p.n_layers; i++) {
        const cbe_layer_fidelity *layer = &p.layers[i];
        const cbe_direction *v = &layer->directions[0];
        assert_int_equal(layer->n_directions, 1 + 2 * M);
        assert_int_equal(layer->rank[CBE_KEEP_ALL], 1);
        if (!has_layer(&p, i)) continue;
        char name[48];
        snprintf(name, sizeof name, "layers.%zu.kappa", i);
        double *kappa = cbe_golden_f64(p.golden, name, 1);
        cbe_assert_close(&v->kappa, kappa, 1, 1e-6, 1e-4, "%s, %s", p.name, name);
        assert_int_equal(layer->rank[CBE_KEEP_BELOW], *kappa < CBE_FIDELITY_KAPPA);
        free(kappa);
        compare(&p, i, "euclidean.all.mean.energy_per_token", &v->model[CBE_SCOPE_ALL]);
        compare(&p, i, "euclidean.own.mean.energy_per_token", &v->model[CBE_SCOPE_OWN]);
        compare(&p, i, "alignment_per_token", &layer->alignment[CBE_KEEP_ALL][CBE_SCOPE_ALL]);
    }
    close_problem(&p);
}

/* In the covariance metric, of the vector S^(1/2) u, whose length does not matter; all that is
 * written has a Mahalanobis length of 1. */
static void one_oblique_vector__matches_pytorch(void **state)
{
    problem p = open_problem(*state);
    cbe_fidelity_options options = options_of(CBE_ABLATE_MEAN);
    const size_t n = cbe_hidden_states_n_tokens(p.states, SKIP);
    double *u = cbe_golden_f64(p.golden, "u", p.d), *w = malloc(p.n_layers * p.d * sizeof *w);
    float *rows = malloc(n * p.d * sizeof *rows);
    assert_true(w && rows);
    options.extraction.metric = CBE_METRIC_COVARIANCE;
    for (size_t i = 0; i < p.n_layers; i++) {
        cbe_covariance *covariance = NULL;
        const cbe_covariance_block block = {n, rows};
        cbe_assert_ok(cbe_hidden_states_read(p.states, i + 1, SKIP, rows, &err), &err);
        cbe_assert_ok(cbe_covariance_create(&covariance, p.d, 1, &block, NULL, &err), &err);
        cbe_covariance_root(covariance, CBE_COVARIANCE_RIDGE, u, w + i * p.d);
        for (size_t k = 0; k < p.d; k++) w[i * p.d + k] *= 3;
        p.layers[i].vectors = w + i * p.d;
        cbe_covariance_free(covariance);
    }
    cbe_assert_ok(cbe_fidelity_run(p.model, p.states, &options, p.n_layers, p.layers, &err), &err);
    for (size_t i = 0; i < p.n_layers; i++) {
        const cbe_layer_fidelity *layer = &p.layers[i];
        assert_int_equal(layer->rank[CBE_KEEP_BELOW], 1);
        for (size_t k = 0; k < layer->n_directions; k++) {
            const double kappa = layer->directions[k].kappa;
            if (!(kappa > 0 && kappa <= 1 + 1e-12)) fail_msg("layer %zu: kappa %g", i, kappa);
        }
        if (!has_layer(&p, i)) continue;
        const cbe_direction *v = &layer->directions[0];
        compare(&p, i, "covariance.all.mean.energy_per_token", &v->model[CBE_SCOPE_ALL]);
        compare(&p, i, "covariance.own.mean.energy_per_token", &v->model[CBE_SCOPE_OWN]);
    }
    free(u);
    free(w);
    free(rows);
    close_problem(&p);
}

/* At the last output the logit lens is the model, in both metrics. */
static void last_layer__agrees_with_the_model(void **state)
{
    problem p = open_problem(*state);
    for (int mode = 0; mode < CBE_N_METRICS * CBE_ABLATE_OPTIMAL; mode++) {
        cbe_layer_fidelity last = {
            .layer = p.n_layers - 1, .state = p.n_layers, .n_vectors = 1, .vectors = p.v};
        cbe_fidelity_options options = options_of((cbe_ablation)(mode % CBE_ABLATE_OPTIMAL));
        options.extraction.metric = (cbe_metric_kind)(mode / CBE_ABLATE_OPTIMAL);
        cbe_assert_ok(cbe_fidelity_run(p.model, p.states, &options, 1, &last, &err), &err);
        for (size_t i = 0; i < last.n_directions; i++)
            for (size_t s = 0; s < CBE_N_SCOPES; s++) {
                const cbe_direction *d = &last.directions[i];
                cbe_assert_close(&d->model[s].mean, &d->lens.mean, 1, 1e-6, 1e-4,
                                 "%s, direction %zu", p.name, i);
                cbe_assert_close(&d->model[s].error, &d->lens.error, 1, 1e-6, 1e-3,
                                 "%s, direction %zu, error", p.name, i);
            }
        const double one = 1, zero = 0;
        for (size_t s = 0; s < CBE_N_SCOPES; s++) {
            const cbe_estimate *alignment = &last.alignment[CBE_KEEP_ALL][s];
            cbe_assert_close(&alignment->mean, &one, 1, 1e-12, 0, "%s", p.name);
            cbe_assert_close(&alignment->error, &zero, 1, 1e-12, 0, "%s", p.name);
            assert_true(last.influence[CBE_KEEP_ALL][s][CBE_LIST_TOGETHER].spearman > 0.99);
        }
        cbe_layer_fidelity_free(&last);
    }
    close_problem(&p);
}

/* The lists, and the directions of low kappa, are compared by themselves. */
static void influence__is_of_the_directions_that_count(void **state)
{
    (void)state;
    problem p = open_problem("llama");
    double *v = malloc(3 * p.d * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < 3 * p.d; i++) v[i] = sin((double)(i * i)) + (i % p.d == i / p.d ? 9 : 0);
    cbe_fidelity_options options = options_of(CBE_ABLATE_RESAMPLE);
    cbe_layer_fidelity layer = {.layer = 0, .state = 1, .n_vectors = 3, .vectors = v};
    options.rank = 2;
    cbe_assert_ok(cbe_fidelity_run(p.model, p.states, &options, 1, &layer, &err), &err);
    assert_int_equal(layer.n_directions, 3 + 2 * M);
    assert_int_equal(layer.rank[CBE_KEEP_ALL], 2);
    for (size_t keep = 0; keep < CBE_N_KEEPS; keep++)
        for (size_t s = 0; s < CBE_N_SCOPES; s++)
            for (size_t list = 0; list < CBE_N_LISTS; list++) {
                double lens[3 + 2 * M], model[3 + 2 * M];
                size_t n = 0;
                for (size_t i = 0; i < layer.n_directions; i++) {
                    const cbe_direction *d = &layer.directions[i];
                    if ((list != CBE_LIST_TOGETHER && d->list != (cbe_direction_list)list) ||
                        (keep == CBE_KEEP_BELOW && d->kappa >= 10))
                        continue;
                    lens[n] = d->lens.mean;
                    model[n++] = d->model[s].mean;
                }
                cbe_influence want;
                cbe_assert_ok(cbe_influence_measure(&want, n, lens, model, &err), &err);
                assert_memory_equal(&layer.influence[keep][s][list], &want, sizeof want);
            }
    size_t below = 0;
    for (size_t i = 0; i < 2; i++) below += layer.directions[i].kappa < 10;
    assert_int_equal(layer.rank[CBE_KEEP_BELOW], below);
    cbe_layer_fidelity_free(&layer);
    free(v);
    close_problem(&p);
}

/* Steps come in order; whoever stops is obeyed at each of them. */
typedef struct {
    size_t stop, last, told;
} watcher;

static bool watch(void *context, size_t done, size_t total)
{
    watcher *w = context;
    assert_true(done == w->last + 1 && done <= total);
    w->last = done;
    return done != w->stop;
}

static bool tell(void *context, size_t place)
{
    watcher *w = context;
    assert_int_equal(place, w->told++);
    return true;
}

static void stopped__ends_at_once(void **state)
{
    (void)state;
    problem p = open_problem("llama");
    cbe_fidelity_options options = options_of(CBE_ABLATE_ZERO);
    options.n_directions = 1;
    options.progress = watch;
    options.tell = tell;
    for (size_t stop = 1; stop <= 1 + 5 * p.n_layers; stop += 4) {
        watcher w = {stop, 0, 0};
        options.context = &w;
        const cbe_status st =
            cbe_fidelity_run(p.model, p.states, &options, p.n_layers, p.layers, &err);
        assert_int_equal(st, stop > 5 * p.n_layers ? CBE_OK : CBE_ERR_CANCELLED);
        if (st != CBE_OK)
            assert_int_equal(w.last, stop);
        else
            assert_int_equal(w.told, p.n_layers);
        for (size_t i = 0; i < p.n_layers; i++) cbe_layer_fidelity_free(&p.layers[i]);
    }
    options = options_of(CBE_ABLATE_OPTIMAL);
    assert_int_equal(cbe_fidelity_run(p.model, p.states, &options, p.n_layers, p.layers, &err),
                     CBE_ERR_UNSUPPORTED);
    options = options_of(CBE_ABLATE_MEAN);
    options.extraction.memory = 1000;
    assert_int_equal(cbe_fidelity_run(p.model, p.states, &options, p.n_layers, p.layers, &err),
                     CBE_ERR_ARG);
    close_problem(&p);
}

int main(void)
{
    static const char *const truth[] = {"bloom", "gemma2", "gpt2", "gpt_neox", "llama", "olmo2"};
    enum { N = sizeof truth / sizeof *truth };
    struct CMUnitTest tests[3 * N + 2] = {
        cmocka_unit_test(influence__is_of_the_directions_that_count),
        cmocka_unit_test(stopped__ends_at_once),
    };
    for (size_t i = 0; i < N; i++) {
        void *name = (void *)(uintptr_t)truth[i];
        tests[2 + 3 * i] =
            (struct CMUnitTest){truth[i], one_vector__matches_pytorch, NULL, NULL, name};
        tests[3 + 3 * i] =
            (struct CMUnitTest){truth[i], one_oblique_vector__matches_pytorch, NULL, NULL, name};
        tests[4 + 3 * i] =
            (struct CMUnitTest){truth[i], last_layer__agrees_with_the_model, NULL, NULL, name};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
