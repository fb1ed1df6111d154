/* probe.c - a run of probe: energies and gradients of given directions. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "extract/survey.h"
#include "formats/safetensors.h"
#include "run/metric_options.h"
#include "run/run.h"

#define AT(field) offsetof(cbe_run_settings, field)
/* clang-format off */
const cbe_option cbe_probe_options[] = {
    CBE_INPUT_OPTIONS("0"),
    CBE_METRIC_OPTION,
    CBE_STRENGTH_OPTION,
    {"vectors-file", 0, OPT_STRING, AT(vectors_file), NULL, "FILE", "directions: tensor v (d) or (m, d), safetensors", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

/* Tensor v: (m, d), or (d) for one of them. */
static cbe_status read_directions(const char *path, cbe_inputs *inputs, double **out, size_t *m,
                                  size_t *width, cbe_error *err)
{
    cbe_safetensors *file = NULL;
    cbe_tensor t;
    double *v = NULL;
    float *single = NULL;
    cbe_status st = cbe_safetensors_open(&file, path, err);
    if (st != CBE_OK) return st;
    if ((st = cbe_safetensors_note(file, inputs, CBE_INPUT_VECTORS, err)) != CBE_OK) goto done;
    if ((st = cbe_safetensors_get(file, "v", &t, err)) != CBE_OK) goto done;
    if (t.n_dims < 1 || t.n_dims > 2 || t.n_elements == 0 || t.dtype == CBE_I64) {
        st = cbe_fail(
            err, CBE_ERR_SHAPE, -1,
            "%s: tensor 'v' must be floating point, (d) or (m, d), where d is the hidden size",
            path);
        goto done;
    }
    const size_t d = t.dims[t.n_dims - 1];
    st = CBE_ERR_NOMEM;
    if (!(v = cbe_alloc(t.n_elements, sizeof *v, "directions", err))) goto done;
    if (t.dtype == CBE_F64) {
        memcpy(v, t.data, t.n_bytes);
    } else {
        if (!(single = cbe_alloc(t.n_elements, sizeof *single, "directions", err))) goto done;
        if ((st = cbe_tensor_to_float(&t, 0, t.n_elements, single, err)) != CBE_OK) goto done;
        for (size_t i = 0; i < t.n_elements; i++) v[i] = (double)single[i];
    }
    st = CBE_OK;
    for (size_t i = 0; i < t.n_elements && st == CBE_OK; i++)
        if (!isfinite(v[i]))
            st = cbe_fail(err, CBE_ERR_NUMERIC, -1,
                          "%s: direction %zu of tensor 'v' has NaN or infinity in it", path, i / d);
    if (st != CBE_OK) goto done;
    *out = v;
    *m = t.n_elements / d;
    *width = d;
    v = NULL;
done:
    cbe_free(v);
    cbe_free(single);
    cbe_safetensors_close(file);
    return st;
}

/* Tensors of a layer: energy, energy_per_token and grad; kappa in the Euclidean metric, and with
 * optimal ablation constant, which come in this order. */
enum { ENERGY, PER_TOKEN, GRAD, SOMETIMES };

static bool has_kappa(const cbe_run_inputs *in)
{
    return in->options.metric == CBE_METRIC_EUCLIDEAN;
}

static bool has_constant(const cbe_run_inputs *in)
{
    return in->options.ablation == CBE_ABLATE_OPTIMAL;
}

static size_t tensors_each(const cbe_run_inputs *in)
{
    return SOMETIMES + (size_t)has_kappa(in) + (size_t)has_constant(in);
}

/* Declares the tensors of each layer; those of layer i start at tensors_each i. */
static cbe_status declare(cbe_safetensors_writer **out, const char *path, const cbe_run_inputs *in,
                          size_t m, size_t n_tokens, cbe_error *err)
{
    const size_t each = tensors_each(in), n = each * in->n_layers, d = in->decoder->hidden_size;
    const struct {
        const char *name;
        size_t n_dims, last;
    } parts[] = {{"energy", 1, 0},
                 {"energy_per_token", 2, n_tokens},
                 {"grad", 2, d},
                 {has_kappa(in) ? "kappa" : "constant", 1, 0},
                 {"constant", 1, 0}};
    cbe_status st = CBE_ERR_NOMEM;
    cbe_tensor_spec *specs = cbe_alloc(n, sizeof *specs, "result", err);
    char(*names)[64] = cbe_alloc(n, sizeof *names, "result", err);
    if (specs && names) {
        for (size_t i = 0; i < n; i++) {
            snprintf(names[i], sizeof names[i], "layers.%zu.%s", in->layers[i / each],
                     parts[i % each].name);
            specs[i] = (cbe_tensor_spec){
                names[i], CBE_F64, parts[i % each].n_dims, {m, parts[i % each].last}};
        }
        const cbe_extraction_options *o = &in->options;
        char skip[24], metric[48], strength[32];
        snprintf(skip, sizeof skip, "%zu", o->skip_positions);
        snprintf(strength, sizeof strength, "%.17g", o->strength);
        if (o->metric == CBE_METRIC_COVARIANCE)
            snprintf(metric, sizeof metric, "covariance=%.17g", o->ridge);
        else
            snprintf(metric, sizeof metric, "euclidean");
        const char *metadata[] = {"ablation",       cbe_ablation_name(o->ablation),
                                  "objective",      cbe_loss_name(o->objective),
                                  "site",           cbe_site_name(o->site),
                                  "skip_positions", skip,
                                  "scope",          cbe_scope_name(o->scope),
                                  "metric",         metric,
                                  "strength",       strength};
        st = cbe_safetensors_writer_create(out, path, n, specs,
                                           sizeof metadata / sizeof *metadata / 2, metadata, err);
    }
    cbe_free(specs);
    cbe_free(names);
    return st;
}

/* What one batch of directions at one layer gives: arrays of the batch, which go to a file, or
 * where they stay. */
typedef struct {
    cbe_safetensors_writer *writer; /* NULL: they stay */
    size_t batch;
    double *grad, *per_token; /* (batch, d), (batch, N) with a writer; else of all layers */
} target;

/* All directions at one layer, a batch at a time. */
static cbe_status probe_layer(cbe_run *run, const cbe_layer_objective *objective,
                              cbe_objective *layer, size_t place, const target *to, cbe_error *err)
{
    cbe_probe_results *r = &run->results.probe;
    const size_t d = r->hidden_size, n = r->n_tokens, m = r->n_vectors,
                 tensor = place * tensors_each(&run->in);
    double *energy = r->energies + place * m,
           *constant = r->constants ? r->constants + place * m : NULL,
           *kappa = r->kappas ? r->kappas + place * m : NULL;
    for (size_t first = 0; first < m; first += to->batch) {
        const size_t count = m - first < to->batch ? m - first : to->batch,
                     at = to->writer ? 0 : place * m + first;
        const double *v = r->vectors + first * d;
        double *grad = to->grad + at * d, *per_token = to->per_token + at * n;
        cbe_status st =
            constant ? cbe_objective_eval_optimal(layer, count, v, energy + first, constant + first,
                                                  grad, per_token, err)
                     : cbe_objective_eval(layer, count, v, energy + first, grad, per_token, err);
        for (size_t j = 0; j < count && st == CBE_OK; j++)
            r->errors[place * m + first + j] =
                cbe_layer_objective_error(objective, false, per_token + j * n);
        if (st == CBE_OK && to->writer)
            st = cbe_safetensors_writer_put(to->writer, tensor + PER_TOKEN, first * n, count * n,
                                            per_token, err);
        if (st == CBE_OK && to->writer)
            st = cbe_safetensors_writer_put(to->writer, tensor + GRAD, first * d, count * d, grad,
                                            err);
        if (st != CBE_OK) return st;
    }
    if (!to->writer) return CBE_OK;
    cbe_status st = cbe_safetensors_writer_put(to->writer, tensor + ENERGY, 0, m, energy, err);
    if (st == CBE_OK && kappa)
        st = cbe_safetensors_writer_put(to->writer, tensor + SOMETIMES, 0, m, kappa, err);
    if (st == CBE_OK && constant)
        st = cbe_safetensors_writer_put(to->writer, tensor + SOMETIMES + (kappa != NULL), 0, m,
                                        constant, err);
    return st;
}

/* Room for results, and the file where there is one. */
static cbe_status open_target(cbe_run *run, cbe_objective *layer, target *to, cbe_error *err)
{
    cbe_probe_results *r = &run->results.probe;
    const char *output = run->settings.output;
    const size_t m = r->n_vectors, n_layers = run->in.n_layers, d = r->hidden_size;
    const size_t n = r->n_tokens = cbe_objective_n_tokens(layer);
    to->batch = cbe_objective_max_batch(layer);
    if (output) {
        const cbe_status st = declare(&to->writer, output, &run->in, m, n, err);
        if (st != CBE_OK) return st;
    }
    const size_t rows = output ? to->batch : cbe_times(n_layers, m, 1);
    if (!(r->energies = cbe_alloc(n_layers * m, sizeof(double), "energies", err)) ||
        (has_kappa(&run->in) &&
         !(r->kappas = cbe_alloc(n_layers * m, sizeof(double), "kappas", err))) ||
        (has_constant(&run->in) &&
         !(r->constants = cbe_alloc(n_layers * m, sizeof(double), "constants", err))) ||
        !(r->errors = cbe_alloc(n_layers * m, sizeof(double), "energies", err)) ||
        !(r->ceilings = cbe_alloc(n_layers, sizeof(double), "energies", err)) ||
        !(to->grad = cbe_alloc(rows, cbe_times(d, sizeof(double), 1), "gradients", err)) ||
        !(to->per_token = cbe_alloc(rows, cbe_times(n, sizeof(double), 1), "energies", err)))
        return CBE_ERR_NOMEM;
    return CBE_OK;
}

/* What does not depend on energies: kappa of each direction, and the layer's ceiling. */
static cbe_status survey_layer(cbe_run *run, cbe_layer_objective *objective, size_t place,
                               cbe_error *err)
{
    cbe_probe_results *r = &run->results.probe;
    cbe_survey survey = {0};
    const cbe_status st = cbe_survey_make(&survey, objective, run->in.decoder, err);
    for (size_t j = 0; j < r->n_vectors && r->kappas && st == CBE_OK; j++)
        r->kappas[place * r->n_vectors + j] = cbe_covariance_kappa(
            survey.covariance, CBE_COVARIANCE_RIDGE, r->vectors + j * r->hidden_size);
    r->ceilings[place] = survey.ceiling;
    return st;
}

static cbe_status run_layers(cbe_run *run, cbe_layer_objective *objective, cbe_error *err)
{
    const cbe_run_inputs *in = &run->in;
    cbe_probe_results *r = &run->results.probe;
    target to = {0};
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < in->n_layers && st == CBE_OK; i++) {
        cbe_objective *layer = NULL;
        if (!cbe_stage(&run->watch, "layer %zu (%zu of %zu)", in->layers[i], i + 1, in->n_layers))
            st = cbe_run_cancelled(err);
        if (st == CBE_OK) st = cbe_layer_objective_set(objective, in->layers[i], &layer, err);
        if (st == CBE_OK && i == 0) st = open_target(run, layer, &to, err);
        if (st == CBE_OK) st = survey_layer(run, objective, i, err);
        if (st == CBE_OK) st = probe_layer(run, objective, layer, i, &to, err);
        if (st == CBE_OK) st = cbe_tell_layer(run, i, err);
    }
    if (st == CBE_OK) cbe_tell(&run->watch, CBE_EVENT_SAVING, "", 0, 0);
    if (st == CBE_OK && to.writer) {
        st = cbe_safetensors_writer_commit(to.writer, err);
        to.writer = NULL;
    }
    cbe_safetensors_writer_abandon(to.writer);
    if (run->settings.output) {
        cbe_free(to.grad);
        cbe_free(to.per_token);
    } else {
        r->gradients = to.grad;
        r->per_token = to.per_token;
    }
    return st;
}

static cbe_status declare_outputs(cbe_run *run, const char *path, cbe_error *err)
{
    cbe_outputs_begin(&run->outputs);
    cbe_outputs_read_run(&run->outputs, &run->settings);
    cbe_outputs_read(&run->outputs, CBE_OPTION("vectors-file"), run->settings.vectors_file);
    return cbe_outputs_write_file(&run->outputs, path, err);
}

static cbe_status execute(cbe_run *run, cbe_error *err)
{
    cbe_run_settings *s = &run->settings;
    cbe_probe_results *r = &run->results.probe;
    cbe_run_inputs *in = &run->in;
    cbe_layer_objective *objective = NULL;
    cbe_status st;
    if (!s->vectors_file && !r->vectors)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("vectors-file") " FILE is missing: the directions to probe");
    if (s->vectors_file && r->vectors)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("vectors-file") ": is set, and vectors are given from memory "
                                                   "too; leave out one of the two");
    if (s->output && (st = declare_outputs(run, s->output, err)) != CBE_OK) return st;
    if (s->vectors_file && (st = read_directions(s->vectors_file, &run->read, &r->vectors,
                                                 &r->n_vectors, &r->hidden_size, err)) != CBE_OK)
        return st;
    if ((st = cbe_run_inputs_open(in, s, &run->watch, err)) != CBE_OK) return st;
    if (r->hidden_size != in->decoder->hidden_size)
        return cbe_fail(err, CBE_ERR_SHAPE, -1, "%s: %s have %zu numbers, the hidden size is %zu",
                        s->vectors_file ? s->vectors_file : "cbe_run_set_vectors",
                        s->vectors_file ? "directions of tensor 'v'" : "vectors", r->hidden_size,
                        in->decoder->hidden_size);
    in->options.covariance = has_kappa(in);
    st = cbe_layer_objective_create(&objective, in->states, in->decoder, &in->options, err);
    if (st != CBE_OK) return st;
    if (cbe_layer_objective_derangement_unused(objective)) cbe_warn_of_derangement(run);
    cbe_note_storage(&run->watch, objective, in);
    st = run_layers(run, objective, err);
    cbe_layer_objective_free(objective);
    if (st == CBE_OK) cbe_warn_of_changes(&run->watch, &run->read);
    return st;
}

