/* inputs.c - see inputs.h. */
#include "cli/inputs.h"

#include <stdio.h>
#include <string.h>

#include "extract/skip_positions.h"
#include "lens/fit.h"
#include "cli/lens_folder.h"
#include "cli/memory.h"
#include "cli/run_model.h"
#include "cli/same_run.h"
#include "math/bf16.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "files/text_stream.h"

const char *const cli_ablations[] = {"mean", "resample", "zero", "optimal", NULL};
const char *const cli_objectives[] = {"kl", "ce", NULL};
const char *const cli_sites[] = {"pre", "post", NULL};
const char *const cli_precisions[] = {"float32", "bf16x3", "bf16", NULL};
const char *const cli_lens_formats[] = {"pt", "safetensors", NULL};
_Static_assert(sizeof cli_lens_formats / sizeof *cli_lens_formats == CBE_N_LENS_FORMATS + 1,
               "in the order of the enum");
_Static_assert(sizeof cli_ablations / sizeof *cli_ablations == CBE_N_ABLATIONS + 1,
               "in the order of the enum");
_Static_assert(sizeof cli_objectives / sizeof *cli_objectives == CBE_N_OBJECTIVES + 1,
               "in the order of the enum");
_Static_assert(sizeof cli_sites / sizeof *cli_sites == CBE_N_SITES + 1, "in the order of the enum");
_Static_assert(sizeof cli_precisions / sizeof *cli_precisions == CBE_N_PRECISIONS + 1,
               "in the order of the enum");

cbe_status cli_parse_lens(cli_lens_choice *out, const char *text, cbe_error *err)
{
    /* what ends in = has a path behind it */
    static const char *const kinds[] = {"logit", "tuned=", "affine", "model"};
    _Static_assert(sizeof kinds / sizeof *kinds == CLI_N_LENSES, "in the order of the enum");
    for (int i = 0; i < CLI_N_LENSES; i++) {
        const size_t length = strlen(kinds[i]);
        const bool has_path = kinds[i][length - 1] == '=';
        if (strncmp(text, kinds[i], length) != 0 || (text[length] != 0) != has_path) continue;
        *out = (cli_lens_choice){(cli_lens_kind)i, has_path ? text + length : NULL};
        return CBE_OK;
    }
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "--lens %s: give logit, tuned=FOLDER (a tuned lens), affine or model", text);
}

cbe_status cli_choose_layers(const cli_ranges *ranges, size_t end, size_t **layers,
                             size_t *n_layers, cbe_error *err)
{
    bool *chosen = cbe_alloc_zero(end, sizeof *chosen, "layers", err);
    size_t *list = cbe_alloc(end, sizeof *list, "layers", err), n = 0;
    cbe_status st = chosen && list ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; st == CBE_OK && i < ranges->n; i++) {
        if (ranges->ranges[i][1] >= end)
            st = cbe_fail(err, CBE_ERR_ARG, -1,
                          "--layers: there is no layer %zu; layers 0 to %zu can be given",
                          ranges->ranges[i][1], end - 1);
        for (size_t l = ranges->ranges[i][0]; st == CBE_OK && l <= ranges->ranges[i][1]; l++)
            chosen[l] = true;
    }
    for (size_t l = 0; st == CBE_OK && l < end; l++)
        if (ranges->all || chosen[l]) list[n++] = l;
    cbe_free(chosen);
    if (st != CBE_OK) {
        cbe_free(list);
        return st;
    }
    *layers = list;
    *n_layers = n;
    return CBE_OK;
}

void cli_inputs_close(cli_inputs *inputs)
{
    cbe_hidden_states_close(inputs->states);
    cbe_tuned_lens_free(inputs->lens);
    cbe_decoder_free(inputs->loaded_decoder);
    cbe_model_close(inputs->model);
    cbe_free(inputs->layers);
    cbe_free(inputs->derangement);
    *inputs = (cli_inputs){0};
}

/* Unless it is given, the one that is usual for the lens. */
static cbe_site site_of(const cli_run *run, cli_lens_kind lens)
{
    if (run->site != CBE_N_SITES) return (cbe_site)run->site;
    return lens == CLI_LENS_MODEL ? CBE_SITE_POST : CBE_SITE_PRE;
}

