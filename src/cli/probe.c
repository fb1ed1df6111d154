/* probe.c - cbe probe: energies and gradients of given directions. */
#include <math.h>
#include <string.h>

#include "formats/safetensors.h"
#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/options.h"
#include "cli/outputs.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "core/memory.h"

typedef struct {
    cli_run run;
    const char *vectors;
} probe_options;

#define AT(field) offsetof(probe_options, field)
/* clang-format off */
static const cli_option options[] = {
    CLI_INPUT_OPTIONS(probe_options, "0"),
    {"vectors-file", 0, OPT_STRING, AT(vectors), NULL, "FILE", "directions: tensor v (d) or (m, d), safetensors", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

static const cli_command command = {
    "probe",
    "MODEL --text FILE... --vectors-file FILE -o FILE [options]\n"
    "       cbe probe --hidden-states FILE --decoder FILE --vectors-file FILE -o FILE [options]",
    "energies and gradients of given directions",
    "Writes, float64, for each layer: layers.<i>.energy (m), layers.<i>.energy_per_token (m, N; "
    "for ce the tokens\n"
    "that have a next one) and layers.<i>.grad (m, d), the gradient at v as a free vector. "
    "Directions are used as they\n"
    "are: unit norm is not assumed. With --ablation optimal also layers.<i>.constant (m). A table "
    "of the energies on standard output.",
    options,
    1,
    {AT(run.corpus.model)},
};

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

/* Tensors of a layer: energy, energy_per_token, grad, and with optimal ablation constant. */
static size_t tensors_each(const cli_inputs *in)
{
    return in->options.ablation == CBE_ABLATE_OPTIMAL ? 4 : 3;
}

/* Declares the tensors of each layer; those of layer i start at tensors_each i. */
static cbe_status declare(cbe_safetensors_writer **out, const char *path, const cli_inputs *in,
                          size_t m, size_t n_tokens, cbe_error *err)
{
    const size_t each = tensors_each(in), n = each * in->n_layers, d = in->decoder->hidden_size;
    const struct {
        const char *name;
        size_t n_dims, last;
    } parts[] = {
        {"energy", 1, 0}, {"energy_per_token", 2, n_tokens}, {"grad", 2, d}, {"constant", 1, 0}};
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
        char skip[24];
        snprintf(skip, sizeof skip, "%zu", in->options.skip_positions);
        const char *metadata[] = {"ablation",       cbe_ablation_name(in->options.ablation),
                                  "objective",      cbe_loss_name(in->options.objective),
                                  "site",           cbe_site_name(in->options.site),
                                  "skip_positions", skip};
        st = cbe_safetensors_writer_create(out, path, n, specs, 4, metadata, err);
    }
    cbe_free(specs);
    cbe_free(names);
    return st;
}

/* All directions at one layer, a batch at a time; tensor: the layer's first. constant NULL: not
 * wanted. */
static cbe_status probe_layer(cbe_objective *layer, size_t tensor, size_t m, const double *v,
                              cbe_safetensors_writer *writer, double *energy, double *constant,
                              double *grad, double *per_token, cbe_error *err)
{
    const size_t d = cbe_objective_hidden_size(layer), n = cbe_objective_n_tokens(layer);
    const size_t batch = cbe_objective_max_batch(layer);
    for (size_t first = 0; first < m; first += batch) {
        const size_t count = m - first < batch ? m - first : batch;
        const double *vs = v + first * d;
        cbe_status st =
            constant ? cbe_objective_eval_optimal(layer, count, vs, energy + first,
                                                  constant + first, grad, per_token, err)
                     : cbe_objective_eval(layer, count, vs, energy + first, grad, per_token, err);
        if (st == CBE_OK)
            st = cbe_safetensors_writer_put(writer, tensor + 1, first * n, count * n, per_token,
                                            err);
        if (st == CBE_OK)
            st = cbe_safetensors_writer_put(writer, tensor + 2, first * d, count * d, grad, err);
        if (st != CBE_OK) return st;
    }
    cbe_status st = cbe_safetensors_writer_put(writer, tensor, 0, m, energy, err);
    if (st == CBE_OK && constant)
        st = cbe_safetensors_writer_put(writer, tensor + 3, 0, m, constant, err);
    return st;
}

static void print_table(const cli_inputs *in, size_t m, const double *energies,
                        cli_progress *progress)
{
    size_t lost = 0;
    printf("layer  energies (nats)\n");
    for (size_t i = 0; i < in->n_layers; i++) {
        printf("%5zu ", in->layers[i]);
        for (size_t j = 0; j < m; j++) {
            const double energy = energies[i * m + j];
            lost += !isfinite(energy);
            if (isfinite(energy))
                printf(" %9.5g", energy);
            else
                printf(" %9s", "-");
        }
        printf("\n");
    }
    if (lost)
        cli_warn(progress,
                 "%zu of %zu energies are not finite, and NaN in the file: these directions are so "
                 "long that what is left "
                 "of the hidden states overflows float32; give shorter ones",
                 lost, m * in->n_layers);
}

int cli_probe(int argc, char **argv)
{
    probe_options given = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help;
    cli_team team = {.group_size = 1};
    cli_inputs in = {0};
    cbe_inputs read = {0};
    cli_progress progress;
    cli_outputs outputs = {0};
    cbe_layer_objective *objective = NULL;
    cbe_safetensors_writer *writer = NULL;
    double *v = NULL, *energies = NULL, *constants = NULL, *grad = NULL, *per_token = NULL;
    size_t m = 0, width = 0;

    given.run.site = CBE_N_SITES; /* not given */
    given.run.team = &team;
    given.run.corpus.inputs = &read;
    if ((st = cli_parse(&command, argc, argv, &given, &help, &err)) != CBE_OK) goto done;
    if (help) {
        cli_print_help(&command);
        return cli_finish_output();
    }
    cli_progress_init(&progress, given.run.corpus.quiet, given.run.corpus.verbose);
    if (!given.vectors) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1,
                      "--vectors-file FILE is missing: the directions to probe");
        goto done;
    }
    if (given.run.output) {
        cli_outputs_begin(&outputs);
        cli_outputs_read_run(&outputs, &given.run);
        cli_outputs_read(&outputs, "--vectors-file", given.vectors);
        if ((st = cli_outputs_write_file(&outputs, given.run.output, &err)) != CBE_OK) goto done;
    }
    if ((st = read_directions(given.vectors, &read, &v, &m, &width, &err)) != CBE_OK) goto done;
    if ((st = cli_inputs_open(&in, &given.run, &progress, &err)) != CBE_OK) goto done;
    const size_t d = in.decoder->hidden_size;
    if (width != d) {
        st = cbe_fail(&err, CBE_ERR_SHAPE, -1,
                      "%s: directions of tensor 'v' have %zu numbers, the hidden size is %zu",
                      given.vectors, width, d);
        goto done;
    }
    if ((st = cbe_layer_objective_create(&objective, in.states, in.decoder, &in.options, &err)) !=
        CBE_OK)
        goto done;
    if (cbe_layer_objective_derangement_unused(objective))
        cli_warn(&progress, "the derangement given is one of all tokens; with some left out one "
                            "from --seed is used");
    cli_say_storage(&progress, objective, &in);
    for (size_t i = 0; i < in.n_layers; i++) {
        cbe_objective *layer = NULL;
        cli_status_line(&progress, "layer %zu (%zu of %zu)", in.layers[i], i + 1, in.n_layers);
        if ((st = cbe_layer_objective_set(objective, in.layers[i], &layer, &err)) != CBE_OK)
            goto done;
        if (!writer) {
            const size_t n = cbe_objective_n_tokens(layer), batch = cbe_objective_max_batch(layer);
            if ((st = declare(&writer, given.run.output, &in, m, n, &err)) != CBE_OK) goto done;
            st = CBE_ERR_NOMEM;
            if (!(energies = cbe_alloc(in.n_layers * m, sizeof *energies, "energies", &err)) ||
                (tensors_each(&in) > 3 &&
                 !(constants = cbe_alloc(m, sizeof *constants, "constants", &err))) ||
                !(grad = cbe_alloc(batch * d, sizeof *grad, "gradients", &err)) ||
                !(per_token = cbe_alloc(batch * n, sizeof *per_token, "energies", &err)))
                goto done;
        }
        st = probe_layer(layer, i * tensors_each(&in), m, v, writer, energies + i * m, constants,
                         grad, per_token, &err);
        if (st != CBE_OK) goto done;
    }
    cli_progress_release(&progress);
    cli_status_clear(&progress);
    st = cbe_safetensors_writer_commit(writer, &err);
    writer = NULL;
    if (st != CBE_OK) goto done;
    cli_warn_of_changes(&progress, &read);
    print_table(&in, m, energies, &progress);
done:
    cbe_safetensors_writer_abandon(writer);
    cbe_free(v);
    cbe_free(energies);
    cbe_free(constants);
    cbe_free(grad);
    cbe_free(per_token);
    cbe_layer_objective_free(objective);
    cli_inputs_close(&in);
    cbe_inputs_free(&read);
    cli_outputs_end(&outputs);
    cli_free(&command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
