/* ablate.c - cbe ablate: what taking the vectors of a basis out together does to the model's
 * output. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>

#include "ablate/ablation.h"
#include "extract/basis_file.h"
#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/options.h"
#include "cli/outputs.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

enum {
    DEFAULT_RANK = 8,
    KL_WIDTH = 13,
    CE_WIDTH = 11,
    TOP1_WIDTH = 9,
    COLUMNS = KL_WIDTH + CE_WIDTH + TOP1_WIDTH /* of a span in the table */
};

typedef struct {
    cli_run run;
    const char *basis;
    size_t rank; /* 0: not given */
} ablate_options;

#define AT(field) offsetof(ablate_options, field)
/* clang-format off */
static const cli_option options[] = {
    {"basis", 'b', OPT_STRING, AT(basis), NULL, "FOLDER|FILE", "a result of cbe extract, or a file with layers.<i>.basis", NULL, 0},
    CLI_TEXT_OPTIONS(ablate_options, run.corpus, ""),
    {"output", 'o', OPT_STRING, AT(run.output), NULL, "FOLDER", "where ablate.json, ablate.csv and ablate-<i>.svg go; not given: the table alone", NULL, 0},
    {"layers", 'l', OPT_LAYERS, AT(run.layers), "all", "LIST", "layers, as in 0-29,31, or all that the basis has", NULL, 0},
    {"rank", 'm', OPT_COUNT, AT(rank), NULL, "M", "vectors taken out together: the first 1, 2, .. M; not given: all of a layer, 8 at most", NULL, CLI_RANGE(1, CLI_MOST_COUNT)},
    {"ablation", 'a', OPT_CHOICE, AT(run.ablation), "mean", "KIND", "mean, resample or zero", cli_ablations, 0},
    {"site", 0, OPT_CHOICE, AT(run.site), NULL, "SITE", "pre: the input of block i, post: its output; not given: as recorded with the basis, else post", cli_sites, 0},
    CLI_SEQUENCE_OPTIONS(ablate_options, run.corpus),
    {"skip-positions", 0, OPT_SKIP, AT(run.skip), NULL, "P|auto", "first positions of each sequence left as they are; auto: 1 where their norms are huge; not given: as recorded with the basis, else auto", NULL, 0},
    {"seed", 0, OPT_SEED, AT(run.seed), "0", "N", "of random directions and of the derangement", NULL, 0},
    CLI_THREAD_OPTION(ablate_options, run.corpus),
    CLI_MEMORY_OPTION(ablate_options, run.corpus, "memory that may be used"),
    CLI_TALK_OPTIONS(ablate_options, run.corpus, "say more about inputs and choices"),
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

static const cli_command command = {
    "ablate",
    "MODEL --basis FOLDER|FILE (--text FILE... | --tokens FILE) [options]",
    "what removing a basis's vectors together does to the model's output",
    "Takes the first 1, 2, .. M vectors of each layer's basis out of the hidden states, runs the "
    "model on, and prints how far\n"
    "its output is from the clean one (KL), what is added to the cross-entropy of the next token "
    "(CE), both in nats a token,\n"
    "and the share of tokens whose most probable next token changes (top-1): beside as many "
    "principal components of what the\n"
    "ablation may take away, and as many random directions. A basis that was made from another "
    "model is refused.",
    options,
    1,
    {AT(run.corpus.model)},
};

static cbe_status check_usage(const ablate_options *given, cbe_error *err)
{
    if (!given->run.corpus.model)
        return cbe_fail(err, CBE_ERR_ARG, -1, "MODEL is missing; usage: cbe ablate %s",
                        command.usage);
    if (!given->basis)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--basis is missing: the folder that cbe extract has made, or a file with "
                        "layers.<i>.basis");
    if (given->run.ablation == CBE_ABLATE_OPTIMAL)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--ablation optimal is for single directions, as in cbe probe: use mean, "
                        "resample or zero for subspaces");
    return CBE_OK;
}

