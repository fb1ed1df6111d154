/* main.c - starts the command that the first argument names. */
#include <stdio.h>
#include <string.h>

#include "processes/processes.h"
#include "cli/commands.h"
#include "cli/surroundings.h"
#include "core/fail.h"
#include "processes/launcher.h"

static void print_help(void)
{
    printf("cbe " CBE_VERSION " - causal basis extraction from language models\n\n"
           "Usage: cbe COMMAND ...\n\nCommands:\n");
    cli_print_commands(cli_commands);
    printf("\ncbe COMMAND --help documents each option. Exit status: 0 done, 1 the run failed,\n"
           "2 bad usage or bad input, 130 or 143 stopped by SIGINT or SIGTERM.\n");
}

/* Refuses several processes. A launcher kills all of them once one has ended with an error, so each
 * waits until rank 0 has written its line. */
static int refuse_company(const char *command)
{
    cbe_error err;
    cbe_processes *all;
    cbe_processes_start(&all, &err);
    cbe_fail(&err, CBE_ERR_ARG, -1,
             "cbe %s runs in one process, %zu were started; only extract and spectrum can share "
             "their work",
             command, cbe_launcher_size());
    const int status = cbe_launcher_rank() == 0 ? cli_report(&err) : CLI_BAD_INPUT;
    cbe_processes_barrier(all);
    cbe_processes_end(all);
    return status;
}

int main(int argc, char **argv)
{
    if (cli_open_standard_descriptors() != 0) return CLI_FAILED;
    cli_handle_signals();
    cli_limit_threads();
    if (argc >= 2) {
        const cli_entry *command = cli_find_command(cli_commands, argv[1]);
        if (command)
            return command->shared || cbe_launcher_size() < 2 ? command->run(argc - 2, argv + 2)
                                                              : refuse_company(argv[1]);
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
            strcmp(argv[1], "help") == 0) {
            print_help();
            return cli_finish_output();
        }
        if (strcmp(argv[1], "--version") == 0) {
            printf("cbe " CBE_VERSION "\n");
            return cli_finish_output();
        }
        cbe_error err;
        cbe_fail(&err, CBE_ERR_ARG, -1, "'%s' is not a command; cbe --help lists them", argv[1]);
        return cli_report(&err);
    }
    fprintf(stderr, "cbe: a command is missing; cbe --help lists them\n");
    return CLI_BAD_INPUT;
}
