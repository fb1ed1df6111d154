/* inputs.c - see inputs.h. */
#include "extract/model_energies.h"
#include "extract/skip_positions.h"
#include "plan/plan.h"
#include "run/precision.h"
#include "run/inputs.h"
#include "run/metric_options.h"

#include <stdio.h>
#include <string.h>

#include "lens/fit.h"
#include "run/lens_folder.h"
#include "run/memory.h"
#include "run/capture.h"
#include "run/decoder_check.h"
#include "run/given_inputs.h"
#include "run/held_out_text.h"
#include "run/same_run.h"
#include "math/bf16.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "files/text_stream.h"

const char *const cbe_ablation_choices[] = {"mean", "resample", "zero", "optimal", NULL};
const char *const cbe_objective_choices[] = {"kl", "ce", NULL};
const char *const cbe_site_choices[] = {"pre", "post", NULL};
const char *const cbe_precision_choices[] = {"auto", "float32", "bf16x3", "bf16", NULL};
const char *const cbe_scope_choices[] = {"all", "own", NULL};
const char *const cbe_model_energies_choices[] = {"no", "auto", "yes", NULL};
const char *const cbe_lens_format_choices[] = {"pt", "safetensors", NULL};
_Static_assert(sizeof cbe_lens_format_choices / sizeof *cbe_lens_format_choices ==
                   CBE_N_LENS_FORMATS + 1,
               "in the order of the enum");
_Static_assert(sizeof cbe_ablation_choices / sizeof *cbe_ablation_choices == CBE_N_ABLATIONS + 1,
               "in the order of the enum");
_Static_assert(sizeof cbe_objective_choices / sizeof *cbe_objective_choices == CBE_N_LOSSES + 1,
               "in the order of the enum");
_Static_assert(sizeof cbe_site_choices / sizeof *cbe_site_choices == CBE_N_SITES + 1,
               "in the order of the enum");
_Static_assert(sizeof cbe_precision_choices / sizeof *cbe_precision_choices ==
                   CBE_N_PRECISIONS + CBE_PRECISION_GIVEN + 1,
               "in the order of the enum");

_Static_assert(sizeof cbe_scope_choices / sizeof *cbe_scope_choices == CBE_N_SCOPES + 1,
               "in the order of the enum");

cbe_status cbe_parse_lens(cbe_lens_choice *out, const char *text, cbe_error *err)
{
    /* what ends in = has a path behind it */
    static const char *const kinds[] = {"logit", "tuned=", "affine", "model"};
    _Static_assert(sizeof kinds / sizeof *kinds == CBE_N_READINGS, "in the order of the enum");
    for (int i = 0; i < CBE_N_READINGS; i++) {
        const size_t length = strlen(kinds[i]);
        const bool has_path = kinds[i][length - 1] == '=';
        if (strncmp(text, kinds[i], length) != 0 || (text[length] != 0) != has_path) continue;
        *out = (cbe_lens_choice){(cbe_lens_kind)i, has_path ? text + length : NULL};
        return CBE_OK;
    }
    return cbe_fail(
        err, CBE_ERR_ARG, -1,
        CBE_OPTION("lens") " %s: give logit, tuned=FOLDER (a tuned lens), affine or model", text);
}