static cbe_status save(cbe_run *run, const char *path, cbe_error *err)
{
    const cbe_probe_results *r = &run->results.probe;
    const size_t each = tensors_each(&run->in), m = r->n_vectors, d = r->hidden_size,
                 n = r->n_tokens;
    cbe_safetensors_writer *writer = NULL;
    cbe_outputs_end(&run->outputs);
    cbe_status st = declare_outputs(run, path, err);
    if (st == CBE_OK) st = declare(&writer, path, &run->in, m, n, err);
    for (size_t i = 0; i < run->in.n_layers && st == CBE_OK; i++) {
        const struct {
            const double *numbers;
            size_t n;
        } tensors[] = {{r->energies + i * m, m},
                       {r->per_token + i * m * n, m * n},
                       {r->gradients + i * m * d, m * d},
                       {r->kappas      ? r->kappas + i * m
                        : r->constants ? r->constants + i * m
                                       : NULL,
                        m},
                       {r->constants ? r->constants + i * m : NULL, m}};
        for (size_t t = 0; t < each && st == CBE_OK; t++)
            st = cbe_safetensors_writer_put(writer, i * each + t, 0, tensors[t].n,
                                            tensors[t].numbers, err);
    }
    if (st == CBE_OK) {
        st = cbe_safetensors_writer_commit(writer, err);
        writer = NULL;
    }
    cbe_safetensors_writer_abandon(writer);
    cbe_outputs_end(&run->outputs);
    return st;
}