static cbe_status check_usage(const cli_run *run, cli_lens_kind lens, cbe_error *err)
{
    if (lens == CLI_LENS_MODEL && run->hidden_states)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--lens model runs the model, which hidden states made elsewhere are not: "
                        "give MODEL instead of "
                        "--hidden-states");
    if (run->precision != CBE_PRECISION_FLOAT32 && lens != CLI_LENS_MODEL)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "--precision %s is for --lens model; through other lenses products are float32",
            cli_precisions[run->precision]);
    if (run->precision != CBE_PRECISION_FLOAT32 && cbe_bf16_missing())
        return cbe_fail(err, CBE_ERR_ARG, -1, "--precision %s: %s; leave it out",
                        cli_precisions[run->precision], cbe_bf16_missing());
    if (run->hidden_states) {
        if (run->corpus.model || run->corpus.text.n || run->corpus.tokens)
            return cbe_fail(
                err, CBE_ERR_ARG, -1,
                "--hidden-states takes the place of MODEL, --text and --tokens: leave them out");
        if (!run->decoder)
            return cbe_fail(
                err, CBE_ERR_ARG, -1,
                "--hidden-states needs --decoder FILE; cbe decoder MODEL -o FILE makes one");
    } else if (!run->corpus.model) {
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "MODEL is missing: name a .gguf file or a model folder before the options");
    } else if (run->decoder) {
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--decoder goes with --hidden-states; a model has its own");
    }
    if (!run->output && !run->output_optional)
        return cbe_fail(err, CBE_ERR_ARG, -1, "-o is missing: where should results go?");
    return CBE_OK;
}

/* Before a model is run: what cannot be found must not be searched for. */
static cbe_status check_vectors(const cli_run *run, size_t hidden_size, cbe_error *err)
{
    if (run->vectors_of && cbe_basis_hidden_size(run->vectors_of) != hidden_size)
        return cbe_fail(
            err, CBE_ERR_SHAPE, -1, "%s: vectors have %zu numbers, the hidden size is %zu",
            cbe_basis_path(run->vectors_of), cbe_basis_hidden_size(run->vectors_of), hidden_size);
    if (run->vectors <= hidden_size) return CBE_OK;
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "-k %zu: a basis of %zu dimensions has at most %zu vectors", run->vectors,
                    hidden_size, hidden_size);
}

/* @param n_blocks  of the model; 0: not known */
static cbe_status open_lens(cli_inputs *in, const cli_run *run, const cli_lens_choice *lens,
                            size_t n_blocks, const char *model, cli_progress *progress,
                            cbe_error *err)
{
    cbe_tuned_lens_config *config = NULL;
    if (lens->kind != CLI_LENS_TUNED) return CBE_OK;
    const cbe_status st =
        cli_open_lens_folder(&in->lens, &config, lens->path, n_blocks, in->decoder, model,
                             run->corpus.inputs, progress, err);
    const char *base =
        st == CBE_OK ? cbe_tuned_lens_config_get(config, "base_model_name_or_path") : NULL;
    if (st == CBE_OK)
        cli_say(progress, "lens: %zu layers%s%s%s", in->lens->n_layers,
                in->lens->bias ? "" : ", no bias", base ? ", made for " : "", base ? base : "");
    cbe_tuned_lens_config_free(config);
    return st;
}

/* How many tokens of a text the run wants, for its lens too; 0: all. */
static size_t tokens_wanted(const cli_run *run, const cli_lens_choice *lens)
{
    const size_t searched = run->corpus.max_tokens;
    if (lens->kind != CLI_LENS_AFFINE || searched == 0) return searched;
    return run->lens_tokens ? cbe_max_size(searched, run->lens_tokens) : 0;
}

/* A text is read once, as far as the search or the lens needs it. @param tokens [out] those of the
 * search */
static cbe_status read_tokens(cli_inputs *in, const cli_run *run, const cli_lens_choice *lens,
                              cbe_tokens *tokens, cli_progress *progress, cbe_error *err)
{
    cli_corpus corpus = run->corpus;
    corpus.max_tokens = tokens_wanted(run, lens);
    for (size_t i = 0; i < corpus.text.n && cbe_processes_size(run->team->all) > 1; i++)
        if (!cbe_text_is_file(corpus.text.paths[i]))
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "--text %s: each of several processes reads the text, but a pipe can "
                            "be read once; write it to a file",
                            corpus.text.paths[i]);
    return cli_read_tokens(tokens, in->model, &corpus, run->corpus.max_tokens, progress, err);
}

