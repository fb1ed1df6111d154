/* run_model.c - see run_model.h. */
#include "run/capture.h"

#include <string.h>

#include "run/memory.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"

/* Which hidden_states.i are wanted: (L + 1) each. */
typedef struct {
    bool *own, *all; /* by this process; by any */
    size_t n_own, n_all;
} layer_choice;

static cbe_status choose(layer_choice *choice, const cbe_run_inputs *in, bool to_end,
                         cbe_error *err)
{
    const size_t last = cbe_model_get_config(in->model)->n_layers;
    *choice = (layer_choice){cbe_alloc_zero(last + 1, sizeof(bool), "layers", err),
                             cbe_alloc_zero(last + 1, sizeof(bool), "layers", err), 0, 0};
    if (!choice->own || !choice->all) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < in->n_layers; i++) {
        const size_t state = cbe_site_state(in->options.site, in->layers[i]);
        choice->all[state] = true;
        if (cbe_layer_is_own(&in->options, i)) choice->own[state] = true;
    }
    if (to_end) choice->own[last] = choice->all[last] = true;
    for (size_t i = 0; i <= last; i++) {
        choice->n_own += choice->own[i];
        choice->n_all += choice->all[i];
    }
    return CBE_OK;
}

static double bytes_of(const cbe_run_inputs *in, size_t n_sequences, size_t context_length,
                       size_t n_states)
{
    return (double)n_sequences * (double)context_length * (double)n_states *
           (double)in->decoder->hidden_size * sizeof(float);
}

/* Hidden states may take half of what is left. */
static bool has_room(const cbe_run_inputs *in, double bytes)
{
    const size_t used = cbe_memory_in_use(), left = in->memory > used ? in->memory - used : 0;
    return in->memory == 0 || bytes <= (double)left / 2;
}

/* The folder of hidden states that memory has no room for: that of the result. */
static cbe_status spill_folder(char **out, const char *output, cbe_error *err)
{
    cbe_path_kind kind;
    char *target = NULL;
    cbe_status st = cbe_path_look(output, &kind, err);
    if (st != CBE_OK) return st;
    if (kind == CBE_PATH_FOLDER)
        return (*out = cbe_copy_string(output, strlen(output), err)) ? CBE_OK : CBE_ERR_NOMEM;
    if ((st = cbe_path_resolve(&target, output, err)) != CBE_OK) return st;
    if (!(*out = cbe_path_folder_of(target, err))) st = CBE_ERR_NOMEM;
    cbe_free(target);
    return st;
}

/* The process runs all of its own sequences. What memory has no room for goes to a file that is
 * mapped and has no name. */
static cbe_status run_alone(cbe_run_inputs *in, const cbe_run_settings *run, const cbe_tokens *own,
                            const layer_choice *choice, cbe_watch *watch, cbe_error *err)
{
    const double bytes = bytes_of(in, own->n_sequences, own->context_length, choice->n_own);
    if (has_room(in, bytes))
        return cbe_hidden_states_capture(&in->own_states, in->model, own, choice->own,
                                         cbe_watch_forward, watch, err);
    if (!run->output)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "hidden states of %zu layers, %.2f GB, do not fit memory; give " CBE_TERM(
                            "-o", "output") " FOLDER, "
                                            "and they go to a file there, or "
                                            "fewer layers or tokens",
                        choice->n_own, 1e-9 * bytes);
    char *folder = NULL;
    cbe_status st = spill_folder(&folder, run->output, err);
    if (st != CBE_OK) return st;
    cbe_note(watch, "memory: hidden states of %zu layers, %.2f GB, go to a file beside the result",
             choice->n_own, 1e-9 * bytes);
    st = cbe_hidden_states_spill(&in->own_states, folder, in->model, own, choice->own,
                                 cbe_watch_forward, watch, err);
    cbe_free(folder);
    return st;
}

/* Whether the run's processes share its sequences out, each for the layers of all: it must be worth
 * while, the same to the last bit, and fit the memory of all, beside what each has at the end. All
 * get the same answer. */
static bool is_shared(const cbe_run_inputs *in, const cbe_run_settings *run,
                      const cbe_tokens *tokens, size_t n_own_sequences, const layer_choice *choice)
{
    enum { TRAVELLING = 2 }; /* copies of a layer on its way */
    const size_t size = cbe_processes_size(run->team->all), s = tokens->context_length;
    if (cbe_processes_size(in->options.processes) == size || tokens->n_sequences < size ||
        !cbe_forward_is_by_sequence(s))
        return false;
    const size_t share = (tokens->n_sequences + size - 1) / size;
    const double part = bytes_of(in, share, s, choice->n_all + TRAVELLING),
                 own = bytes_of(in, n_own_sequences, s, choice->n_own + TRAVELLING);
    double without_room = !has_room(in, part + own);
    cbe_processes_sum(run->team->all, 1, &without_room);
    return without_room == 0;
}

/* @param own    of the process, from sequence `from` of the run on */
static cbe_status run_together(cbe_run_inputs *in, const cbe_run_settings *run,
                               const cbe_tokens *tokens, const cbe_tokens *own, size_t from,
                               const layer_choice *choice, cbe_watch *watch, cbe_error *err)
{
    const cbe_processes *all = run->team->all;
    const size_t size = cbe_processes_size(all), rank = cbe_processes_rank(all),
                 s = tokens->context_length;
    size_t *first = cbe_alloc(size + 1, sizeof *first, "shares", err);
    cbe_status st = first ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        for (size_t r = 0; r <= size; r++) first[r] = tokens->n_sequences * r / size;
        const cbe_tokens part = {.n_sequences = first[rank + 1] - first[rank],
                                 .context_length = s,
                                 .ids = tokens->ids + first[rank] * s};
        st = cbe_hidden_states_capture(&in->own_states, in->model, &part, choice->all,
                                       cbe_watch_forward, watch, err);
    }
    if ((st = cbe_processes_agree(all, st, err)) == CBE_OK)
        st = cbe_hidden_states_trade(in->own_states, all, first, own, from, choice->own, err);
    cbe_free(first);
    return st;
}

cbe_status cbe_run_capture(cbe_run_inputs *in, const cbe_run_settings *run,
                           const cbe_tokens *tokens, bool to_end, cbe_watch *watch, cbe_error *err)
{
    layer_choice choice;
    size_t first;
    const size_t n = tokens->n_sequences * tokens->context_length;
    cbe_tokens own = {.context_length = tokens->context_length};
    cbe_team_share(run->team, tokens->n_sequences, &first, &own.n_sequences);
    own.ids = tokens->ids + first * tokens->context_length;
    cbe_status st = choose(&choice, in, to_end, err);
    if (own.n_sequences == tokens->n_sequences)
        own.derangement = tokens->derangement;
    else if (st == CBE_OK && tokens->derangement &&
             !(in->derangement = cbe_alloc(n, sizeof *in->derangement, "derangement", err)))
        st = CBE_ERR_NOMEM;
    if (in->derangement) memcpy(in->derangement, tokens->derangement, n * sizeof *in->derangement);
    if ((st = cbe_processes_agree(run->team->all, st, err)) == CBE_OK)
        st = is_shared(in, run, tokens, own.n_sequences, &choice)
                 ? run_together(in, run, tokens, &own, first, &choice, watch, err)
                 : run_alone(in, run, &own, &choice, watch, err);
    in->states = in->own_states;
    cbe_free(choice.own);
    cbe_free(choice.all);
    return st;
}