/* Of the layers asked for those of the basis, in place of the ranges; each must be there. */
static cbe_status choose_layers(cli_ranges *ranges, const cbe_basis_file *basis, cbe_error *err)
{
    const size_t n = cbe_basis_n_layers(basis), *layers = cbe_basis_layers(basis);
    size_t(*chosen)[2] = cbe_alloc(n, sizeof *chosen, "layers", err), n_chosen = 0;
    double ignored;
    cbe_status st = chosen ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < ranges->n && st == CBE_OK && !ranges->all; i++)
        for (size_t l = ranges->ranges[i][0]; l <= ranges->ranges[i][1] && st == CBE_OK; l++)
            st = cbe_basis_energies(basis, l, 0, &ignored, err); /* which says what there is */
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        bool wanted = ranges->all;
        for (size_t r = 0; r < ranges->n; r++)
            wanted |= ranges->ranges[r][0] <= layers[i] && layers[i] <= ranges->ranges[r][1];
        if (wanted) chosen[n_chosen][0] = chosen[n_chosen][1] = layers[i], n_chosen++;
    }
    if (st != CBE_OK) {
        cbe_free(chosen);
        return st;
    }
    cbe_free(ranges->ranges);
    *ranges = (cli_ranges){false, n_chosen, chosen};
    return CBE_OK;
}

static size_t rank_of(const ablate_options *given, const cbe_basis_file *basis, size_t layer)
{
    return given->rank ? given->rank
                       : cbe_min_size(cbe_basis_n_vectors(basis, layer), DEFAULT_RANK);
}

/* Before a model is run: there must be so many vectors of each layer, and they must span
 * something. */
static cbe_status check_vectors(const ablate_options *given, const cbe_basis_file *basis,
                                size_t layer, cbe_error *err)
{
    const size_t k = cbe_basis_n_vectors(basis, layer), m = rank_of(given, basis, layer),
                 d = cbe_basis_hidden_size(basis);
    if (m > k)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--rank %zu: the basis of layer %zu in %s has %zu vector%s", m, layer,
                        cbe_basis_path(basis), k, k == 1 ? "" : "s");
    cbe_error why;
    cbe_subspace *subspace = NULL;
    double *vectors = cbe_alloc(m, cbe_times(d, sizeof *vectors, 1), "vectors", err);
    if (!vectors) return CBE_ERR_NOMEM;
    cbe_status st = cbe_basis_vectors(basis, layer, m, vectors, err);
    if (st == CBE_OK && (st = cbe_subspace_create(&subspace, m, d, vectors, &why)) != CBE_OK)
        cbe_fail(err, st, -1, "%s: layer %zu: %s", cbe_basis_path(basis), layer, why.message);
    cbe_subspace_free(subspace);
    cbe_free(vectors);
    return st;
}

/* The basis, and what follows from it where options are not given. */
static cbe_status open_basis(cbe_basis_file **out, ablate_options *given, cli_progress *progress,
                             cbe_error *err)
{
    cbe_basis_file *basis = NULL;
    cbe_site site = CBE_SITE_POST;
    cbe_status st = cbe_basis_open(&basis, given->basis, err);
    if (st == CBE_OK) st = choose_layers(&given->run.layers, basis, err);
    for (size_t i = 0; st == CBE_OK && i < given->run.layers.n; i++)
        st = check_vectors(given, basis, given->run.layers.ranges[i][0], err);
    if (st == CBE_OK) st = cbe_basis_note(basis, given->run.corpus.inputs, CBE_INPUT_BASIS, err);
    if (st != CBE_OK) {
        cbe_basis_close(basis);
        return st;
    }
    if (!cbe_basis_model(basis))
        cli_say(progress, "basis: the model that it was made from is not recorded");
    const bool recorded = cbe_basis_site(basis, &site);
    if (given->run.site == CBE_N_SITES) {
        given->run.site = (int)site;
        if (recorded)
            cli_say(progress, "site: %s, as recorded with the basis", cbe_site_name(site));
    }
    if (given->run.skip.automatic && given->run.skip.positions == SIZE_MAX &&
        cbe_basis_skip_positions(basis, &given->run.skip.positions)) {
        given->run.skip.automatic = false;
        cli_say(progress, "skip-positions: %zu, as recorded with the basis",
                given->run.skip.positions);
    }
    *out = basis;
    return CBE_OK;
}