/* The affine lens of the run's own text: the first --lens-tokens of it, in whole sequences. */
static cbe_status fit_lens(cli_inputs *in, const cli_run *run, const cbe_tokens *tokens,
                           cli_progress *progress, cbe_error *err)
{
    const double held_out = 0.1;
    cbe_tokens all = *tokens;
    if (!run->corpus.tokens) cbe_tokens_cut(&all, run->corpus.context_length, run->lens_tokens);
    size_t n = all.n_sequences; /* of a file of tokens all were read */
    if (run->lens_tokens && n > run->lens_tokens / all.context_length)
        n = run->lens_tokens / all.context_length;
    const cbe_status st = cbe_affine_fit(&in->lens, in->model, n, all.context_length, all.ids,
                                         held_out, NULL, cli_forward_progress, progress, err);
    cli_status_clear(progress);
    if (st == CBE_OK)
        cli_say(progress, "lens: affine, fitted on the first %zu tokens", n * all.context_length);
    return st;
}

/* A model, its text, and what is asked of them. */
static cbe_status open_model(cli_inputs *in, const cli_run *run, const cli_lens_choice *lens,
                             cbe_tokens *tokens, cli_progress *progress, cbe_error *err)
{
    cbe_status st;
    cli_status_line(progress, "reading %s", run->corpus.model);
    if ((st = cli_open_model(&in->model, &run->corpus, err)) != CBE_OK) return st;
    if (run->made_from && (st = cbe_basis_check_model(run->made_from, run->corpus.model,
                                                      run->corpus.inputs, err)) != CBE_OK)
        return st;
    const cbe_model_config *config = cbe_model_get_config(in->model);
    in->decoder = cbe_model_decoder(in->model);
    cli_say(progress, "model: %s, %zu blocks, hidden size %zu, vocabulary %zu",
            config->architecture, config->n_layers, config->hidden_size, config->vocab_size);
    if ((st = check_vectors(run, config->hidden_size, err)) != CBE_OK) return st;
    if ((st = cli_choose_layers(&run->layers, config->n_layers, &in->layers, &in->n_layers, err)) !=
        CBE_OK)
        return st;
    if ((st = open_lens(in, run, lens, config->n_layers, run->corpus.model, progress, err)) !=
        CBE_OK)
        return st;
    if ((st = read_tokens(in, run, lens, tokens, progress, err)) != CBE_OK) return st;
    if (!run->skip.automatic && run->skip.positions >= tokens->context_length)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "no token is left: sequences have %zu tokens and %zu positions are skipped",
                        tokens->context_length, run->skip.positions);
    return CBE_OK;
}

static cbe_status open_files(cli_inputs *in, const cli_run *run, const cli_lens_choice *lens,
                             cli_progress *progress, cbe_error *err)
{
    cbe_status st;
    size_t *layers = NULL, n_layers = 0;
    if ((st = cbe_decoder_load(&in->loaded_decoder, run->decoder, run->corpus.inputs, err)) !=
        CBE_OK)
        return st;
    in->decoder = in->loaded_decoder;
    if ((st = check_vectors(run, in->decoder->hidden_size, err)) != CBE_OK) return st;
    if ((st = cbe_hidden_states_open(&in->states, run->hidden_states, err)) != CBE_OK) return st;
    if ((st = cbe_hidden_states_note(in->states, run->corpus.inputs, err)) != CBE_OK) return st;
    const size_t last = cbe_hidden_states_end(in->states);
    size_t blocks = cbe_hidden_states_n_blocks(in->states);
    st = open_lens(in, run, lens, blocks, run->hidden_states, progress, err);
    if (st != CBE_OK) return st;
    if (in->lens) blocks = in->lens->n_layers;
    if (in->lens && last > blocks + 1)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: the lens is one for %zu layers, but %s holds hidden_states.%zu",
                        lens->path, blocks, run->hidden_states, last - 1);
    /* The last state of a model is the input of no block. */
    size_t end = in->options.site == CBE_SITE_POST ? last - 1 : last;
    if (blocks && end > blocks) end = blocks;
    if (end == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: holds no output of a block; leave out --site post",
                        run->hidden_states);
    if ((st = cli_choose_layers(&run->layers, end, &layers, &n_layers, err)) != CBE_OK) return st;
    in->layers = layers;
    for (size_t i = 0; i < n_layers; i++) {
        const size_t state = cbe_site_state(in->options.site, layers[i]);
        if (cbe_hidden_states_has(in->states, state))
            layers[in->n_layers++] = layers[i];
        else if (!run->layers.all)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "%s: there is no tensor hidden_states.%zu, which layer %zu needs",
                            run->hidden_states, state, layers[i]);
    }
    cli_say(progress, "hidden states: %zu sequences of %zu, hidden size %zu, vocabulary %zu",
            cbe_hidden_states_n_sequences(in->states), cbe_hidden_states_context_length(in->states),
            cbe_hidden_states_hidden_size(in->states), in->decoder->vocab_size);
    return CBE_OK;
}