cbe_status cbe_choose_layers(const cbe_ranges *ranges, size_t end, size_t **layers,
                             size_t *n_layers, cbe_error *err)
{
    bool *chosen = cbe_alloc_zero(end, sizeof *chosen, "layers", err);
    size_t *list = cbe_alloc(end, sizeof *list, "layers", err), n = 0;
    cbe_status st = chosen && list ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; st == CBE_OK && i < ranges->n; i++) {
        if (ranges->ranges[i][1] >= end)
            st = cbe_fail(
                err, CBE_ERR_ARG, -1,
                CBE_OPTION("layers") ": there is no layer %zu; layers 0 to %zu can be given",
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

void cbe_run_inputs_close(cbe_run_inputs *inputs)
{
    cbe_hidden_states_close(inputs->own_states);
    cbe_tuned_lens_free(inputs->own_lens);
    cbe_decoder_free(inputs->own_decoder);
    cbe_model_close(inputs->own_model);
    cbe_free(inputs->layers);
    cbe_free(inputs->derangement);
    *inputs = (cbe_run_inputs){0};
}

/* Unless it is given, the one that is usual for the lens. */
static cbe_site site_of(const cbe_run_settings *run, cbe_lens_kind lens)
{
    if (run->site != CBE_N_SITES) return (cbe_site)run->site;
    return lens == CBE_READ_MODEL ? CBE_SITE_POST : CBE_SITE_PRE;
}

static bool has_states(const cbe_run_settings *run)
{
    return run->hidden_states || run->given_states;
}

/* What is given both by an option and from memory. */
static cbe_status check_once(const cbe_run_settings *run, cbe_error *err)
{
    const struct {
        const char *option;
        bool both;
    } inputs[] = {{"hidden-states", run->hidden_states && run->given_states},
                  {"decoder", run->decoder && run->given_decoder},
                  {"model", run->corpus.model && run->given_model},
                  {"lens", strcmp(run->lens, "logit") != 0 && run->given_lens}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i].both)
            return cbe_fail(
                err, CBE_ERR_ARG, -1,
                CBE_OPTION("%s") ": is set, and given from memory too; leave out one of the two",
                inputs[i].option);
    return CBE_OK;
}

static cbe_status check_usage(const cbe_run_settings *run, cbe_lens_kind lens, cbe_error *err)
{
    cbe_status st = check_once(run, err);
    if (st != CBE_OK) return st;
    if (lens == CBE_READ_MODEL && has_states(run))
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION("lens") " model runs the model, which hidden states made elsewhere are not: "
                               "give " CBE_TERM("MODEL", "model") " instead of " CBE_OPTION(
                                   "hidden-states"));
    if (run->scope != CBE_SCOPE_ALL && has_states(run))
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION(
                "scope") " %s is of the model's attention, which hidden states made "
                         "elsewhere do not tell: give " CBE_TERM(
                             "MODEL",
                             "model") " instead of " CBE_OPTION("hidden-states") ", or leave it "
                                                                                 "out",
            cbe_scope_choices[run->scope]);
    if (cbe_given_precision(run) != CBE_PRECISION_FLOAT32 && lens != CBE_READ_MODEL)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("precision") " %s is for " CBE_OPTION(
                            "lens") " model; through other lenses products are float32",
                        cbe_precision_choices[run->precision]);
    if (cbe_given_precision(run) != CBE_PRECISION_FLOAT32 && cbe_bf16_missing())
        return cbe_fail(err, CBE_ERR_ARG, -1, CBE_OPTION("precision") " %s: %s; leave it out",
                        cbe_precision_choices[run->precision], cbe_bf16_missing());
    if (has_states(run)) {
        if (run->given_model || run->corpus.model || run->corpus.text.n || run->corpus.tokens)
            return cbe_fail(
                err, CBE_ERR_ARG, -1,
                CBE_OPTION("hidden-states") " takes the place of " CBE_TERM(
                    "MODEL",
                    "model") ", " CBE_OPTION("text") " and " CBE_OPTION("tokens") ": leave them "
                                                                                  "out");
        if (run->given_states && !run->decoder && !run->given_decoder)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "the hidden states given need a decoder: cbe_run_set_decoder, or the "
                            "option " CBE_OPTION("decoder"));
        if (!run->decoder && !run->given_decoder)
            return cbe_fail(
                err, CBE_ERR_ARG, -1,
                CBE_OPTION("hidden-states") " needs " CBE_OPTION(
                    "decoder") " FILE; cbe decoder " CBE_TERM("MODEL",
                                                              "model") " " CBE_TERM("-o",
                                                                                    "output") " FIL"
                                                                                              "E "
                                                                                              "make"
                                                                                              "s "
                                                                                              "on"
                                                                                              "e");
    } else if (!run->corpus.model && !run->given_model) {
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_TERM("MODEL is missing: name a .gguf file or a model folder before the "
                                 "options",
                                 "inputs are missing: give hidden states and a decoder, or a "
                                 "model with texts or tokens"));
    } else if (run->decoder || run->given_decoder) {
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("decoder") " goes with " CBE_OPTION(
                            "hidden-states") "; a model has its own");
    }
    if (!run->output && !run->output_optional)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_TERM("-o", "output") " is missing: where should results go?");
    return CBE_OK;
}

