/*
 * team.h - the processes of a run, and how its work is divided over them: layers over groups, and
 * in a group tokens.
 *
 * A run of one process has a team too, in which there is nothing to divide.
 */
#ifndef CBE_RUN_TEAM_H
#define CBE_RUN_TEAM_H

#include "model/decoder.h"
#include "processes/processes.h"
#include "run/corpus.h"

typedef struct {
    cbe_processes *all;   /* owned; NULL: one alone */
    cbe_processes *group; /* owned; NULL: tokens are not divided, or they are over all */
    size_t group_size;
} cbe_team;

/** What --divide says. */
typedef enum {
    CBE_DIVIDE_AUTO,
    CBE_DIVIDE_TOKENS,
    CBE_DIVIDE_LAYERS,
    CBE_DIVIDE_GROUPS
} cbe_divide_kind;

typedef struct {
    cbe_divide_kind kind;
    size_t n_groups; /* GROUPS */
} cbe_divide;

cbe_status cbe_parse_divide(cbe_divide *out, const char *text, cbe_error *err);

/** Joins the others; of what the machine has, threads and memory that were not asked for become the
 * process's share. */
cbe_status cbe_team_start(cbe_team *team, cbe_corpus *corpus, cbe_error *err);
/** Leaves. All have the exit status of rank 0 then, which is returned. */
int cbe_team_end(cbe_team *team, int status);
/** Whether the process is the one that speaks, and writes. */
bool cbe_team_speaks(const cbe_team *team);
/** Whether it searches: rank 0 of its group. */
bool cbe_team_searches(const cbe_team *team);
/** Those that a layer's tokens are divided over; NULL: not divided. */
cbe_processes *cbe_team_tokens(const cbe_team *team);

/** What a run has to divide. */
typedef struct {
    cbe_divide how;
    size_t n_layers, n_sequences, context_length;
    const cbe_decoder *decoder;
    size_t memory; /* bytes that a process may use for the objective; 0: not known */
} cbe_team_work;

/** Makes the groups. auto: as many as there are layers and processes for, of processes that have
 * room for the logits of a layer in float32 together.
 * @return CBE_OK; CBE_ERR_ARG (a division that cannot be made) */
cbe_status cbe_team_divide(cbe_team *team, const cbe_team_work *work, cbe_error *err);
/** The process's own sequences: *n from *first on. */
void cbe_team_share(const cbe_team *team, size_t n_sequences, size_t *first, size_t *n);

#endif