/* What the objective may take beside the model and its hidden states, and beside what a search
 * needs. */
static cbe_status leave_memory(const cli_inputs *in, size_t *left, cbe_error *err)
{
    /* Of the hidden size in double: histories of optimisers, candidates, matrices. And what a BLAS
     * packs matrices into. */
    enum { SEARCH_VECTORS = 4000, BLAS_BYTES = 96 << 20 };
    const size_t used = cli_memory_in_use() +
                        SEARCH_VECTORS * in->decoder->hidden_size * sizeof(double) + BLAS_BYTES;
    *left = 0;
    if (!in->memory) return CBE_OK; /* not known, not limited */
    if (used >= in->memory)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--memory: %.4g MB are in use for the model and its hidden states, %.4g MB "
                        "are allowed; give more, or "
                        "fewer tokens or layers",
                        1e-6 * (double)used, 1e-6 * (double)in->memory);
    *left = in->memory - used;
    return CBE_OK;
}

/* The least that any process has left, for all: so they keep logits in the same way, on which the
 * last bits of energies depend. */
static cbe_status share_memory(cli_inputs *in, const cbe_processes *all, cbe_error *err)
{
    const size_t size = cbe_processes_size(all);
    size_t left = 0, *each = cbe_alloc(size, sizeof *each, "processes", err);
    cbe_status st = each ? leave_memory(in, &left, err) : CBE_ERR_NOMEM;
    if ((st = cbe_processes_agree(all, st, err)) == CBE_OK) {
        cbe_processes_list(all, left, each);
        for (size_t r = 0; r < size; r++) /* 0: not known, not limited */
            if (each[r] && (!left || each[r] < left)) left = each[r];
        in->options.memory = left;
    }
    cbe_free(each);
    return st;
}

/* Layers and sequences to the processes of the run. */
static cbe_status divide(cli_inputs *in, const cli_run *run, size_t n_sequences,
                         size_t context_length, cbe_error *err)
{
    const size_t used = cli_memory_in_use();
    const cli_work work = {run->divide, in->n_layers,
                           n_sequences, context_length,
                           in->decoder, in->memory > used ? in->memory - used : in->memory != 0};
    const cbe_status st = cli_team_divide(run->team, &work, err);
    in->options.run = run->team->all;
    in->options.processes = cli_team_tokens(run->team);
    return st;
}

/* Decided once for the run, by all that see a part of it. */
static cbe_status choose_skip(cli_inputs *in, const cli_run *run, cli_progress *progress,
                              cbe_error *err)
{
    cbe_extraction_options *o = &in->options;
    cbe_status st = CBE_OK;
    double most = 0;
    for (size_t i = 0; i < in->n_layers && st == CBE_OK; i++) {
        size_t skip = 0;
        if (cbe_layer_is_own(o, i))
            st = cbe_choose_skip_positions(in->states, o->site, 1, &in->layers[i], &skip, err);
        most += (double)skip;
    }
    if ((st = cbe_processes_agree(run->team->all, st, err)) != CBE_OK) return st;
    cbe_processes_sum(run->team->all, 1, &most);
    o->skip_positions = most > 0;
    in->skip_chosen = true;
    cli_say(progress, "skip-positions: %zu (%s)", o->skip_positions,
            o->skip_positions
                ? "the first position of each sequence has a huge norm and is left out"
                : "no position has a huge norm");
    return CBE_OK;
}