/* Before a model is run: what cannot be found must not be searched for. */
static cbe_status check_vectors(const cbe_run_settings *run, size_t hidden_size, cbe_error *err)
{
    if (run->vectors_of && cbe_basis_hidden_size(run->vectors_of) != hidden_size)
        return cbe_fail(
            err, CBE_ERR_SHAPE, -1, "%s: vectors have %zu numbers, the hidden size is %zu",
            cbe_basis_path(run->vectors_of), cbe_basis_hidden_size(run->vectors_of), hidden_size);
    if (run->vectors <= hidden_size) return CBE_OK;
    return cbe_fail(
        err, CBE_ERR_ARG, -1,
        CBE_TERM("-k", "vectors") " %zu: a basis of %zu dimensions has at most %zu vectors",
        run->vectors, hidden_size, hidden_size);
}

/* @param n_blocks  of the model; 0: not known */
static cbe_status open_lens(cbe_run_inputs *in, const cbe_run_settings *run,
                            const cbe_lens_choice *lens, size_t n_blocks, const char *model,
                            cbe_watch *watch, cbe_error *err)
{
    cbe_tuned_lens_config *config = NULL;
    if (run->given_lens) {
        in->lens = run->given_lens;
        return cbe_tuned_lens_check(in->lens, "the lens given", n_blocks, in->decoder->hidden_size,
                                    model, err);
    }
    if (lens->kind != CBE_READ_TUNED) return CBE_OK;
    const cbe_status st = cbe_open_lens_folder(&in->own_lens, &config, lens->path, n_blocks,
                                               in->decoder, model, run->corpus.inputs, watch, err);
    const char *base =
        st == CBE_OK ? cbe_tuned_lens_config_get(config, "base_model_name_or_path") : NULL;
    in->lens = in->own_lens;
    if (st == CBE_OK)
        cbe_note(watch, "lens: %zu layers%s%s%s", in->lens->n_layers,
                 in->lens->bias ? "" : ", no bias", base ? ", made for " : "", base ? base : "");
    cbe_tuned_lens_config_free(config);
    return st;
}

/* How many tokens of a text the run wants, for its lens too; 0: all. */
static size_t tokens_wanted(const cbe_run_settings *run, const cbe_lens_choice *lens)
{
    const size_t searched = run->corpus.max_tokens;
    if (lens->kind != CBE_READ_AFFINE || searched == 0) return searched;
    return run->lens_tokens ? cbe_max_size(searched, run->lens_tokens) : 0;
}

/* Refuses pipes to several processes. */
static cbe_status check_files(const cbe_run_settings *run, const char *option,
                              const cbe_file_names *text, cbe_error *err)
{
    for (size_t i = 0; i < text->n && cbe_processes_size(run->team->all) > 1; i++)
        if (!cbe_text_is_file(text->paths[i]))
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "%s %s: each of several processes reads the text, but a pipe can be "
                            "read once; write it to a file",
                            option, text->paths[i]);
    return CBE_OK;
}

/* A text is read once, as far as the search or the lens needs it. @param tokens [out] those of the
 * search */
static cbe_status read_tokens(cbe_run_inputs *in, const cbe_run_settings *run,
                              const cbe_lens_choice *lens, cbe_tokens *tokens, cbe_watch *watch,
                              cbe_error *err)
{
    cbe_corpus corpus = run->corpus;
    if (run->given_model) corpus.model = cbe_model_path(run->given_model);
    corpus.max_tokens = tokens_wanted(run, lens);
    cbe_status st = check_files(run, CBE_OPTION("text"), &run->corpus.text, err);
    if (st == CBE_OK) st = check_files(run, CBE_OPTION("held-out-text"), &run->held_out_text, err);
    if (st != CBE_OK) return st;
    return cbe_corpus_read_tokens(tokens, in->model, &corpus, run->corpus.max_tokens, watch, err);
}

/* The affine lens of the run's own text: the first --lens-tokens of it, in whole sequences. */
static cbe_status fit_lens(cbe_run_inputs *in, const cbe_run_settings *run,
                           const cbe_tokens *tokens, cbe_watch *watch, cbe_error *err)
{
    const double held_out = 0.1;
    cbe_tokens all = *tokens;
    /* Sequences of a file are used as they are. */
    if (all.n_tokens) cbe_tokens_cut(&all, run->corpus.context_length, run->lens_tokens);
    size_t n = all.n_sequences; /* of a file of sequences all were read */
    if (run->lens_tokens && n > run->lens_tokens / all.context_length)
        n = run->lens_tokens / all.context_length;
    const cbe_status st = cbe_affine_fit(&in->own_lens, in->model, n, all.context_length, all.ids,
                                         held_out, NULL, cbe_watch_forward, watch, err);
    in->lens = in->own_lens;
    in->lens_fitted = st == CBE_OK;
    if (st == CBE_OK)
        cbe_note(watch, "lens: affine, fitted on the first %zu tokens", n * all.context_length);
    return st;
}

