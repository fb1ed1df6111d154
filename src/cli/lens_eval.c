/* lens_eval.c - cbe lens eval: measures how close lenses come to the model's output at each
 * layer. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lens/evaluate.h"
#include "tokenizer/tokenizer.h"
#include "cli/commands.h"
#include "run/inputs.h"
#include "run/lens_folder.h"
#include "cli/arguments.h"
#include "run/options.h"
#include "run/outputs.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "core/memory.h"

typedef struct {
    cbe_corpus corpus;
    const char *output;
    cbe_file_names lenses;
    cbe_ranges layers;
    size_t skip_positions;
    bool transfer;
} eval_options;

#define AT(field) offsetof(eval_options, field)
/* clang-format off */
static const cbe_option options[] = {
    {"lens", 0, OPT_FILES, AT(lenses), NULL, "FOLDER...", "tuned lenses, beside the logit lens", NULL, 0},
    CBE_TEXT_OPTIONS(eval_options, corpus, ", that the lenses were not made from"),
    {"output", 'o', OPT_STRING, AT(output), NULL, "FOLDER", "where eval.json, eval.csv and eval.svg go; not given: the table alone", NULL, 0},
    {"layers", 'l', OPT_LAYERS, AT(layers), "all", "LIST", "layers, as in 0-29,31, or all", NULL, 0},
    {"layer-transfer", 0, OPT_FLAG, AT(transfer), NULL, NULL, "each translator on the hidden states of every layer too", NULL, 0},
    CBE_SEQUENCE_OPTIONS(eval_options, corpus),
    {"skip-positions", 0, OPT_COUNT, AT(skip_positions), "0", "P", "first positions of each sequence left out of the means", NULL, CBE_RANGE(0, CBE_MOST_TOKENS)},
    CBE_THREAD_OPTION(eval_options, corpus),
    CBE_MEMORY_OPTION(eval_options, corpus, "memory for weights and hidden states"),
    CBE_TALK_OPTIONS(eval_options, corpus, "say more about inputs"),
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

const cli_command cli_lens_eval_command = {
    "lens eval",
    "MODEL (--text FILE... | --tokens FILE) [--lens FOLDER...] [-o FOLDER] [options]",
    "how close a lens is to the model, layer by layer",
    "Prints for the logit lens, each lens given and the model itself: cross-entropy of the next "
    "token (CE), divergence\n"
    "of the model's output from the lens's (KL), entropy, and how often both find the same token "
    "most probable (top-1).\n"
    "Means over tokens in nats, CE and KL in bits per byte of text too; +-: standard errors over "
    "sequences.",
    options,
    1,
    {AT(corpus.model)},
};

/* The opened inputs of a run. */
typedef struct {
    cbe_model *model;
    cbe_tokens tokens;
    size_t n_layers, *layers;
    size_t n_lenses;
    cbe_named_lens *lenses;   /* the logit lens first */
    cbe_tuned_lens **owned;   /* (n_lenses) */
    cbe_tokenizer *tokenizer; /* NULL: it cannot be read, for the reason in untold */
    cbe_error untold;
    cbe_outputs outputs;
} eval_inputs;

static void close_inputs(eval_inputs *in)
{
    for (size_t i = 0; i < in->n_lenses; i++) cbe_tuned_lens_free(in->owned[i]);
    cbe_free(in->owned);
    cbe_free(in->lenses);
    cbe_free(in->layers);
    cbe_tokens_free(&in->tokens);
    cbe_tokenizer_free(in->tokenizer);
    cbe_model_close(in->model);
    cbe_outputs_end(&in->outputs);
}

static cbe_status open_lenses(eval_inputs *in, const eval_options *given, cli_progress *progress,
                              cbe_error *err)
{
    const size_t n = given->lenses.n + 1;
    in->lenses = cbe_alloc_zero(n, sizeof *in->lenses, "lenses", err);
    in->owned = cbe_alloc_zero(n, sizeof *in->owned, "lenses", err);
    if (!in->lenses || !in->owned) return CBE_ERR_NOMEM;
    in->lenses[in->n_lenses++] = (cbe_named_lens){"logit lens", NULL};
    for (size_t i = 0; i < given->lenses.n; i++) {
        const char *path = given->lenses.paths[i];
        const cbe_status st = cbe_open_lens_folder(
            &in->owned[in->n_lenses], NULL, path, cbe_model_get_config(in->model)->n_layers,
            cbe_model_decoder(in->model), given->corpus.model, given->corpus.inputs,
            &progress->watch, err);
        if (st != CBE_OK) return st;
        in->lenses[in->n_lenses] = (cbe_named_lens){path, in->owned[in->n_lenses]};
        in->n_lenses++;
    }
    return CBE_OK;
}

static cbe_status declare_outputs(cbe_outputs *o, const eval_options *given, cbe_error *err)
{
    cbe_status st;
    cbe_outputs_begin(o);
    cbe_outputs_read_corpus(o, &given->corpus);
    for (size_t i = 0; i < given->lenses.n; i++)
        cbe_outputs_read_lens(o, "--lens", given->lenses.paths[i]);
    if ((st = cbe_outputs_folder(o, given->output, err)) != CBE_OK) return st;
    st = cbe_outputs_write(o, "eval.json", CBE_OWN_EVAL_RECORD, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, "eval.csv", CBE_OWN_EVAL_TABLE, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, "eval.svg", CBE_OWN_CHART, err);
    if (st == CBE_OK && given->transfer)
        st = cbe_outputs_write(o, "transfer.csv", CBE_OWN_TRANSFER_TABLE, err);
    for (size_t i = 0; i < given->lenses.n && given->transfer && st == CBE_OK; i++) {
        char name[48] = "transfer.svg";
        if (i > 0) snprintf(name, sizeof name, "transfer-%zu.svg", i + 1);
        st = cbe_outputs_write(o, name, CBE_OWN_CHART, err);
    }
    return st;
}

static cbe_status open_inputs(eval_inputs *in, const eval_options *given, cli_progress *progress,
                              cbe_error *err)
{
    cbe_status st;
    if (!given->corpus.model)
        return cbe_fail(err, CBE_ERR_ARG, -1, "MODEL is missing; usage: cbe lens eval %s",
                        cli_lens_eval_command.usage);
    if (given->transfer && given->lenses.n == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--layer-transfer needs a tuned lens: the logit lens is the same at every "
                        "layer; give --lens FOLDER");
    if (given->output && (st = declare_outputs(&in->outputs, given, err)) != CBE_OK) return st;
    if ((st = cbe_corpus_open_model(&in->model, &given->corpus, &progress->watch, err)) != CBE_OK)
        return st;
    st = cbe_choose_layers(&given->layers, cbe_model_get_config(in->model)->n_layers, &in->layers,
                           &in->n_layers, err);
    if (st != CBE_OK) return st;
    if ((st = open_lenses(in, given, progress, err)) != CBE_OK) return st;
    if ((st = cbe_tokenizer_read(&in->tokenizer, given->corpus.model, given->corpus.inputs, NULL,
                                 &in->untold)) == CBE_ERR_NOMEM) {
        *err = in->untold;
        return st;
    }
    return cbe_corpus_read_tokens(&in->tokens, in->model, &given->corpus, given->corpus.max_tokens,
                                  &progress->watch, err);
}

/* Counts the bytes of the text, for bits per byte. Gives 0 if the model's tokenizer cannot be read
 * or used, and then sets in->untold to the reason. */
static cbe_status count_bytes(size_t *bytes, eval_inputs *in, const eval_options *given,
                              cbe_error *err)
{
    if (!in->tokenizer) return CBE_OK;
    const cbe_status st = cbe_lens_eval_text_bytes(bytes, in->tokenizer, &in->tokens,
                                                   given->skip_positions, &in->untold);
    if (st != CBE_ERR_NOMEM) return CBE_OK;
    *err = in->untold;
    return st;
}

static bool show_progress(void *context, size_t done, size_t total)
{
    cli_progress_release(context);
    cli_status_line(context, "measuring: %.0f%%",
                    total ? 100.0 * (double)done / (double)total : 100.0);
    return true;
}

/* Prints a number in `width` columns, or a dash for an unknown one. */
static void print_number(double value, int width, int decimals)
{
    if (isfinite(value))
        printf("%*.*f", width, decimals, value);
    else
        printf("%*s", width, "-");
}

static void print_row(size_t layer, const cbe_lens_figures *f, double bits)
{
    printf("%5zu", layer);
    for (int m = 0; m < CBE_N_LENS_MEASURES; m++) {
        print_number(f->mean[m], m == CBE_LENS_TOP1 ? 9 : 10, 4);
        print_number(f->error[m], 8, 4);
        if (m == CBE_LENS_CE || m == CBE_LENS_KL) print_number(bits * f->mean[m], 11, 4);
    }
    printf("\n");
}

static void print_table(const cbe_lens_eval *eval)
{
    const double bits = cbe_lens_eval_bits_per_byte(eval);
    printf("layer        CE      +-  bits/byte        KL      +-  bits/byte   entropy      +-    "
           "top-1      +-\n");
    for (size_t l = 0; l < eval->n_lenses; l++) {
        cli_line(stdout, "%s", eval->names[l]);
        for (size_t i = 0; i < eval->n_layers; i++)
            print_row(eval->layers[i], &eval->figures[l * eval->n_layers + i], bits);
    }
    printf("the model itself\n");
    print_row(eval->n_blocks, &eval->final, bits);
    printf("%zu sequences of %zu, %zu tokens measured", eval->n_sequences, eval->context_length,
           eval->n_tokens);
    if (eval->text_bytes) printf(", %zu bytes", eval->text_bytes);
    printf("\n");
}

int cli_lens_eval(int argc, char **argv)
{
    eval_options given = {0};
    eval_inputs in = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help;
    cli_progress progress;
    cbe_lens_eval *eval = NULL;
    cbe_inputs read = {0};
    size_t text_bytes = 0;

    if ((st = cli_parse(&cli_lens_eval_command, argc, argv, &given, &help, &err)) != CBE_OK)
        goto done;
    if (help) {
        cli_print_help(&cli_lens_eval_command);
        return cli_finish_output();
    }
    given.corpus.inputs = &read;
    cli_progress_init(&progress, given.corpus.quiet, given.corpus.verbose);
    if ((st = cbe_use_threads(given.corpus.threads, &err)) != CBE_OK) goto done;
    if ((st = open_inputs(&in, &given, &progress, &err)) != CBE_OK) goto done;
    if ((st = count_bytes(&text_bytes, &in, &given, &err)) != CBE_OK) goto done;
    const cbe_lens_eval_options run = {.n_layers = in.n_layers,
                                       .n_lenses = in.n_lenses,
                                       .layers = in.layers,
                                       .lenses = in.lenses,
                                       .transfer = given.transfer,
                                       .skip_positions = given.skip_positions,
                                       /* Weights may take half of the memory. */
                                       .memory = given.corpus.memory / 4,
                                       .progress = show_progress,
                                       .context = &progress};
    st = cbe_lens_eval_run(&eval, in.model, &in.tokens, &run, &err);
    cli_status_clear(&progress);
    if (st != CBE_OK) goto done;
    eval->text_bytes = text_bytes;
    if (in.untold.code != CBE_OK)
        cli_warn(&progress, "bits per byte are not known: %s", cbe_error_typed(&in.untold));
    const cbe_lens_eval_record record = {given.corpus.model, given.corpus.tokens,
                                         given.corpus.text.n, given.corpus.text.paths};
    if ((st = cbe_outputs_check_folder(&in.outputs, &err)) != CBE_OK) goto done;
    if (given.output) st = cbe_lens_eval_save(eval, &record, given.output, &err);
    if (st == CBE_OK) print_table(eval);
    if (st == CBE_OK) cbe_warn_of_changes(&progress.watch, &read);
done:
    cbe_lens_eval_free(eval);
    close_inputs(&in);
    cbe_inputs_free(&read);
    cli_free(&cli_lens_eval_command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
