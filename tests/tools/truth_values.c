/*
 * truth_values.c - what the library computes and no command prints for given labels or tokens, for
 * check_truth.py.
 *
 * truth_values MODEL INPUT OUTPUT SKIP
 *   INPUT   input_ids (B, S), labels (R, B, S, -1: none), span (k, d), and for each layer i (the
 *           output of block i) layers.<i>.read and .write (m, d)
 *   OUTPUT  for each layer i layers.<i>.e2 (m): second-order energies of mean ablation; .M (d, d):
 *           the mean of g g'; .alignment_all and .alignment_own (N): similarity of each token where
 *           mean ablation removes the span, by the logit lens; .ceiling_model, .ceiling_logit (1):
 *           the cost of predicting one distribution for all tokens, in the model and by that lens
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbe/cbe.h"
#include "core/memory.h"
#include "fidelity/alignment.h"
#include "fisher/moments.h"
#include "fisher/second_order.h"
#include "formats/safetensors.h"
#include "model/hidden_states.h"
#include "text/tokens.h"

enum { NAME = 48, PER_LAYER = 6 };

static cbe_error err;

static void must(cbe_status st)
{
    if (st == CBE_OK) return;
    fprintf(stderr, "truth_values: %s\n", err.message);
    exit(1);
}

static void *room(size_t n, size_t size)
{
    void *out = cbe_alloc_zero(n, size, "values", &err);
    if (!out) must(CBE_ERR_NOMEM);
    return out;
}

static cbe_tensor get(const cbe_safetensors *file, cbe_dtype dtype, const char *name)
{
    cbe_tensor t;
    must(cbe_safetensors_get(file, name, &t, &err));
    if (t.dtype == dtype) return t;
    fprintf(stderr, "truth_values: %s has another type\n", name);
    exit(1);
}

/* Of all layers, by their states 1 to L. */
typedef struct {
    size_t d, m, n_layers, n_tokens, skip;
    cbe_moments *moments;
    cbe_moments_room *room;
    cbe_second_order *sums;
} gathered;

static cbe_status take(void *context, const cbe_sampled_gradients *g, cbe_error *error)
{
    (void)error;
    gathered *all = context;
    cbe_second_order_add(&all->sums[g->state - 1], g);
    cbe_moments_add(&all->moments[g->state - 1], all->room, g->n_sequences, all->skip, g->grad);
    return CBE_OK;
}

static double *mean_of(const cbe_hidden_states *states, size_t state, size_t n, size_t d,
                       size_t skip)
{
    float *rows = room(n * d, sizeof *rows);
    double *mean = room(d, sizeof *mean);
    must(cbe_hidden_states_read(states, state, skip, rows, &err));
    for (size_t i = 0; i < n * d; i++) mean[i % d] += (double)rows[i] / (double)n;
    cbe_free(rows);
    return mean;
}

static void name_value(char name[NAME], size_t layer, const char *what)
{
    snprintf(name, NAME, "layers.%zu.%s", layer, what);
}

/* Similarities of all layers, (L, N). */
static double *align(const cbe_model *model, const cbe_hidden_states *states, const gathered *all,
                     cbe_scope scope, size_t k, const double *span)
{
    const cbe_alignment_options options = {
        .ablation = CBE_ABLATE_MEAN, .scope = scope, .skip_positions = all->skip, .max_rank = k};
    cbe_alignment *alignment;
    cbe_subspace *subspace;
    double *out = room(all->n_layers * all->n_tokens, sizeof *out);
    must(cbe_alignment_create(&alignment, model, states, &options, &err));
    must(cbe_subspace_create(&subspace, k, all->d, span, &err));
    for (size_t i = 0; i < all->n_layers; i++)
        must(cbe_alignment_measure(alignment, i + 1, subspace, out + i * all->n_tokens, &err));
    cbe_subspace_free(subspace);
    cbe_alignment_free(alignment);
    return out;
}

/* Ceilings of all layers, (L), as a run of probe has them. */
static double *ceilings(char **argv, const gathered *all, const char *lens, const double *direction)
{
    const char *const options[][2] = {{"model", argv[1]}, {"tokens", argv[2]},
                                      {"lens", lens},     {"skip-positions", argv[4]},
                                      {"site", "post"},   {"precision", "float32"}};
    cbe_run *run;
    double *out = room(all->n_layers, sizeof *out);
    const double *value;
    must(cbe_run_create(&run, "probe", &err));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        must(cbe_run_set(run, options[i][0], options[i][1], &err));
    must(cbe_run_set_vectors(run, 1, all->d, direction, &err));
    must(cbe_run_execute(run, &err));
    for (size_t i = 0; i < all->n_layers; i++)
        if (cbe_run_values(run, i, "ceiling", &value)) out[i] = *value;
    cbe_run_free(run);
    return out;
}