/* A model, its text, and what is asked of them. */
static cbe_status open_model(cbe_run_inputs *in, const cbe_run_settings *run,
                             const cbe_lens_choice *lens, cbe_tokens *tokens, cbe_watch *watch,
                             cbe_error *err)
{
    cbe_status st;
    const char *path = run->given_model ? cbe_model_path(run->given_model) : run->corpus.model;
    in->model = run->given_model;
    if (!in->model) {
        cbe_stage(watch, "reading %s", path);
        if ((st = cbe_corpus_open_model(&in->own_model, &run->corpus, watch, err)) != CBE_OK)
            return st;
        in->model = in->own_model;
    } else {
        const char *line;
        for (size_t i = 0; (line = cbe_model_warning(in->model, i)); i++)
            cbe_warn(watch, "%s", line);
    }
    if (run->made_from &&
        (st = cbe_basis_check_model(run->made_from, path, run->corpus.inputs, err)) != CBE_OK)
        return st;
    const cbe_model_config *config = cbe_model_get_config(in->model);
    in->decoder = cbe_model_decoder(in->model);
    cbe_note(watch, "model: %s, %zu blocks, hidden size %zu, vocabulary %zu", config->architecture,
             config->n_layers, config->hidden_size, config->vocab_size);
    if ((st = check_vectors(run, config->hidden_size, err)) != CBE_OK) return st;
    if ((st = cbe_choose_layers(&run->layers, config->n_layers, &in->layers, &in->n_layers, err)) !=
        CBE_OK)
        return st;
    if ((st = open_lens(in, run, lens, config->n_layers, path, watch, err)) != CBE_OK) return st;
    if ((st = read_tokens(in, run, lens, tokens, watch, err)) != CBE_OK) return st;
    if (!run->skip.automatic && run->skip.positions >= tokens->context_length)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "no token is left: sequences have %zu tokens and %zu positions are skipped",
                        tokens->context_length, run->skip.positions);
    return CBE_OK;
}

static cbe_status open_files(cbe_run_inputs *in, const cbe_run_settings *run,
                             const cbe_lens_choice *lens, cbe_watch *watch, cbe_error *err)
{
    cbe_status st;
    size_t *layers = NULL, n_layers = 0;
    const char *path = run->given_states ? "the hidden states given" : run->hidden_states;
    in->decoder = run->given_decoder;
    if (!in->decoder) {
        st = cbe_decoder_read(&in->own_decoder, run->decoder, run->corpus.inputs, err);
        if (st != CBE_OK) return st;
        in->decoder = in->own_decoder;
    }
    if ((st = check_vectors(run, in->decoder->hidden_size, err)) != CBE_OK) return st;
    in->states = run->given_states;
    if (!in->states) {
        if ((st = cbe_hidden_states_open(&in->own_states, path, err)) != CBE_OK) return st;
        in->states = in->own_states;
        if ((st = cbe_hidden_states_note(in->states, run->corpus.inputs, err)) != CBE_OK) return st;
    }
    const size_t last = cbe_hidden_states_end(in->states);
    size_t blocks = cbe_hidden_states_n_blocks(in->states);
    st = open_lens(in, run, lens, blocks, path, watch, err);
    if (st != CBE_OK) return st;
    if (in->lens) blocks = in->lens->n_layers;
    if (in->lens && last > blocks + 1)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: the lens is one for %zu layers, but %s holds hidden_states.%zu",
                        run->given_lens ? "the lens given" : lens->path, blocks, path, last - 1);
    if (last == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: there is no state; cbe_hidden_states_set gives one", path);
    /* The last state of a model is the input of no block. */
    size_t end = in->options.site == CBE_SITE_POST ? last - 1 : last;
    if (blocks && end > blocks) end = blocks;
    if (end == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: holds no output of a block; leave out " CBE_OPTION("site") " post",
                        path);
    if ((st = cbe_choose_layers(&run->layers, end, &layers, &n_layers, err)) != CBE_OK) return st;
    in->layers = layers;
    for (size_t i = 0; i < n_layers; i++) {
        const size_t state = cbe_site_state(in->options.site, layers[i]);
        if (cbe_hidden_states_has(in->states, state))
            layers[in->n_layers++] = layers[i];
        else if (!run->layers.all)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "%s: there is no tensor hidden_states.%zu, which layer %zu needs", path,
                            state, layers[i]);
    }
    if (in->n_layers > 0) {
        const size_t highest = cbe_site_state(in->options.site, layers[in->n_layers - 1]);
        st = cbe_check_decoder(in->states, path, highest, in->decoder, err);
        if (st == CBE_OK) st = cbe_note_given_inputs(run, in, err);
        if (st != CBE_OK) return st;
    }
    cbe_note(watch, "hidden states: %zu sequences of %zu, hidden size %zu, vocabulary %zu",
             cbe_hidden_states_n_sequences(in->states),
             cbe_hidden_states_context_length(in->states),
             cbe_hidden_states_hidden_size(in->states), in->decoder->vocab_size);
    return CBE_OK;
}

