/* lens.c - cbe lens: chooses the command for a tuned lens. */
#include <string.h>

#include "cli/commands.h"
#include "core/fail.h"

const cli_entry cli_lens_commands[] = {
    {"fit", "the affine lens of a model, in closed form", cli_lens_fit, &cli_lens_fit_command, NULL,
     false},
    {"train", "a lens trained to the model's own output", cli_lens_train, &cli_lens_train_command,
     NULL, false},
    {"eval", "how close a lens is to the model, layer by layer", cli_lens_eval,
     &cli_lens_eval_command, NULL, false},
    {"convert", "params.pt to params.safetensors, and back", cli_lens_convert,
     &cli_lens_convert_command, NULL, false},
    {NULL, NULL, NULL, NULL, NULL, false},
};

static void print_help(void)
{
    printf(
        "cbe lens - tuned lenses: x = h + A h + b for each layer, then the model's own decoder\n\n"
        "Usage: cbe lens COMMAND ...\n\nCommands:\n");
    cli_print_commands(cli_lens_commands);
    printf("\ncbe lens COMMAND --help documents each option.\n");
}

int cli_lens(int argc, char **argv)
{
    cbe_error err;
    if (argc >= 1) {
        const cli_entry *command = cli_find_command(cli_lens_commands, argv[0]);
        if (command) return command->run(argc - 1, argv + 1);
        if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
            print_help();
            return cli_finish_output();
        }
        cbe_fail(&err, CBE_ERR_ARG, -1,
                 "'%s' is not a command of cbe lens; cbe lens --help lists them", argv[0]);
    } else {
        cbe_fail(&err, CBE_ERR_ARG, -1,
                 "a command of cbe lens is missing; cbe lens --help lists them");
    }
    return cli_report(&err);
}
