/* lens_convert.c - cbe lens convert: writes a lens folder's parameters in the other format. */
#include "lens/tuned_lens.h"
#include "cli/commands.h"
#include "cli/arguments.h"
#include "run/options.h"
#include "run/outputs.h"
#include "cli/print.h"
#include "core/fail.h"

typedef struct {
    const char *lens, *output;
    int format;
} convert_options;

static const char *const formats[] = {"other", "pt", "safetensors", NULL};
_Static_assert(sizeof formats / sizeof *formats == CBE_N_LENS_FORMATS + 2,
               "those of the library, and the other one");

#define AT(field) offsetof(convert_options, field)
/* clang-format off */
static const cbe_option options[] = {
    {"output", 'o', OPT_STRING, AT(output), NULL, "FOLDER", "the lens folder to write", NULL, 0},
    {"format", 0, OPT_CHOICE, AT(format), "other", "NAME", "pt: params.pt, for PyTorch; safetensors: params.safetensors; other: the one that LENS is not in", formats, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

const cli_command cli_lens_convert_command = {
    "lens convert",
    "LENS -o FOLDER [--format pt|safetensors]",
    "params.pt to params.safetensors, and back",
    "LENS is a folder with config.json and params.pt or params.safetensors. What is written is "
    "float32, with every key\n"
    "of config.json. Nothing in params.pt is executed: a file that holds more than the tensors of "
    "a lens is refused.",
    options,
    1,
    {AT(lens)},
};

int cli_lens_convert(int argc, char **argv)
{
    convert_options given = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help;
    cbe_lens_format from;
    cbe_outputs outputs = {0};
    cbe_tuned_lens *lens = NULL;
    cbe_tuned_lens_config *config = NULL;

    if ((st = cli_parse(&cli_lens_convert_command, argc, argv, &given, &help, &err)) != CBE_OK)
        goto done;
    if (help) {
        cli_print_help(&cli_lens_convert_command);
        return cli_finish_output();
    }
    if (!given.lens || !given.output) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "%s is missing; usage: cbe lens convert %s",
                      given.lens ? "-o FOLDER" : "LENS", cli_lens_convert_command.usage);
        goto done;
    }
    if ((st = cbe_tuned_lens_find(given.lens, &from, &err)) != CBE_OK) goto done;
    const cbe_lens_format to = given.format > 0      ? (cbe_lens_format)(given.format - 1)
                               : from == CBE_LENS_PT ? CBE_LENS_SAFETENSORS
                                                     : CBE_LENS_PT;
    cbe_outputs_begin(&outputs);
    cbe_outputs_read_lens(&outputs, "LENS", given.lens);
    if ((st = cbe_outputs_write_lens(&outputs, given.output, to, &err)) != CBE_OK) goto done;
    if ((st = cbe_tuned_lens_load(&lens, &config, given.lens, NULL, &err)) != CBE_OK) goto done;
    if ((st = cbe_tuned_lens_save(lens, config, given.output, to, &err)) != CBE_OK) goto done;
    cli_line(stdout, "%zu layers of hidden size %zu in %s/%s", lens->n_layers, lens->hidden_size,
             given.output, cbe_lens_format_file(to));
done:
    cbe_tuned_lens_config_free(config);
    cbe_tuned_lens_free(lens);
    cbe_outputs_end(&outputs);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