/* What the objective may take beside the model and its hidden states, and beside what a search
 * needs. */
static cbe_status leave_memory(const cbe_run_inputs *in, size_t *left, cbe_error *err)
{
    /* Of the hidden size in double: histories of optimisers, candidates, matrices. And what a BLAS
     * packs matrices into. */
    enum { SEARCH_VECTORS = 4000, BLAS_BYTES = 96 << 20 };
    const size_t used = cbe_memory_in_use() +
                        SEARCH_VECTORS * in->decoder->hidden_size * sizeof(double) + BLAS_BYTES;
    *left = 0;
    if (!in->memory) return CBE_OK; /* not known, not limited */
    if (used >= in->memory)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION(
                "memory") ": %.4g MB are in use for the model and its hidden states, %.4g MB "
                          "are allowed; give more, or "
                          "fewer tokens or layers",
            1e-6 * (double)used, 1e-6 * (double)in->memory);
    *left = in->memory - used;
    return CBE_OK;
}

/* The least that any process has left, for all: so they keep logits in the same way, on which the
 * last bits of energies depend. */
static cbe_status share_memory(cbe_run_inputs *in, const cbe_processes *all, cbe_error *err)
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
static cbe_status divide(cbe_run_inputs *in, const cbe_run_settings *run, size_t n_sequences,
                         size_t context_length, cbe_error *err)
{
    const size_t used = cbe_memory_in_use();
    const cbe_team_work work = {
        run->divide,    in->n_layers, n_sequences,
        context_length, in->decoder,  in->memory > used ? in->memory - used : in->memory != 0};
    const cbe_status st = cbe_team_divide(run->team, &work, err);
    in->options.run = run->team->all;
    in->options.processes = cbe_team_tokens(run->team);
    return st;
}

/* Decided once for the run, by all that see a part of it. */
static cbe_status choose_skip(cbe_run_inputs *in, const cbe_run_settings *run, cbe_watch *watch,
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
    cbe_note(watch, "skip-positions: %zu (%s)", o->skip_positions,
             o->skip_positions
                 ? "the first position of each sequence has a huge norm and is left out"
                 : "no position has a huge norm");
    return CBE_OK;
}

/* What can be found wrong before any work is done. */
static cbe_status open_all(cbe_run_inputs *in, const cbe_run_settings *run, cbe_lens_choice *lens,
                           cbe_tokens *tokens, cbe_watch *watch, cbe_error *err)
{
    cbe_status st;
    if ((st = cbe_parse_lens(lens, run->lens, err)) != CBE_OK) return st;
    if ((st = check_usage(run, lens->kind, err)) != CBE_OK) return st;
    if (lens->kind == CBE_READ_AFFINE && has_states(run))
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION("lens") " affine is fitted on a model's text: give " CBE_TERM(
                "MODEL",
                "model") " and " CBE_OPTION("text") " in place "
                                                    "of " CBE_OPTION(
                                                        "hidden-states") ", or a lens of "
                                                                         "cbe lens fit "
                                                                         "as " CBE_OPTION(
                                                                             "lens") " tuned="
                                                                                     "FOLDER");
    if ((st = cbe_check_held_out_text(run, err)) != CBE_OK) return st;
    if (run->model_energies == CBE_MODEL_ENERGIES_YES &&
        (has_states(run) || lens->kind == CBE_READ_MODEL))
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION("model-energies") " yes is for a lens of a model that is there: "
                                         "%s",
            has_states(run)
                ? "give " CBE_TERM("MODEL", "model") " instead of " CBE_OPTION("hidden-states")
                : "with " CBE_OPTION("lens") " model energies are the model's");
    in->memory = cbe_corpus_memory(&run->corpus);
    cbe_extraction_options_init(&in->options);
    in->options.site = site_of(run, lens->kind);
    if ((st = cbe_take_metric_options(&in->options, run, err)) != CBE_OK) return st;
    return has_states(run) ? open_files(in, run, lens, watch, err)
                           : open_model(in, run, lens, tokens, watch, err);
}

