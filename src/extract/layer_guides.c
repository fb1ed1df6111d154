/* layer_guides.c - see layer_guides.h. */
#include "extract/layer_guides.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "extract/layer_objective_state.h"
#include "search/rules.h"

typedef struct {
    size_t layer, state;
    double *rows; /* (m, d), owned */
    double *mean; /* (d), owned */
    cbe_search_guide guide;
} layer_guide;

struct cbe_layer_guides {
    size_t n;
    layer_guide *list;    /* (n) */
    layer_guide **places; /* (L + 1): the guide of each state, or NULL */
};

void cbe_layer_guides_free(cbe_layer_guides *g)
{
    if (!g) return;
    for (size_t i = 0; g->list && i < g->n; i++) {
        cbe_apart_free(g->list[i].guide.apart);
        cbe_free(g->list[i].rows);
        cbe_free(g->list[i].mean);
    }
    cbe_free(g->list);
    cbe_free(g->places);
    cbe_free(g);
}

const cbe_search_guide *cbe_layer_guides_get(const cbe_layer_guides *g, size_t layer)
{
    for (size_t i = 0; g && i < g->n; i++)
        if (g->list[i].layer == layer) return &g->list[i].guide;
    return NULL;
}

bool cbe_layer_guides_wanted(const cbe_layer_objective *o, const cbe_extraction_options *options)
{
    return o->model && options->search.preset == CBE_PRESET_DEFAULT &&
           cbe_hidden_states_ids(o->states);
}

/* The sequences that labels are drawn for. */
typedef struct {
    size_t n;     /* of all processes */
    size_t first; /* index of this process's first one among them */
    size_t n_own;
    size_t *own;  /* (n_own): index among the sequences of this process */
    int64_t *ids; /* (n_own, S) */
} chosen;

static void free_chosen(chosen *c)
{
    cbe_free(c->own);
    cbe_free(c->ids);
}

/* n of the searched sequences, evenly spread. */
static cbe_status choose(chosen *c, const cbe_layer_objective *o, size_t n, cbe_error *err)
{
    const size_t length = cbe_hidden_states_context_length(o->states),
                 own = cbe_hidden_states_n_sequences(o->states),
                 searched = o->sequences.n - o->sequences.n_held_out;
    const int64_t *ids = cbe_hidden_states_ids(o->states);
    *c = (chosen){.n = n,
                  .own = cbe_alloc(own, sizeof *c->own, "sequences", err),
                  .ids = cbe_alloc(cbe_times(own, length, 1), sizeof *c->ids, "token ids", err)};
    if (!c->own || !c->ids) return CBE_ERR_NOMEM;
    for (size_t s = 0, rank = 0, taken = 0; s < o->sequences.n; s++) {
        if (o->sequences.held_out[s]) continue;
        const bool is_taken = taken < n && rank == taken * searched / n;
        rank++;
        if (!is_taken) continue;
        taken++;
        if (s < o->first_sequence) c->first++;
        if (s < o->first_sequence || s - o->first_sequence >= own) continue;
        const size_t at = s - o->first_sequence;
        memcpy(c->ids + c->n_own * length, ids + at * length, length * sizeof *ids);
        c->own[c->n_own++] = at;
    }
    return CBE_OK;
}

static cbe_apart_options apart_options(const cbe_layer_objective *o, size_t m, const chosen *c)
{
    return (cbe_apart_options){.hidden_size = cbe_hidden_states_hidden_size(o->states),
                               .m = m,
                               .context_length = cbe_hidden_states_context_length(o->states),
                               .skip_positions = o->skip,
                               .first_sequence = c->first,
                               .n_sequences = c->n_own,
                               .all_sequences = c->n,
                               .n_draws = cbe_guided_rules.draws,
                               .max_batch = CBE_GUIDE_BATCH};
}

/* Bytes of the guides of n layers with so many sequences. */
static size_t guides_bytes(const cbe_layer_objective *o, size_t n, size_t n_sequences)
{
    const chosen all = {.n = n_sequences, .n_own = n_sequences};
    const cbe_apart_options options = apart_options(o, cbe_guided_rules.dimensions, &all);
    return cbe_times(n, cbe_apart_bytes(&options), 1);
}

/* Sequences for about as many tokens as the rules say, fewer where memory is short. */
static size_t n_sequences(const cbe_layer_objective *o, size_t n, size_t memory)
{
    const size_t each = cbe_hidden_states_context_length(o->states) - o->skip,
                 searched = o->sequences.n - o->sequences.n_held_out;
    size_t count = cbe_min_size(cbe_max_size(cbe_guided_rules.tokens / each, 1), searched);
    while (count > 1 && memory && guides_bytes(o, n, count) > memory / 2) count /= 2;
    return count;
}