/* What can be found wrong before any work is done. */
static cbe_status open_all(cli_inputs *in, const cli_run *run, cli_lens_choice *lens,
                           cbe_tokens *tokens, cli_progress *progress, cbe_error *err)
{
    cbe_status st;
    if ((st = cli_parse_lens(lens, run->lens, err)) != CBE_OK) return st;
    if ((st = check_usage(run, lens->kind, err)) != CBE_OK) return st;
    if (lens->kind == CLI_LENS_AFFINE && run->hidden_states)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--lens affine is fitted on a model's text: give MODEL and --text in place "
                        "of --hidden-states, or a lens of "
                        "cbe lens fit as --lens tuned=FOLDER");
    in->memory = cli_corpus_memory(&run->corpus);
    cbe_extraction_options_init(&in->options);
    in->options.site = site_of(run, lens->kind);
    return run->hidden_states ? open_files(in, run, lens, progress, err)
                              : open_model(in, run, lens, tokens, progress, err);
}

/* The hidden states of the process's own layers and sequences. */
static cbe_status take_share(cli_inputs *in, const cli_run *run, const cli_lens_choice *lens,
                             const cbe_tokens *tokens, cli_progress *progress, cbe_error *err)
{
    size_t first, n;
    if (!in->model) {
        cli_team_share(run->team, cbe_hidden_states_n_sequences(in->states), &first, &n);
        cbe_hidden_states_keep(in->states, first, n);
        return CBE_OK;
    }
    /* A lens comes of the first tokens, whichever are searched; and all fit one before any waits
     * for another's states. */
    cbe_status st =
        lens->kind == CLI_LENS_AFFINE ? fit_lens(in, run, tokens, progress, err) : CBE_OK;
    if ((st = cbe_processes_agree(run->team->all, st, err)) != CBE_OK) return st;
    st = cli_run_model(in, run, tokens, lens->kind == CLI_LENS_MODEL, progress, err);
    cli_status_clear(progress);
    return st;
}

cbe_status cli_inputs_open(cli_inputs *in, const cli_run *run, cli_progress *progress,
                           cbe_error *err)
{
    cbe_tokens tokens = {0};
    cli_lens_choice lens = {CLI_LENS_LOGIT, NULL};
    cbe_extraction_options *o = &in->options;
    cbe_processes *all = run->team->all;
    cbe_status st = cli_use_threads(run->corpus.threads, err);
    if (st == CBE_OK) st = open_all(in, run, &lens, &tokens, progress, err);
    st = cbe_processes_agree(all, st, err);
    if (st == CBE_OK) st = cli_check_same_run(run, &tokens, err);
    if (st == CBE_OK)
        st = in->model ? divide(in, run, tokens.n_sequences, tokens.context_length, err)
                       : divide(in, run, cbe_hidden_states_n_sequences(in->states),
                                cbe_hidden_states_context_length(in->states), err);
    if (st == CBE_OK)
        st = cbe_processes_agree(all, take_share(in, run, &lens, &tokens, progress, err), err);
    cbe_tokens_free(&tokens);
    if (st != CBE_OK) return st;
    o->ablation = (cbe_ablation)run->ablation;
    o->objective = (cbe_objective_kind)run->objective;
    o->model = lens.kind == CLI_LENS_MODEL ? in->model : NULL;
    o->precision = (cbe_precision)run->precision;
    o->lens = in->lens;
    o->derangement = in->derangement;
    o->skip_positions = run->skip.positions;
    o->search.seed = run->seed;
    if ((st = share_memory(in, all, err)) != CBE_OK) return st;
    return run->skip.automatic ? choose_skip(in, run, progress, err) : CBE_OK;
}

void cli_say_storage(cli_progress *progress, const cbe_layer_objective *objective,
                     const cli_inputs *in)
{
    size_t bytes;
    const cbe_logit_storage storage = cbe_layer_objective_storage(objective, &bytes);
    const cbe_model_objective_plan *plan = cbe_layer_objective_plan(objective);
    if (plan) {
        cli_say(progress,
                "memory: %zu sequences run at once, %s, %.2f GB for the objective, %.2f GB allowed "
                "in all",
                plan->n_sequences,
                plan->recompute ? "blocks anew on the way back" : "all activations kept",
                1e-9 * (double)bytes, 1e-9 * (double)in->memory);
        return;
    }
    cli_say(progress,
            "memory: logits kept as %s, %.2f GB for the objective, %.2f GB allowed in all",
            cbe_logit_storage_name(storage), 1e-9 * (double)bytes, 1e-9 * (double)in->memory);
}