/* Whether directions found through a lens are measured in the model too. */
static cbe_status choose_model_energies(cbe_run_inputs *in, const cbe_run_settings *run,
                                        const cbe_lens_choice *lens, cbe_watch *watch,
                                        cbe_error *err)
{
    /* Multiplications of a search for one vector, for a token and an entry of the vocabulary: some
     * 60 evaluations, each of which takes as long as 20 of them. An evaluation in the model takes
     * one for each of its weights behind the layer; own scope has a clean pass besides, and all
     * energies of a layer share it. Both constants are estimates. */
    static const double search = 60 * 20, scopes = 2.5;
    const cbe_model_config *config = cbe_model_get_config(in->model);
    const bool divided = cbe_processes_size(in->options.processes) > 1;
    const size_t k = run->vectors ? run->vectors : config->hidden_size;
    size_t block;
    double model = 0, lenses = 0;
    if (run->model_energies == CBE_MODEL_ENERGIES_NO || lens->kind == CBE_READ_MODEL) return CBE_OK;
    if (divided && run->model_energies == CBE_MODEL_ENERGIES_YES)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("model-energies") " yes does not go with tokens that processes "
                                                     "divide: give " CBE_OPTION(
                                                         "divide") " layers, or leave it out");
    cbe_plan_weight_bytes(config, &block);
    for (size_t i = 0; i < in->n_layers; i++) {
        const size_t state = cbe_site_state(in->options.site, in->layers[i]);
        const double weights = (double)(config->n_layers - state) * (double)block / sizeof(float) +
                               (double)config->vocab_size * (double)config->hidden_size;
        model += scopes * weights * (double)cbe_model_energies_n_directions(k);
        lenses += search * (double)config->vocab_size * (double)k;
    }
    in->model_energies =
        run->model_energies == CBE_MODEL_ENERGIES_YES || (!divided && model < lenses);
    if (!in->model_energies)
        cbe_note(watch,
                 "energies in the model are left out: %s; " CBE_OPTION(
                     "model-energies") " yes measures them",
                 divided ? "processes divide the tokens" : "they take longer than the search");
    return CBE_OK;
}

/* The hidden states of the process's own layers and sequences.
 * @param fitted  tokens that a lens is fitted on
 * @param tokens  all tokens of the run */
static cbe_status take_share(cbe_run_inputs *in, const cbe_run_settings *run,
                             const cbe_lens_choice *lens, const cbe_tokens *fitted,
                             const cbe_tokens *tokens, cbe_watch *watch, cbe_error *err)
{
    size_t first, n;
    if (!in->model) {
        if (!in->own_states) return CBE_OK; /* from memory: one process has them all */
        cbe_team_share(run->team, cbe_hidden_states_n_sequences(in->states), &first, &n);
        cbe_hidden_states_keep(in->own_states, first, n);
        return CBE_OK;
    }
    /* A lens comes of the first tokens, whichever are searched; and all fit one before any waits
     * for another's states. */
    cbe_status st = lens->kind == CBE_READ_AFFINE ? fit_lens(in, run, fitted, watch, err) : CBE_OK;
    if ((st = cbe_processes_agree(run->team->all, st, err)) != CBE_OK) return st;
    st = cbe_processes_agree(run->team->all, choose_model_energies(in, run, lens, watch, err), err);
    if (st != CBE_OK) return st;
    const bool to_end = lens->kind == CBE_READ_MODEL || in->model_energies || run->to_end;
    st = cbe_run_capture(in, run, tokens, to_end, watch, err);
    return st;
}