/* Before a model is run; layers are chosen by then. */
static cbe_status declare_outputs(cli_outputs *o, const ablate_options *given, cbe_error *err)
{
    cbe_status st;
    if (!given->run.output) return CBE_OK;
    cli_outputs_begin(o);
    cli_outputs_read_corpus(o, &given->run.corpus);
    cli_outputs_read_basis(o, "--basis", given->basis);
    if ((st = cli_outputs_folder(o, given->run.output, err)) != CBE_OK) return st;
    st = cli_outputs_write(o, "ablate.json", CLI_OWN_ABLATION_RECORD, err);
    if (st == CBE_OK) st = cli_outputs_write(o, "ablate.csv", CLI_OWN_ABLATION_TABLE, err);
    for (size_t i = 0; i < given->run.layers.n && st == CBE_OK; i++) {
        char name[48];
        snprintf(name, sizeof name, "ablate-%zu.svg", given->run.layers.ranges[i][0]);
        st = cli_outputs_write(o, name, CLI_OWN_CHART, err);
    }
    return st;
}

static bool show_progress(void *context, size_t done, size_t total)
{
    cli_progress_release(context);
    cli_status_line(context, "ablating: %.0f%%", 100.0 * (double)done / (double)total);
    return true;
}

static void print_header(void)
{
    printf("           ");
    for (int s = 0; s < CBE_N_SPANS; s++)
        printf("  %*s", COLUMNS - 2, cbe_span_name((cbe_span_kind)s));
    printf("\nlayer  rank");
    for (int s = 0; s < CBE_N_SPANS; s++)
        printf("%*s%*s%*s", KL_WIDTH, "KL", CE_WIDTH, "CE", TOP1_WIDTH, "top-1");
    printf("\n");
}

/* A number in so many columns; a dash where it is not known. */
static void print_number(double value, int width)
{
    if (isfinite(value))
        printf("  %*.4g", width - 2, value);
    else
        printf("%*s", width, "-");
}

static void print_layer(const cbe_layer_ablation *layer)
{
    for (size_t r = 0; r < layer->n_ranks; r++) {
        printf("%5zu  %4zu", layer->layer, r + 1);
        for (size_t s = 0; s < CBE_N_SPANS; s++) {
            const double *mean = layer->effects[s * layer->n_ranks + r].mean;
            print_number(mean[CBE_EFFECT_KL], KL_WIDTH);
            print_number(mean[CBE_EFFECT_CE], CE_WIDTH);
            print_number(mean[CBE_EFFECT_TOP1], TOP1_WIDTH);
        }
        printf("\n");
    }
    cli_flush_output();
}

/* Every layer: vectors, effects, rows. */
static cbe_status run_layers(cbe_ablation_run *run, const ablate_options *given,
                             const cli_inputs *in, const cbe_basis_file *basis,
                             cbe_layer_ablation *results, cli_progress *progress, cbe_error *err)
{
    cbe_status st = CBE_OK;
    double *vectors = NULL;
    for (size_t i = 0; i < in->n_layers && st == CBE_OK; i++) {
        const size_t layer = in->layers[i], m = rank_of(given, basis, layer);
        results[i] = (cbe_layer_ablation){layer, m, NULL};
        cbe_free(vectors);
        vectors =
            cbe_alloc(m, cbe_times(in->decoder->hidden_size, sizeof *vectors, 1), "vectors", err);
        results[i].effects = cbe_alloc(CBE_N_SPANS * m, sizeof *results[i].effects, "effects", err);
        st = vectors && results[i].effects ? cbe_basis_vectors(basis, layer, m, vectors, err)
                                           : CBE_ERR_NOMEM;
        if (st == CBE_OK)
            st = cbe_ablation_run_layer(run, layer, cbe_site_state(in->options.site, layer), m,
                                        vectors, results[i].effects, err);
        cli_status_clear(progress);
        if (st != CBE_OK) break;
        if (i == 0) print_header();
        print_layer(&results[i]);
        if (!progress->terminal)
            cli_say(progress, "layer %zu done (%zu of %zu)", layer, i + 1, in->n_layers);
    }
    cbe_free(vectors);
    return st;
}

