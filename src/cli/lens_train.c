/* lens_train.c - cbe lens train: trains a lens to the model's own output. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lens/train.h"
#include "cli/commands.h"
#include "run/inputs.h"
#include "run/lens_folder.h"
#include "cli/arguments.h"
#include "run/options.h"
#include "run/outputs.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"

typedef struct {
    cbe_corpus corpus;
    const char *output, *init;
    int format, loss, start, optimizer;
    double rate, momentum, damping, ridge, positions, held_out;
    size_t step_tokens, held_out_tokens, checkpoint_steps;
    uint64_t seed;
    bool resume;
} train_options;

static const char checkpoint_name[] = "checkpoint.safetensors";
static const char *const starts[] = {"affine", "zero", NULL};
static const char *const optimizers[] = {"natural", "sgd", "adam", NULL};
_Static_assert(sizeof starts / sizeof *starts == CBE_N_STARTS,
               "in the order of the enum; the last one is --init");
_Static_assert(sizeof optimizers / sizeof *optimizers == CBE_N_OPTIMIZERS + 1,
               "in the order of the enum");

#define AT(field) offsetof(train_options, field)
/* clang-format off */
static const cbe_option options[] = {
    CBE_TEXT_OPTIONS(train_options, corpus, ""),
    {"output", 'o', OPT_STRING, AT(output), NULL, "FOLDER", "the lens folder to write, with train.csv and train.svg", NULL, 0},
    {"format", 0, OPT_CHOICE, AT(format), "pt", "NAME", "pt: params.pt, for PyTorch; safetensors: params.safetensors", cbe_lens_format_choices, 0},
    {"loss", 0, OPT_CHOICE, AT(loss), "kl", "KIND", "kl (to the model's own output) or ce (of the next token)", cbe_objective_choices, 0},
    {"start", 0, OPT_CHOICE, AT(start), "affine", "NAME", "affine (fitted on the same text) or zero (the logit lens)", starts, 0},
    {"init", 0, OPT_STRING, AT(init), NULL, "FOLDER", "a lens to begin with, instead of --start", NULL, 0},
    {"optimizer", 0, OPT_CHOICE, AT(optimizer), "natural", "NAME", "natural (preconditioned sgd), sgd (Nesterov momentum) or adam", optimizers, 0},
    {"rate", 0, OPT_NUMBER, AT(rate), "0", "R", "learning rate, falling linearly to 0; 0: 0.1, 1 or 0.001 by optimizer", NULL, CBE_BOUNDS(.low = 0, .high = CBE_MOST_NUMBER, .refusal = "--rate %s: a rate cannot be negative, nor above 1000000000")},
    {"momentum", 0, OPT_NUMBER, AT(momentum), "-1", "M", "of sgd; the first beta of adam; -1: 0.5, 0.9 or 0.9 by optimizer", NULL, CBE_BOUNDS(.low = 0, .high = 1, .below = true, .refusal = "the momentum must lie in 0 .. 1, below 1")},
    {"damping", 0, OPT_NUMBER, AT(damping), "30", "D", "natural: of the curvature, relative to its mean eigenvalue", NULL, CBE_BOUNDS(.low = 0, .high = CBE_MOST_NUMBER, .above = true)},
    {"ridge", 0, OPT_NUMBER, AT(ridge), "0.01", "R", "natural: of the covariance, relative to its diagonal", NULL, CBE_BOUNDS(.low = 0, .high = CBE_MOST_NUMBER, .above = true)},
    {"positions", 0, OPT_NUMBER, AT(positions), "0.2", "FRACTION", "of each sequence's positions, drawn at random, that are trained on; 1: all", NULL, CBE_BOUNDS(.low = 0, .high = 1, .above = true)},
    {"step-tokens", 0, OPT_COUNT, AT(step_tokens), "256", "N", "positions in one step", NULL, CBE_RANGE(1, CBE_MOST_STEPS)},
    {"held-out", 0, OPT_NUMBER, AT(held_out), "0.05", "FRACTION", "of the sequences, only measured on", NULL, CBE_BOUNDS(.low = 0, .high = 1, .above = true, .below = true, .refusal = "%s of the sequences cannot be held out: a share between 0 and 1 can")},
    {"held-out-tokens", 0, OPT_COUNT, AT(held_out_tokens), "512", "N", "of them that are measured, evenly spread", NULL, CBE_RANGE(1, CBE_MOST_TOKENS)},
    {"checkpoint-steps", 0, OPT_COUNT, AT(checkpoint_steps), "20", "N", "steps between checkpoints; 0: none", NULL, CBE_RANGE(0, CBE_MOST_STEPS)},
    {"resume", 0, OPT_FLAG, AT(resume), NULL, NULL, "go on from FOLDER/checkpoint.safetensors where there is one", NULL, 0},
    CBE_SEQUENCE_OPTIONS(train_options, corpus),
    {"seed", 0, OPT_SEED, AT(seed), "0", "N", "of the order of sequences and of the positions", NULL, 0},
    CBE_THREAD_OPTION(train_options, corpus),
    CBE_MEMORY_OPTION(train_options, corpus, "of which float32 weights may take half"),
    CBE_TALK_OPTIONS(train_options, corpus, "say more about inputs"),
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

const cli_command cli_lens_train_command = {
    "lens train",
    "MODEL (--text FILE... | --tokens FILE) -o FOLDER [options]",
    "a lens trained to the model's own output",
    "All layers are trained at once, from the affine lens, on some positions of each sequence "
    "(docs/tuned-lenses.md).\n"
    "Prints for each layer the loss on held-out tokens, in nats: of the logit lens, of the start "
    "and of the lens trained.\n"
    "FOLDER/checkpoint.safetensors lets an interrupted run go on with --resume, to the same "
    "result; it is removed at the end.",
    options,
    1,
    {AT(corpus.model)},
};

/* The opened inputs of a run. */
typedef struct {
    cbe_model *model;
    cbe_tokens tokens;
    cbe_tuned_lens *init;
    char *checkpoint;
    cbe_outputs outputs;
} train_inputs;

/* A checkpoint from which the run goes on is checked later, when it is read. */
static cbe_status declare_outputs(train_inputs *in, const train_options *given,
                                  cli_progress *progress, cbe_error *err)
{
    cbe_outputs *o = &in->outputs;
    cbe_path_kind there = CBE_PATH_NOTHING;
    cbe_outputs_begin(o);
    cbe_outputs_read_corpus(o, &given->corpus);
    cbe_outputs_read_lens(o, "--init", given->init);
    cbe_status st = cbe_outputs_write_lens(o, given->output, (cbe_lens_format)given->format, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, "train.csv", CBE_OWN_TRAIN_TABLE, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, "train.svg", CBE_OWN_CHART, err);
    if (st != CBE_OK || !given->checkpoint_steps) return st;
    if (!(in->checkpoint = cbe_path_join(given->output, checkpoint_name, err)))
        return CBE_ERR_NOMEM;
    if (given->resume) return cbe_outputs_write_any(o, checkpoint_name, err);
    if ((st = cbe_outputs_write(o, checkpoint_name, CBE_OWN_TRAIN_CHECKPOINT, err)) != CBE_OK)
        return st;
    if ((st = cbe_path_look(in->checkpoint, &there, err)) == CBE_OK && there != CBE_PATH_NOTHING)
        cli_warn(
            progress,
            "%s is of a run that was interrupted, and will be replaced: --resume goes on with it",
            in->checkpoint);
    return st;
}

static bool show_step(void *context, size_t step, size_t n_steps, size_t n_layers,
                      const double *losses)
{
    enum { EVERY = 20, TEXT = 256 };
    cli_progress *progress = context;
    char text[TEXT];
    size_t used = 0, first, last;
    const size_t groups = cbe_lens_training_group(n_layers, 0, &first, &last);
    for (size_t g = 0; g < groups; g++) {
        double sum = 0;
        cbe_lens_training_group(n_layers, g, &first, &last);
        for (size_t i = first; i <= last; i++) sum += losses[i];
        used += (size_t)snprintf(text + used, TEXT - used, "  %zu-%zu: %.3f", first, last,
                                 sum / (double)(last - first + 1));
    }
    cli_progress_release(progress);
    cli_status_line(progress, "step %zu of %zu, loss of layers%s", step, n_steps, text);
    if (!progress->terminal && (step % EVERY == 0 || step == n_steps))
        cli_say(progress, "step %zu of %zu, loss of layers%s", step, n_steps, text);
    return true;
}

static bool show_forward(void *context, size_t done, size_t total)
{
    cli_progress *progress = context;
    return cbe_watch_forward(&progress->watch, done, total);
}

static cbe_status open_inputs(train_inputs *in, const train_options *given, cli_progress *progress,
                              cbe_error *err)
{
    cbe_status st;
    if (!given->corpus.model || !given->output)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s is missing; usage: cbe lens train %s",
                        given->corpus.model ? "-o FOLDER" : "MODEL", cli_lens_train_command.usage);
    if (given->resume && !given->checkpoint_steps)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--resume needs checkpoints: leave out --checkpoint-steps 0");
    if ((st = declare_outputs(in, given, progress, err)) != CBE_OK) return st;
    if ((st = cbe_corpus_open_model(&in->model, &given->corpus, &progress->watch, err)) != CBE_OK)
        return st;
    const cbe_model_config *config = cbe_model_get_config(in->model);
    if (given->init) {
        st = cbe_open_lens_folder(&in->init, NULL, given->init, config->n_layers,
                                  cbe_model_decoder(in->model), given->corpus.model,
                                  given->corpus.inputs, &progress->watch, err);
        if (st != CBE_OK) return st;
    }
    return cbe_corpus_read_tokens(&in->tokens, in->model, &given->corpus, given->corpus.max_tokens,
                                  &progress->watch, err);
}

