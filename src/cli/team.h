/*
 * team.h - the processes of a run, and how its work is divided over them: layers over groups, and
 * in a group tokens.
 *
 * A run of one process has a team too, in which there is nothing to divide.
 */
#ifndef CBE_CLI_TEAM_H
#define CBE_CLI_TEAM_H

#include "model/decoder.h"
#include "processes/processes.h"
#include "cli/corpus.h"

typedef struct {
    cbe_processes *all;   /* owned; NULL: one alone */
    cbe_processes *group; /* owned; NULL: tokens are not divided, or they are over all */
    size_t group_size;
} cli_team;

/** What --divide says. */
typedef enum {
    CLI_DIVIDE_AUTO,
    CLI_DIVIDE_TOKENS,
    CLI_DIVIDE_LAYERS,
    CLI_DIVIDE_GROUPS
} cli_divide_kind;

typedef struct {
    cli_divide_kind kind;
    size_t n_groups; /* GROUPS */
} cli_divide;

cbe_status cli_parse_divide(cli_divide *out, const char *text, cbe_error *err);

/** Joins the others; of what the machine has, threads and memory that were not asked for become the
 * process's share. */
cbe_status cli_team_start(cli_team *team, cli_corpus *corpus, cbe_error *err);
/** Leaves. All have the exit status of rank 0 then, which is returned. */
int cli_team_end(cli_team *team, int status);
/** Whether the process is the one that speaks, and writes. */
bool cli_team_speaks(const cli_team *team);
/** Whether it searches: rank 0 of its group. */
bool cli_team_searches(const cli_team *team);
/** Those that a layer's tokens are divided over; NULL: not divided. */
cbe_processes *cli_team_tokens(const cli_team *team);

/** What a run has to divide. */
typedef struct {
    cli_divide how;
    size_t n_layers, n_sequences, context_length;
    const cbe_decoder *decoder;
    size_t memory; /* bytes that a process may use for the objective; 0: not known */
} cli_work;

/** Makes the groups. auto: as many as there are layers and processes for, of processes that have
 * room for the logits of a layer in float32 together.
 * @return CBE_OK; CBE_ERR_ARG (a division that cannot be made) */
cbe_status cli_team_divide(cli_team *team, const cli_work *work, cbe_error *err);
/** The process's own sequences: *n from *first on. */
void cli_team_share(const cli_team *team, size_t n_sequences, size_t *first, size_t *n);

#endif