static void save(const char *path, const gathered *all, double *const values[2],
                 double *const ceiling[2])
{
    const size_t d = all->d, n = all->n_layers * PER_LAYER;
    cbe_tensor_spec *specs = room(n, sizeof *specs);
    char(*names)[NAME] = room(n, NAME);
    double *square = room(d * d, sizeof *square), *e2 = room(all->m, sizeof *e2);
    static const char *const what[PER_LAYER] = {
        "e2", "M", "alignment_all", "alignment_own", "ceiling_model", "ceiling_logit"};
    for (size_t i = 0; i < n; i++) {
        const size_t kind = i % PER_LAYER;
        name_value(names[i], i / PER_LAYER, what[kind]);
        specs[i] = (cbe_tensor_spec){names[i],
                                     CBE_F64,
                                     kind == 1 ? 2 : 1,
                                     {kind == 0   ? all->m
                                      : kind == 1 ? d
                                      : kind < 4  ? all->n_tokens
                                                  : 1,
                                      d}};
    }
    cbe_safetensors_writer *writer;
    must(cbe_safetensors_writer_create(&writer, path, n, specs, 0, NULL, &err));
    for (size_t i = 0; i < all->n_layers; i++) {
        cbe_second_order_energies(&all->sums[i], e2, NULL);
        cbe_moments_mean(&all->moments[i], square, NULL);
        must(cbe_safetensors_writer_put(writer, PER_LAYER * i, 0, all->m, e2, &err));
        must(cbe_safetensors_writer_put(writer, PER_LAYER * i + 1, 0, d * d, square, &err));
        for (size_t s = 0; s < 2; s++) {
            must(cbe_safetensors_writer_put(writer, PER_LAYER * i + 2 + s, 0, all->n_tokens,
                                            values[s] + i * all->n_tokens, &err));
            must(cbe_safetensors_writer_put(writer, PER_LAYER * i + 4 + s, 0, 1, &ceiling[s][i],
                                            &err));
        }
    }
    must(cbe_safetensors_writer_commit(writer, &err));
    cbe_free(specs);
    cbe_free(names);
    cbe_free(square);
    cbe_free(e2);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: truth_values MODEL INPUT OUTPUT SKIP\n");
        return 2;
    }
    cbe_model *model;
    cbe_safetensors *input;
    cbe_hidden_states *states;
    cbe_tokens tokens = {0};
    must(cbe_model_open(&model, argv[1], &err));
    must(cbe_safetensors_open(&input, argv[2], &err));
    must(cbe_tokens_load(&tokens, argv[2], NULL, &err));
    const cbe_model_config *config = cbe_model_get_config(model);
    const cbe_tensor labels = get(input, CBE_I64, "labels"), span = get(input, CBE_F64, "span");
    const size_t count = tokens.n_sequences * tokens.context_length;
    gathered all = {
        .d = config->hidden_size, .n_layers = config->n_layers, .skip = strtoul(argv[4], NULL, 10)};
    all.n_tokens = count - tokens.n_sequences * all.skip;
    bool *wanted = room(all.n_layers + 1, sizeof *wanted);
    double **means = room(all.n_layers, sizeof *means);
    all.moments = room(all.n_layers, sizeof *all.moments);
    all.sums = room(all.n_layers, sizeof *all.sums);
    for (size_t i = 1; i <= all.n_layers; i++) wanted[i] = true;
    must(cbe_hidden_states_capture(&states, model, &tokens, wanted, NULL, NULL, &err));
    must(cbe_moments_room_create(&all.room, all.d, tokens.context_length, &err));
    for (size_t i = 0; i < all.n_layers; i++) {
        char name[NAME];
        name_value(name, i, "read");
        const cbe_tensor read = get(input, CBE_F64, name);
        name_value(name, i, "write");
        const cbe_tensor write = get(input, CBE_F64, name);
        all.m = read.n_elements / all.d;
        means[i] = mean_of(states, i + 1, all.n_tokens, all.d, all.skip);
        all.sums[i] = (cbe_second_order){.hidden_size = all.d,
                                         .m = all.m,
                                         .context_length = tokens.context_length,
                                         .skip_positions = all.skip,
                                         .all_sequences = tokens.n_sequences,
                                         .n_draws = labels.n_elements / count,
                                         .read = read.data,
                                         .write = write.data,
                                         .replacement = {.mean = means[i]}};
        must(cbe_second_order_init(&all.sums[i], &err));
        must(cbe_moments_init(&all.moments[i], all.d, &err));
    }
    const cbe_sampled_gradients_options options = {.n_sequences = tokens.n_sequences,
                                                   .context_length = tokens.context_length,
                                                   .ids = tokens.ids,
                                                   .all_sequences = tokens.n_sequences,
                                                   .skip_positions = all.skip,
                                                   .states = wanted,
                                                   .n_draws = labels.n_elements / count,
                                                   .labels = labels.data};
    must(cbe_sampled_gradients_run(model, &options, take, &all, &err));
    for (size_t i = 0; i < all.n_layers; i++) cbe_second_order_complete(&all.sums[i], NULL);
    const size_t k = span.n_elements / all.d;
    double *values[2] = {align(model, states, &all, CBE_SCOPE_ALL, k, span.data),
                         align(model, states, &all, CBE_SCOPE_OWN, k, span.data)};
    double *ceiling[2] = {ceilings(argv, &all, "model", span.data),
                          ceilings(argv, &all, "logit", span.data)};
    save(argv[3], &all, values, ceiling);
    for (size_t i = 0; i < all.n_layers; i++) {
        cbe_second_order_free(&all.sums[i]);
        cbe_moments_free(&all.moments[i]);
        cbe_free(means[i]);
    }
    void *owned[] = {wanted,    means,     all.moments, all.sums,
                     values[0], values[1], ceiling[0],  ceiling[1]};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    cbe_moments_room_free(all.room);
    cbe_hidden_states_close(states);
    cbe_tokens_free(&tokens);
    cbe_safetensors_close(input);
    cbe_model_close(model);
    return 0;
}
