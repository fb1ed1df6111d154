#include "cli/commands.h"

int cli_lens_eval(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return CLI_FAILED;
}