/* Sets the layer, and makes its guide's room. */
static cbe_status prepare(layer_guide *g, cbe_layer_objective *o,
                          const cbe_extraction_options *options, const chosen *c, cbe_error *err)
{
    const size_t d = cbe_hidden_states_hidden_size(o->states);
    cbe_status st = cbe_layer_objective_set_share(o, g->layer, err);
    if (st != CBE_OK) return st;
    const cbe_covariance *covariance = o->covariance;
    const size_t span = o->within ? o->within : cbe_guided_rules.dimensions,
                 rank = cbe_max_size(cbe_covariance_rank(covariance), 1);
    const size_t m = cbe_min_size(cbe_min_size(span, cbe_guided_rules.dimensions), rank);
    double *read = cbe_alloc(m, 2 * d * sizeof *read, "guide", err), *write = read + m * d;
    g->rows = cbe_alloc(m, d * sizeof *g->rows, "guide", err);
    g->mean = cbe_alloc(d, sizeof *g->mean, "guide", err);
    st = read && g->rows && g->mean ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        cbe_apart_options apart = apart_options(o, m, c);
        memcpy(g->rows, covariance->components, m * d * sizeof *g->rows);
        memcpy(g->mean, covariance->mean, d * sizeof *g->mean);
        if (options->ablation != CBE_ABLATE_ZERO) apart.replacement.mean = g->mean;
        cbe_metric_read(&o->metric, d, m, g->rows, read);
        cbe_metric_write(&o->metric, d, m, g->rows, write);
        st = cbe_apart_create(&g->guide.apart, &apart, read, write, err);
    }
    g->guide.m = m;
    g->guide.rows = g->rows;
    cbe_free(read);
    return st;
}

static cbe_status take(void *context, const cbe_sampled_gradients *gradients, cbe_error *err)
{
    (void)err;
    const cbe_layer_guides *g = context;
    cbe_apart_add(g->places[gradients->state]->guide.apart, gradients);
    return CBE_OK;
}

typedef struct {
    cbe_guides_progress *progress;
    void *context;
} listener;

static bool tell(void *context, size_t done, size_t total)
{
    const listener *l = context;
    return !l->progress || l->progress(l->context, done, total);
}

/* The backward passes of this process's sequences. */
static cbe_status sample(cbe_layer_guides *g, const cbe_layer_objective *o,
                         const cbe_extraction_options *options, const chosen *c, size_t memory,
                         listener *l, cbe_error *err)
{
    const size_t n_states = cbe_model_get_config(o->model)->n_layers + 1;
    bool *states = cbe_alloc_zero(n_states, sizeof *states, "states", err);
    if (!states) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < g->n; i++) states[g->list[i].state] = true;
    const cbe_sampled_gradients_options gradients = {
        .n_sequences = c->n_own,
        .context_length = cbe_hidden_states_context_length(o->states),
        .ids = c->ids,
        .first_sequence = c->first,
        .all_sequences = c->n,
        .skip_positions = o->skip,
        .states = states,
        .n_draws = cbe_guided_rules.draws,
        .seed = options->search.seed,
        .memory = memory,
        .progress = tell,
        .context = l};
    const cbe_status st =
        c->n_own ? cbe_sampled_gradients_run(o->model, &gradients, take, g, err) : CBE_OK;
    cbe_free(states);
    return st;
}

static cbe_status allocate(cbe_layer_guides *g, const cbe_layer_objective *o, size_t n,
                           cbe_error *err)
{
    g->n = n;
    g->list = cbe_alloc_zero(n, sizeof *g->list, "guides", err);
    g->places = cbe_alloc_zero(cbe_model_get_config(o->model)->n_layers + 1, sizeof *g->places,
                               "guides", err);
    return g->list && g->places ? CBE_OK : CBE_ERR_NOMEM;
}

cbe_status cbe_layer_guides_create(cbe_layer_guides **out, cbe_layer_objective *o,
                                   const cbe_extraction_options *options, size_t n,
                                   const size_t *layers, size_t memory,
                                   cbe_guides_progress *progress, void *context, cbe_error *err)
{
    const cbe_processes *processes = o->processes;
    const bool first = cbe_processes_rank(processes) == 0;
    chosen c = {0};
    listener l = {first ? progress : NULL, context};
    cbe_layer_guides *g = cbe_alloc_zero(1, sizeof *g, "guides", err);
    size_t count = n_sequences(o, n, memory);
    cbe_processes_broadcast(processes, sizeof n, &n);
    cbe_processes_broadcast(processes, sizeof count, &count);
    cbe_status st = g ? allocate(g, o, n, err) : CBE_ERR_NOMEM;
    if (st == CBE_OK) st = choose(&c, o, count, err);
    st = cbe_processes_agree(processes, st, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        size_t layer = first ? layers[i] : 0;
        cbe_processes_broadcast(processes, sizeof layer, &layer);
        g->list[i].layer = layer;
        g->list[i].state = cbe_site_state(o->site, layer);
        g->places[g->list[i].state] = &g->list[i];
        st = cbe_processes_agree(processes, prepare(&g->list[i], o, options, &c, err), err);
    }
    const size_t used = guides_bytes(o, n, count);
    if (st == CBE_OK)
        st = sample(g, o, options, &c, memory > used ? memory - used : memory != 0, &l, err);
    st = cbe_processes_agree(processes, st, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        st = cbe_apart_complete(g->list[i].guide.apart, processes, err);
    free_chosen(&c);
    if (st != CBE_OK) {
        cbe_layer_guides_free(g);
        return st;
    }
    *out = g;
    return CBE_OK;
}