static size_t vectors(const cbe_run *run, size_t place, const double **out)
{
    (void)place;
    *out = run->results.probe.vectors;
    return run->results.probe.n_vectors;
}

static size_t values(cbe_run *run, size_t place, const char *name, const double **out)
{
    const cbe_probe_results *r = &run->results.probe;
    const size_t m = r->n_vectors;
    const struct {
        const char *name;
        const double *of_all;
        size_t each;
    } lists[] = {{"energy", r->energies, m},
                 {"constant", r->constants, m},
                 {"standard_error", r->errors, m},
                 {"kappa", r->kappas, m},
                 {"ceiling", r->ceilings, 1},
                 {"gradient", r->gradients, m * r->hidden_size},
                 {"energy_per_token", r->per_token, m * r->n_tokens}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (strcmp(name, lists[i].name) == 0 && lists[i].of_all) {
            *out = lists[i].of_all + place * lists[i].each;
            return lists[i].each;
        }
    return 0;
}

static void release(cbe_run *run)
{
    cbe_probe_results *r = &run->results.probe;
    cbe_free(r->vectors);
    cbe_free(r->energies);
    cbe_free(r->constants);
    cbe_free(r->errors);
    cbe_free(r->kappas);
    cbe_free(r->ceilings);
    cbe_free(r->gradients);
    cbe_free(r->per_token);
}

const cbe_run_command cbe_command_probe = {"probe", cbe_probe_options, false,  NULL,   execute,
                                           save,    vectors,           values, release};
