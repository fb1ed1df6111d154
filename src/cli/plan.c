/* plan.c - cbe plan: tells memory, time and network traffic of an extraction before it runs. */
#include "plan/plan.h"

#include <omp.h>
#include <stdio.h>

#include "cli/commands.h"
#include "run/inputs.h"
#include "cli/arguments.h"
#include "run/options.h"
#include "cli/print.h"
#include "run/team.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

typedef struct {
    const char *model, *divide;
    size_t tokens, vectors, context_length, processes, nodes, threads, memory;
    cbe_ranges layers;
    double bandwidth, latency;
} plan_options;

#define AT(field) offsetof(plan_options, field)
/* clang-format off */
static const cbe_option options[] = {
    {"tokens", 0, OPT_COUNT, AT(tokens), NULL, "N", "tokens of the run", NULL, CBE_RANGE(1, CBE_MOST_TOKENS)},
    {"vectors", 'k', OPT_COUNT, AT(vectors), "4", "K", "vectors of each layer", NULL, CBE_RANGE(1, CBE_MOST_COUNT)},
    {"layers", 'l', OPT_LAYERS, AT(layers), "all", "LIST", "layers, as in 0-29,31, or all", NULL, 0},
    {"context-length", 0, OPT_COUNT, AT(context_length), "256", "S", "tokens in one sequence", NULL, CBE_RANGE(1, CBE_MOST_CONTEXT)},
    {"processes", 'p', OPT_COUNT, AT(processes), "1", "P", "processes of the run", NULL, CBE_RANGE(1, CBE_MOST_COUNT)},
    {"nodes", 0, OPT_COUNT, AT(nodes), "1", "M", "machines that they run on; 1: what travels between processes takes no time", NULL, CBE_RANGE(1, CBE_MOST_COUNT)},
    {"threads", 't', OPT_COUNT, AT(threads), "0", "T", "threads of a process; 0: the cores of this machine, divided over the processes of a node", NULL, CBE_RANGE(0, CBE_MOST_THREADS)},
    {"divide", 0, OPT_STRING, AT(divide), "auto", "HOW", "as in cbe extract: auto, layers, tokens, or a number of groups", NULL, 0},
    {"memory", 0, OPT_SIZE, AT(memory), NULL, "SIZE", "memory that a process may use, as in 500M or 4G; not given: as much as it takes", NULL, 0},
    {"bandwidth", 0, OPT_NUMBER, AT(bandwidth), "10", "GB/S", "of the network between nodes, for each process", NULL, CBE_BOUNDS(.low = 0, .high = CBE_MOST_NUMBER, .above = true)},
    {"latency", 0, OPT_NUMBER, AT(latency), "5", "US", "of the network, in microseconds", NULL, CBE_RANGE(0, CBE_MOST_NUMBER)},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

const cli_command cli_plan_command = {
    "plan",
    "MODEL --tokens N [options]",
    "what an extraction will take: memory, time, network traffic",
    "For cbe extract with a lens and the default search. MODEL is a .gguf file, a Hugging Face "
    "folder, or a config.json alone.\n"
    "Measures this machine for some seconds with numbers of the model's shape; for other numbers "
    "of threads rates are scaled\n"
    "(docs/scaling.md has how far off the model was).",
    options,
    1,
    {AT(model)},
};

static void print_size(const char *what, size_t bytes, const char *more)
{
    printf("  %-22s %10.3f GB%s\n", what, 1e-9 * (double)bytes, more);
}

static void print_time(const char *what, double seconds)
{
    printf("  %-22s %10.1f s\n", what, seconds);
}

static void print_plan(const cbe_plan_run *run, const cbe_plan_rates *r, const cbe_plan *plan)
{
    char kept[64];
    cli_line(stdout, "model: %s, %zu blocks, hidden size %zu, vocabulary %zu",
             run->model.architecture, run->model.n_layers, run->model.hidden_size,
             run->model.vocab_size);
    printf("run: %zu tokens, %zu layers, %zu vectors each\n", run->n_tokens, run->n_layers,
           run->n_vectors);
    printf("processes: %zu of %zu thread%s on %zu node%s: %zu group%s with layers of %s own, of "
           "%zu that divide%s the tokens\n",
           run->n_processes, run->threads, run->threads == 1 ? "" : "s", run->n_machines,
           run->n_machines == 1 ? "" : "s", plan->n_groups, plan->n_groups == 1 ? "" : "s",
           plan->n_groups == 1 ? "its" : "their", plan->group_size,
           plan->group_size == 1 ? "s" : "");
    printf("measured here with %zu thread%s: products %.1f GFLOP/s; an evaluation with gradient "
           "%.3f ns a token, vocabulary entry and "
           "direction, %.3f in a batch\n",
           r->threads, r->threads == 1 ? "" : "s", 2e-9 / r->multiply, 1e9 * r->one, 1e9 * r->many);
    snprintf(kept, sizeof kept, " (logits as %s)", plan->logits);
    printf("\nmemory of a process, at most:\n");
    print_size("program, BLAS", plan->program, "");
    print_size("model", plan->weights, "");
    print_size("hidden states", plan->states, "");
    print_size("objective", plan->objective, kept);
    print_size("covariance", plan->covariance, "");
    print_size("search", plan->search, "");
    print_size("together", plan->memory, "");
    printf("\ntime:\n");
    print_time("forward pass", plan->forward);
    print_time("setting layers", plan->set);
    print_time("search", plan->search_time);
    print_time("reports of vectors", plan->report);
    print_time("network", plan->network_time);
    print_time("together", plan->seconds);
    printf("\nnetwork: %.3f GB to and from a process%s\n", 1e-9 * plan->sent,
           plan->group_size > 1 ? ""
           : plan->sent > 0     ? " (hidden states, before the search; then only results travel)"
                                : " (layers are divided, and only results travel)");
}

/* Chooses the layers that are asked for among the layers of the model. */
static cbe_status count_layers(const plan_options *given, cbe_plan_run *run, cbe_error *err)
{
    size_t *layers = NULL;
    const cbe_status st =
        cbe_choose_layers(&given->layers, run->model.n_layers, &layers, &run->n_layers, err);
    cbe_free(layers);
    return st;
}

static cbe_status make_run(const plan_options *given, cbe_plan_run *run, cbe_error *err)
{
    cbe_divide divide;
    cbe_status st = cbe_parse_divide(&divide, given->divide, err);
    if (st != CBE_OK) return st;
    if (!given->model)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "MODEL is missing: name a .gguf file, a model folder or a config.json "
                        "before the options");
    if (given->tokens < 2)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "--tokens N is missing, or too small: how many tokens shall the run be on?");
    if (given->nodes > given->processes)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--nodes %zu: there are only %zu processes to run on them", given->nodes,
                        given->processes);
    const size_t cores = (size_t)omp_get_max_threads(),
                 here = (given->processes + given->nodes - 1) / given->nodes;
    *run = (cbe_plan_run){.n_tokens = given->tokens,
                          .context_length = given->context_length,
                          .n_vectors = given->vectors,
                          .n_processes = given->processes,
                          .n_machines = given->nodes,
                          .threads = given->threads ? given->threads
                                     : cores > here ? cores / here
                                                    : 1,
                          .memory = given->memory,
                          .bandwidth = 1e9 * given->bandwidth,
                          .latency = 1e-6 * given->latency};
    if ((st = cbe_model_read_config(&run->model, &run->file_bytes, given->model, err)) != CBE_OK)
        return st;
    if (given->vectors > run->model.hidden_size)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "-k %zu: a basis of %zu dimensions has at most %zu vectors", given->vectors,
                        run->model.hidden_size, run->model.hidden_size);
    if ((st = count_layers(given, run, err)) != CBE_OK) return st;
    if (divide.kind == CBE_DIVIDE_TOKENS) run->n_groups = 1;
    if (divide.kind == CBE_DIVIDE_GROUPS) run->n_groups = divide.n_groups;
    if (divide.kind == CBE_DIVIDE_LAYERS)
        for (run->n_groups = cbe_min_size(run->n_layers, run->n_processes);
             run->n_processes % run->n_groups != 0;)
            run->n_groups--;
    return CBE_OK;
}

int cli_plan(int argc, char **argv)
{
    plan_options given = {0};
    cbe_plan_run run;
    cbe_plan_rates rates;
    cbe_plan plan;
    cbe_error err = {0};
    bool help;
    cbe_status st = cli_parse(&cli_plan_command, argc, argv, &given, &help, &err);
    if (st == CBE_OK && help) {
        cli_print_help(&cli_plan_command);
        return cli_finish_output();
    }
    if (st == CBE_OK) st = make_run(&given, &run, &err);
    if (st == CBE_OK) st = cbe_use_threads(0, &err);
    if (st == CBE_OK)
        st = cbe_plan_measure(&rates, run.model.hidden_size, run.model.vocab_size, &err);
    if (st == CBE_OK) st = cbe_plan_make(&plan, &run, &rates, &err);
    if (st == CBE_OK) print_plan(&run, &rates, &plan);
    cli_free(&cli_plan_command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
