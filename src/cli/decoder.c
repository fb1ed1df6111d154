/* decoder.c - cbe decoder: writes a model's final norm and unembedding to a file. */
#include <string.h>

#include "model/model.h"
#include "cli/commands.h"
#include "cli/arguments.h"
#include "run/options.h"
#include "run/outputs.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/fail.h"

typedef struct {
    const char *model, *output;
} decoder_options;

#define AT(field) offsetof(decoder_options, field)
/* clang-format off */
static const cbe_option options[] = {
    {"output", 'o', OPT_STRING, AT(output), NULL, "FILE", "the safetensors file to write", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

const cli_command cli_decoder_command = {
    "decoder",
    "MODEL -o FILE",
    "final norm and unembedding of a model, to a file",
    "Writes norm.weight, norm.bias, unembedding.weight [V, d] and unembedding.bias, as far as the "
    "model has them,\n"
    "for cbe extract and cbe probe with --hidden-states.",
    options,
    1,
    {AT(model)},
};

int cli_decoder(int argc, char **argv)
{
    decoder_options given = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help;
    cli_progress progress;
    cbe_remarks remarks = {0};
    const cbe_model_options how = {.remarks = &remarks};
    cbe_model *model = NULL;
    cbe_outputs outputs = {0};

    if ((st = cli_parse(&cli_decoder_command, argc, argv, &given, &help, &err)) != CBE_OK)
        goto done;
    if (help) {
        cli_print_help(&cli_decoder_command);
        return cli_finish_output();
    }
    if (!given.model || !given.output) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "%s is missing; usage: cbe decoder %s",
                      given.model ? "-o FILE" : "MODEL", cli_decoder_command.usage);
        goto done;
    }
    cbe_outputs_begin(&outputs);
    cbe_outputs_read_model(&outputs, given.model);
    if ((st = cbe_outputs_write_file(&outputs, given.output, &err)) != CBE_OK) goto done;
    cli_progress_init(&progress, true, false);
    if ((st = cbe_model_open_with(&model, given.model, &how, &err)) != CBE_OK) goto done;
    cbe_warn_of_remarks(&progress.watch, &remarks);
    const cbe_decoder *decoder = cbe_model_decoder(model);
    if ((st = cbe_decoder_save(decoder, given.output, &err)) != CBE_OK) goto done;
    cli_line(stdout, "%s, hidden size %zu, vocabulary %zu in %s", cbe_norm_name(decoder->norm),
             decoder->hidden_size, decoder->vocab_size, given.output);
done:
    cbe_remarks_free(&remarks);
    cbe_model_close(model);
    cbe_outputs_end(&outputs);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