int cli_ablate(int argc, char **argv)
{
    ablate_options given = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help;
    cli_progress progress;
    cli_team team = {.group_size = 1};
    cli_inputs in = {0};
    cbe_inputs read = {.digests = true};
    cbe_basis_file *basis = NULL;
    cbe_ablation_run *run = NULL;
    cbe_layer_ablation *results = NULL;
    cli_outputs outputs = {0};

    given.run.skip = (cli_skip){true, SIZE_MAX}; /* not given */
    given.run.site = CBE_N_SITES;                /* likewise */
    given.run.team = &team;
    if ((st = cli_parse(&command, argc, argv, &given, &help, &err)) != CBE_OK) goto done;
    if (help) {
        cli_print_help(&command);
        return cli_finish_output();
    }
    given.run.corpus.inputs = &read;
    cli_progress_init(&progress, given.run.corpus.quiet, given.run.corpus.verbose);
    if ((st = check_usage(&given, &err)) != CBE_OK) goto done;
    if ((st = open_basis(&basis, &given, &progress, &err)) != CBE_OK) goto done;
    if ((st = declare_outputs(&outputs, &given, &err)) != CBE_OK) goto done;
    given.run.lens = "model";
    given.run.output_optional = true;
    given.run.vectors_of = given.run.made_from = basis;
    if ((st = cli_inputs_open(&in, &given.run, &progress, &err)) != CBE_OK) goto done;
    cbe_ablation_options o = {.ablation = in.options.ablation,
                              .skip_positions = in.options.skip_positions,
                              .seed = given.run.seed,
                              .memory = in.options.memory,
                              .progress = show_progress,
                              .context = &progress};
    for (size_t i = 0; i < in.n_layers; i++)
        o.max_rank = cbe_max_size(o.max_rank, rank_of(&given, basis, in.layers[i]));
    if ((st = cbe_ablation_run_create(&run, in.model, in.states, &o, &err)) != CBE_OK) goto done;
    if (cbe_ablation_derangement_unused(run))
        cli_warn(&progress, "the derangement given is one of all tokens; with some left out one "
                            "from --seed is used");
    size_t bytes;
    const size_t at_once = cbe_ablation_n_at_once(run, &bytes);
    cli_say(&progress,
            "memory: %zu sequences run at once, %.2f GB for the ablations, %.2f GB allowed in all",
            at_once, 1e-9 * (double)bytes, 1e-9 * (double)in.memory);
    st = CBE_ERR_NOMEM;
    if (!(results = cbe_alloc_zero(in.n_layers, sizeof *results, "results", &err))) goto done;
    if ((st = run_layers(run, &given, &in, basis, results, &progress, &err)) != CBE_OK) goto done;
    const cbe_ablation_record record = {.model = given.run.corpus.model,
                                        .basis = given.basis,
                                        .tokens = given.run.corpus.tokens,
                                        .n_texts = given.run.corpus.text.n,
                                        .texts = given.run.corpus.text.paths,
                                        .site = in.options.site,
                                        .ablation = o.ablation,
                                        .seed = o.seed,
                                        .n_sequences = cbe_hidden_states_n_sequences(in.states),
                                        .context_length =
                                            cbe_hidden_states_context_length(in.states),
                                        .skip_positions = o.skip_positions,
                                        .n_tokens = cbe_ablation_n_tokens(run),
                                        .n_labelled = cbe_ablation_n_labelled(run)};
    if ((st = cli_outputs_check_folder(&outputs, &err)) != CBE_OK) goto done;
    if (given.run.output)
        st = cbe_ablation_save(given.run.output, in.n_layers, results, &record, &err);
    if (st == CBE_OK) cli_warn_of_changes(&progress, &read);
done:
    for (size_t i = 0; results && i < in.n_layers; i++) cbe_free(results[i].effects);
    cbe_free(results);
    cbe_ablation_run_free(run);
    cbe_basis_close(basis);
    cli_inputs_close(&in);
    cbe_inputs_free(&read);
    cli_outputs_end(&outputs);
    cli_free(&command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
