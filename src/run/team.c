/* team.c - see team.h. */
#include "run/team.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "covariance/covariance.h"
#include "objective/lens/objective.h"
#include "run/memory.h"
#include "core/fail.h"
#include "core/sizes.h"

cbe_status cbe_parse_divide(cbe_divide *out, const char *text, cbe_error *err)
{
    static const char *const kinds[] = {"auto", "tokens", "layers"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(text, kinds[i]) == 0) {
            *out = (cbe_divide){(cbe_divide_kind)i, 0};
            return CBE_OK;
        }
    char *end;
    const unsigned long long n = *text >= '1' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (n == 0 || *end || n > 1000000)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION(
                "divide") " %s: give auto, tokens, layers, or a number of groups of processes",
            text);
    *out = (cbe_divide){CBE_DIVIDE_GROUPS, (size_t)n};
    return CBE_OK;
}

cbe_status cbe_team_start(cbe_team *team, cbe_corpus *corpus, cbe_error *err)
{
    const cbe_status st = cbe_processes_start(&team->all, err);
    team->group_size = 1;
    const size_t here = cbe_processes_on_machine(team->all);
    if (st != CBE_OK || here < 2) return st;
    if (!corpus->threads && !getenv("OMP_NUM_THREADS")) {
        /* A launcher that binds each to cores of its own has divided them; one that does not has
         * not. */
        const long cores = sysconf(_SC_NPROCESSORS_ONLN);
        const size_t share = cbe_max_size(cores > 0 ? (size_t)cores / here : 1, 1);
        corpus->threads = cbe_min_size(share, (size_t)omp_get_num_procs());
    }
    if (!corpus->memory) corpus->memory = cbe_memory_available() / 10 * 7 / here;
    return CBE_OK;
}

int cbe_team_end(cbe_team *team, int status)
{
    int all = status;
    cbe_processes_broadcast(team->all, sizeof all, &all);
    cbe_processes_free(team->group);
    cbe_processes_end(team->all);
    *team = (cbe_team){0};
    return all;
}

bool cbe_team_speaks(const cbe_team *team)
{
    return cbe_processes_rank(team->all) == 0;
}

cbe_processes *cbe_team_tokens(const cbe_team *team)
{
    if (team->group_size == 1) return NULL;
    return team->group ? team->group : team->all;
}

bool cbe_team_searches(const cbe_team *team)
{
    return cbe_processes_rank(cbe_team_tokens(team)) == 0;
}

/* Bytes of a process's objective, with the logits of its share as float32, and of a layer's
 * covariance. */
static size_t objective_bytes(const cbe_team_work *work, size_t group_size)
{
    const size_t sequences = (work->n_sequences + group_size - 1) / group_size;
    const cbe_lens_options lens = {.n_tokens = sequences * work->context_length, .max_batch = 8};
    size_t bytes = cbe_lens_objective_bytes(work->decoder, &lens);
    return cbe_add_size(bytes, cbe_covariance_bytes(work->decoder->hidden_size), &bytes) ? bytes
                                                                                         : SIZE_MAX;
}

/* Size of the groups, as rank 0 sees it. */
static cbe_status choose_size(const cbe_team_work *work, size_t n, size_t *size, cbe_error *err)
{
    const size_t groups = work->how.n_groups;
    if (work->how.kind == CBE_DIVIDE_GROUPS && n % groups != 0)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION("divide") " %zu: %zu processes do not make groups of the same size", groups,
            n);
    if (work->how.kind == CBE_DIVIDE_GROUPS && groups > work->n_layers)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("divide") " %zu: there are only %zu layers to divide", groups,
                        work->n_layers);
    if (work->how.kind == CBE_DIVIDE_GROUPS) *size = n / groups;
    if (work->how.kind == CBE_DIVIDE_TOKENS) *size = n;
    if (work->how.kind == CBE_DIVIDE_AUTO || work->how.kind == CBE_DIVIDE_LAYERS) {
        const bool room = work->how.kind == CBE_DIVIDE_AUTO && work->memory;
        *size = 0;
        for (size_t s = 1; s <= n; s++) {
            if (n % s != 0 || n / s > work->n_layers || s > work->n_sequences) continue;
            *size = s;
            if (!room || objective_bytes(work, s) <= work->memory) break;
        }
        if (*size == 0) *size = n;
    }
    if (*size > work->n_sequences)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu processes for %zu layer%s of %zu sequence%s: a process takes whole "
                        "sequences; start fewer",
                        n, work->n_layers, work->n_layers == 1 ? "" : "s", work->n_sequences,
                        work->n_sequences == 1 ? "" : "s");
    return CBE_OK;
}

cbe_status cbe_team_divide(cbe_team *team, const cbe_team_work *work, cbe_error *err)
{
    const size_t n = cbe_processes_size(team->all);
    if (n == 1) return CBE_OK;
    cbe_status st =
        cbe_processes_rank(team->all) == 0 ? choose_size(work, n, &team->group_size, err) : CBE_OK;
    if ((st = cbe_processes_agree(team->all, st, err)) != CBE_OK) return st;
    cbe_processes_broadcast(team->all, sizeof team->group_size, &team->group_size);
    if (team->group_size == 1 || team->group_size == n) return CBE_OK;
    return cbe_processes_split(&team->group, team->all, team->group_size, err);
}

void cbe_team_share(const cbe_team *team, size_t n_sequences, size_t *first, size_t *n)
{
    const size_t size = team->group_size, rank = cbe_processes_rank(cbe_team_tokens(team));
    *first = n_sequences * rank / size;
    *n = n_sequences * (rank + 1) / size - *first;
}
