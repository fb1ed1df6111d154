/* main.c - chooses the command. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "processes/processes.h"
#include "cli/commands.h"
#include "cli/surroundings.h"
#include "core/fail.h"
#include "processes/launcher.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
    /* several processes can share its work; of any other each would do the whole, and write the
     * same files */
    bool shared;
} commands[] = {
    {"extract", "causal bases of a model's layers", cli_extract, true},
    {"probe", "energies and gradients of given directions", cli_probe, false},
    {"ablate", "what removing a basis does to the model's output", cli_ablate, false},
    {"capture", "hidden states of a text, to a file", cli_capture, false},
    {"decoder", "final norm and unembedding of a model, to a file", cli_decoder, false},
    {"lens", "tuned lenses: fit, train, eval, convert", cli_lens, false},
    {"plan", "what an extraction will take: memory, time, network traffic", cli_plan, false},
    {"tokenize", "text to token ids, and back", cli_tokenize, false},
    {"info", "what a model, lens or tensor file holds", cli_info, false},
};

static void print_help(void)
{
    printf("cbe " CBE_VERSION " - causal basis extraction from language models\n\n"
           "Usage: cbe COMMAND ...\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\ncbe COMMAND --help documents each option. Exit status: 0 done, 1 the run failed,\n"
           "2 bad usage or bad input, 130 or 143 extract was stopped by SIGINT or SIGTERM.\n");
}

/* Launchers kill the other processes once one has ended with an error: none ends before rank 0 has
 * spoken. */
static int refuse_company(const char *command)
{
    cbe_error err;
    cbe_processes *all;
    cbe_processes_start(&all, &err);
    cbe_fail(&err, CBE_ERR_ARG, -1,
             "cbe %s runs in one process, %zu were started; only extract can share its work",
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
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (strcmp(argv[1], commands[i].name) == 0)
                return commands[i].shared || cbe_launcher_size() < 2
                           ? commands[i].run(argc - 2, argv + 2)
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