/* Everything that is opened, and who does which part of it. */
static cbe_status open_and_divide(cbe_run_inputs *in, const cbe_run_settings *run,
                                  cbe_lens_choice *lens, cbe_tokens *tokens, cbe_watch *watch,
                                  cbe_error *err)
{
    cbe_status st = cbe_use_threads(run->corpus.threads, err);
    if (st == CBE_OK) st = open_all(in, run, lens, tokens, watch, err);
    st = cbe_processes_agree(run->team->all, st, err);
    if (st == CBE_OK) st = cbe_check_same_run(run, tokens, err);
    if (st != CBE_OK) return st;
    return in->model ? divide(in, run, tokens->n_sequences, tokens->context_length, err)
                     : divide(in, run, cbe_hidden_states_n_sequences(in->states),
                              cbe_hidden_states_context_length(in->states), err);
}

cbe_status cbe_run_inputs_open_tokens(cbe_run_inputs *in, const cbe_run_settings *run,
                                      cbe_tokens *tokens, cbe_watch *watch, cbe_error *err)
{
    cbe_lens_choice lens = {CBE_READ_LOGIT, NULL};
    const cbe_status st = open_and_divide(in, run, &lens, tokens, watch, err);
    return st == CBE_OK ? share_memory(in, run->team->all, err) : st;
}

cbe_status cbe_run_inputs_open(cbe_run_inputs *in, const cbe_run_settings *run, cbe_watch *watch,
                               cbe_error *err)
{
    cbe_tokens searched = {0}, joined = {0};
    const cbe_tokens *tokens = &searched;
    cbe_lens_choice lens = {CBE_READ_LOGIT, NULL};
    cbe_extraction_options *o = &in->options;
    cbe_processes *all = run->team->all;
    cbe_status st = cbe_use_threads(run->corpus.threads, err);
    if (st == CBE_OK) st = open_all(in, run, &lens, &searched, watch, err);
    if (st == CBE_OK && run->held_out_text.n) {
        st = cbe_read_held_out_text(&joined, &o->held_out_apart, &searched, in->model, run, watch,
                                    err);
        tokens = &joined;
        in->derangement_unused = searched.derangement != NULL;
    }
    st = cbe_processes_agree(all, st, err);
    if (st == CBE_OK) st = cbe_check_same_run(run, tokens, err);
    if (st == CBE_OK)
        st = in->model ? divide(in, run, tokens->n_sequences, tokens->context_length, err)
                       : divide(in, run, cbe_hidden_states_n_sequences(in->states),
                                cbe_hidden_states_context_length(in->states), err);
    if (st == CBE_OK)
        st = cbe_processes_agree(all, take_share(in, run, &lens, &searched, tokens, watch, err),
                                 err);
    cbe_tokens_free(&searched);
    cbe_tokens_free(&joined);
    if (st != CBE_OK) return st;
    o->ablation = (cbe_ablation)run->ablation;
    o->objective = (cbe_loss)run->objective;
    o->model = lens.kind == CBE_READ_MODEL ? in->model : NULL;
    o->precision = cbe_given_precision(run);
    o->scope = (cbe_scope)run->scope;
    o->lens = in->lens;
    o->derangement = in->derangement;
    o->skip_positions = run->skip.positions;
    o->search.seed = run->seed;
    in->derangement_unused = in->derangement_unused && o->ablation == CBE_ABLATE_RESAMPLE;
    if ((st = share_memory(in, all, err)) != CBE_OK) return st;
    return run->skip.automatic ? choose_skip(in, run, watch, err) : CBE_OK;
}

void cbe_note_storage(cbe_watch *watch, const cbe_layer_objective *objective,
                      const cbe_run_inputs *in)
{
    size_t bytes;
    const cbe_logit_storage storage = cbe_layer_objective_storage(objective, &bytes);
    const cbe_model_objective_plan *plan = cbe_layer_objective_plan(objective);
    if (plan) {
        cbe_note(
            watch,
            "memory: %zu sequences run at once, %s, %.2f GB for the objective, %.2f GB allowed "
            "in all",
            plan->n_sequences,
            plan->recompute ? "blocks anew on the way back" : "all activations kept",
            1e-9 * (double)bytes, 1e-9 * (double)in->memory);
        return;
    }
    cbe_note(watch, "memory: logits kept as %s, %.2f GB for the objective, %.2f GB allowed in all",
             cbe_logit_storage_name(storage), 1e-9 * (double)bytes, 1e-9 * (double)in->memory);
}