static void print_table(const cbe_lens_training *t)
{
    double logit = 0, start = 0, trained = 0;
    printf("layer  logit lens     start   trained\n");
    for (size_t i = 0; i < t->n_layers; i++) {
        printf("%5zu  %10.4f  %8.4f  %8.4f\n", i, t->logit[i], t->start[i], t->trained[i]);
        logit += t->logit[i] / (double)t->n_layers;
        start += t->start[i] / (double)t->n_layers;
        trained += t->trained[i] / (double)t->n_layers;
    }
    printf(" mean  %10.4f  %8.4f  %8.4f\n", logit, start, trained);
    printf("%zu steps of %zu positions of %zu sequences; measured on %zu tokens of %zu others\n",
           t->n_steps, t->step_tokens, t->n_sequences, t->n_measured, t->n_held_out);
}

int cli_lens_train(int argc, char **argv)
{
    train_options given = {0};
    train_inputs in = {0};
    cbe_inputs read = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help;
    cli_progress progress;
    cbe_tuned_lens *lens = NULL;
    cbe_tuned_lens_config *config = NULL;
    cbe_lens_training training = {0};

    if ((st = cli_parse(&cli_lens_train_command, argc, argv, &given, &help, &err)) != CBE_OK)
        goto done;
    if (help) {
        cli_print_help(&cli_lens_train_command);
        return cli_finish_output();
    }
    read.digests = given.checkpoint_steps > 0;
    given.corpus.inputs = &read;
    cli_progress_init(&progress, given.corpus.quiet, given.corpus.verbose);
    if ((st = cbe_use_threads(given.corpus.threads, &err)) != CBE_OK) goto done;
    if ((st = open_inputs(&in, &given, &progress, &err)) != CBE_OK) goto done;
    const cbe_lens_train_options run = {.loss = (cbe_loss)given.loss,
                                        .start =
                                            in.init ? CBE_START_GIVEN : (cbe_lens_start)given.start,
                                        .optimizer = (cbe_optimizer_kind)given.optimizer,
                                        .rate = given.rate,
                                        .momentum = given.momentum,
                                        .damping = given.damping,
                                        .ridge = given.ridge,
                                        .positions = given.positions,
                                        .step_tokens = given.step_tokens,
                                        .held_out = given.held_out,
                                        .held_out_tokens = given.held_out_tokens,
                                        .seed = given.seed,
                                        .inputs = &read,
                                        .checkpoint = in.checkpoint,
                                        .checkpoint_steps = given.checkpoint_steps,
                                        .resume = given.resume};
    const cbe_lens_train_hooks hooks = {show_forward, show_step, &progress};
    st = cbe_lens_train(&lens, &training, in.model, in.tokens.n_sequences, in.tokens.context_length,
                        in.tokens.ids, in.init, &run, &hooks, &err);
    cli_status_clear(&progress);
    if (st != CBE_OK) goto done;
    if (training.resumed_at) cli_say(&progress, "gone on from step %zu", training.resumed_at);
    if ((st = cbe_tuned_lens_config_create(&config, given.corpus.model, cbe_model_decoder(in.model),
                                           &err)) != CBE_OK)
        goto done;
    if ((st = cbe_outputs_check_folder(&in.outputs, &err)) != CBE_OK) goto done;
    if ((st = cbe_tuned_lens_save(lens, config, given.output, (cbe_lens_format)given.format,
                                  &err)) != CBE_OK)
        goto done;
    if ((st = cbe_lens_training_save(&training, given.output, &err)) != CBE_OK) goto done;
    if (in.checkpoint) unlink(in.checkpoint);
    cbe_warn_of_changes(&progress.watch, &read);
    print_table(&training);
    cli_say(&progress, "lens: %zu layers in %s/%s", training.n_layers, given.output,
            cbe_lens_format_file((cbe_lens_format)given.format));
done:
    cbe_lens_training_free(&training);
    cbe_tuned_lens_config_free(config);
    cbe_tuned_lens_free(lens);
    cbe_tuned_lens_free(in.init);
    cbe_free(in.checkpoint);
    cbe_tokens_free(&in.tokens);
    cbe_inputs_free(&read);
    cbe_model_close(in.model);
    cbe_outputs_end(&in.outputs);
    cli_free(&cli_lens_train_command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
