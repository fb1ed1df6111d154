/*
 * plan.c - the cost model of an extraction (plan/plan.h).
 *
 * Numbers of evaluations are averages of searches in layers of SmolLM2 (docs/scaling.md). The
 * division of work follows search/rules.h and extract/extraction.c.
 */
#include "plan/plan.h"

#include <math.h>

#include "covariance/covariance.h"
#include "extract/lens_storage.h"
#include "search/candidates.h"
#include "search/rules.h"
#include "objective/lens/state.h"
#include "objective/objective.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

/* Numbers of directions evaluated for one vector. */
typedef struct {
    double sampled;  /* with gradient on the sample, rough if there are rough energies */
    double larger;   /* with gradient on the larger sample, rough */
    double rough;    /* with gradient on all tokens, rough */
    double full;     /* with gradient on all tokens, exact */
    double weighed;  /* maxima of rough climbs, without gradient on the sample, exact */
    double rescored; /* maxima, without gradient on all tokens, exact */
} effort;

enum { WITHOUT_ROUGH, WITH_ROUGH };
static const effort FIRST[] = {{215, 0, 0, 17, 0, 14}, {231, 234, 39, 11, 24, 8}};
static const effort LATER[] = {{138, 0, 0, 33, 0, 20}, {121, 118, 60, 10, 24, 8}};
enum {
    SEARCH_VECTORS = 4000, /* vectors of floats that a search keeps */
    CALLS_BATCH = 3,       /* average number of climbs on all tokens that are evaluated together */
    LIKELY_ENTRIES = 8192  /* usual number of vocabulary entries of rough evaluations */
};
/* Cost of a vector's reports, in evaluations of all tokens without gradient. */
static const double REPORTS = 5;
/* Share of a large product's rate that products of a forward pass reach. */
static const double FORWARD_SHARE = 0.8;
static const double PROGRAM_BYTES = 60e6, BLAS_BYTES_OF_A_THREAD = 8e6;

size_t cbe_plan_weight_bytes(const cbe_model_config *m, size_t *block)
{
    const size_t d = m->hidden_size, q = m->n_heads * m->head_size,
                 kv = m->n_kv_heads * m->head_size;
    const size_t attention = 2 * d * q + 2 * d * kv, mlp = (m->gated_mlp ? 3 : 2) * d * m->mlp_size;
    *block = (attention + mlp + 2 * d) * sizeof(float);
    return m->n_layers * *block + m->vocab_size * d * sizeof(float);
}

/* Seconds with the threads of a process, from seconds with the threads measured. */
static double scaled(const cbe_plan_run *run, const cbe_plan_rates *rates, double seconds)
{
    return seconds * (double)rates->threads / (double)run->threads;
}

static cbe_decoder decoder_of(const cbe_plan_run *run)
{
    return (cbe_decoder){.hidden_size = run->model.hidden_size,
                         .vocab_size = run->model.vocab_size,
                         .norm_eps = 1e-5};
}

/* Largest number of tokens of a process. */
static size_t share_of(const cbe_plan_run *run, size_t group_size)
{
    const size_t sequences = cbe_max_size(run->n_tokens / run->context_length, 1);
    return (sequences + group_size - 1) / group_size *
           cbe_min_size(run->context_length, run->n_tokens);
}

/* Largest number of layers of a group. */
static size_t layers_of(const cbe_plan_run *run, size_t n_groups)
{
    return (run->n_layers + n_groups - 1) / n_groups;
}

/* Sets the memory of a process, for groups of group_size and logits kept as storage; SIZE_MAX on
 * overflow. */
static size_t fill_memory(cbe_plan *plan, const cbe_plan_run *run, size_t group_size,
                          cbe_logit_storage storage)
{
    const size_t d = run->model.hidden_size, n = share_of(run, group_size),
                 groups = run->n_processes / group_size;
    const cbe_decoder decoder = decoder_of(run);
    const cbe_lens_options lens = {.n_tokens = n, .max_batch = CBE_LENS_BATCH, .storage = storage};
    size_t block, weights = cbe_plan_weight_bytes(&run->model, &block);
    /* Weights that do not fit are expanded block by block from the file. */
    if (run->memory && weights > run->memory / 2) weights = run->memory / 2 + run->file_bytes;
    plan->group_size = group_size;
    plan->n_groups = groups;
    plan->logits = cbe_logit_storage_name(storage);
    plan->program = (size_t)(PROGRAM_BYTES + BLAS_BYTES_OF_A_THREAD * (double)run->threads);
    plan->weights = weights;
    plan->states = (layers_of(run, groups) + 1) * n * d * sizeof(float);
    plan->objective = cbe_lens_objective_bytes(&decoder, &lens);
    plan->covariance = cbe_covariance_bytes(d);
    plan->search = SEARCH_VECTORS / 2 * d * sizeof(double) + 3 * d * d * sizeof(double);
    const size_t parts[] = {plan->program,   plan->weights,    plan->states,
                            plan->objective, plan->covariance, plan->search};
    plan->memory = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!cbe_add_size(plan->memory, parts[i], &plan->memory)) return plan->memory = SIZE_MAX;
    return plan->memory;
}

/* Chooses groups as `--divide auto` does, or as asked for, and logits as precise as memory
 * allows. */
static cbe_status divide(cbe_plan *plan, const cbe_plan_run *run, cbe_error *err)
{
    const size_t p = run->n_processes,
                 sequences = cbe_max_size(run->n_tokens / run->context_length, 1);
    size_t least = SIZE_MAX, tried = 0;
    if (run->n_groups && (p % run->n_groups != 0 || run->n_groups > run->n_layers))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu processes do not make %zu groups of the same size for %zu layers", p,
                        run->n_groups, run->n_layers);
    for (int storage = 0; storage < CBE_N_LOGIT_STORAGES; storage++)
        for (size_t size = 1; size <= p; size++) {
            const size_t groups = p / size;
            if (p % size != 0 || size > sequences ||
                (run->n_groups ? groups != run->n_groups : groups > run->n_layers))
                continue;
            tried++;
            const size_t bytes = fill_memory(plan, run, size, (cbe_logit_storage)storage);
            least = cbe_min_size(least, bytes);
            if (bytes != SIZE_MAX && (!run->memory || bytes <= run->memory)) return CBE_OK;
        }
    if (tried == 0)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "%zu processes are too many for %zu layers of %zu sequences; plan with fewer", p,
            run->n_layers, sequences);
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "a process needs %.3g GB at least, and may use %.3g GB; give more memory, "
                    "processes or groups",
                    1e-9 * (double)least, 1e-9 * (double)run->memory);
}

/* Seconds of one direction, for each token and vocabulary entry, each token and number of a state,
 * and each entry and number. */
typedef struct {
    double row, state, product;
} rate;

/* Seconds of evaluating `count` directions on n tokens of a process.
 * @param divided  number of processes that share the products */
static double evaluations(double count, double n, double v, double d, double divided, const rate *r)
{
    return count * (r->row * n * v + r->state * n * d + r->product * v * d / divided);
}

static int roughness(const cbe_plan_run *run)
{
    return run->model.vocab_size >= CBE_LENS_LEAST_VOCABULARY ? WITH_ROUGH : WITHOUT_ROUGH;
}

static double rough_vocabulary(const cbe_plan_run *run)
{
    const double v = (double)run->model.vocab_size;
    return roughness(run) ? fmin(LIKELY_ENTRIES, v / CBE_LENS_LIKELY_SHARE) : v;
}

/* Number of candidates scored for a vector. */
static double n_candidates(void)
{
    return (double)(CBE_CANDIDATE_FAMILIES * cbe_candidate_rules.each + cbe_start_rules.random);
}

/* Seconds of one vector's search, for a process with a share of the tokens. */
static double vector_seconds(const cbe_plan_run *run, const cbe_plan_rates *r, const effort *e,
                             double n, double share, size_t group_size)
{
    /* On one machine a group divides the products with the vocabulary; on several machines each
     * process makes all products. */
    const double divided = run->n_machines == 1 ? (double)group_size : 1;
    const double d = (double)run->model.hidden_size, v = (double)run->model.vocab_size,
                 few_entries = rough_vocabulary(run);
    const double all = (double)run->n_tokens;
    const double samples = (double)cbe_option_rules.sample;
    const double sample = fmin(samples, all) * share,
                 larger = fmin((double)cbe_rough_rules.larger * samples, all) * share,
                 scored = fmin((double)cbe_start_rules.score_sample, all) * share;
    const rate score = {r->score, r->score_state, r->score_product},
               many = {r->many, r->many_state, r->many_product};
    const rate one = {r->one, r->one_state, r->one_product};
    const rate few = {(r->one + r->many) / 2, (r->one_state + r->many_state) / 2,
                      (r->one_product + r->many_product) / 2};
    return evaluations(e->sampled, sample, few_entries, d, divided, &many) +
           evaluations(e->larger, larger, few_entries, d, divided, &many) +
           evaluations(e->rough, n, few_entries, d, divided, &one) +
           evaluations(e->full, n, v, d, divided, &few) +
           evaluations(n_candidates(), scored, few_entries, d, divided, &score) +
           evaluations(e->weighed, sample, v, d, divided, &score) +
           evaluations(e->rescored, n, v, d, divided, &score);
}

/* Adds the traffic of searches: directions and gradients that a process sends or receives, and
 * calls that wait for other processes. */
static void add_traffic(cbe_plan *plan, const cbe_plan_run *run, const effort *e, double layers)
{
    const double d = (double)run->model.hidden_size, size = (double)plan->group_size;
    if (plan->group_size == 1) return;
    const double with_gradient = e->sampled + e->larger + e->rough + e->full,
                 without = n_candidates() + e->weighed + e->rescored + REPORTS;
    /* A process receives a direction, sends two sums of d numbers, each of two doubles, and some
     * single sums, and receives all sums rounded. */
    const double bytes = sizeof(double) * (with_gradient * (7 * d + 9) + without * (d + 6));
    const double calls = (e->sampled + e->larger) / CBE_LENS_BATCH + e->rough +
                         e->full / CALLS_BATCH + without / CBE_LENS_BATCH;
    const bool far = run->n_machines > 1;
    plan->sent += layers * bytes;
    if (far)
        plan->network_time +=
            layers * (bytes / run->bandwidth + calls * 4 * ceil(log2(size)) * run->latency);
}

/* Whether groups run the model on parts of the tokens and exchange the states. States are held
 * twice meanwhile, and may take half of the memory that weights leave. */
static bool shares_forward(const cbe_plan *plan, const cbe_plan_run *run)
{
    const size_t sequences = run->n_tokens / run->context_length,
                 used = plan->program + plan->weights;
    if (plan->n_groups == 1 || sequences < run->n_processes ||
        !cbe_forward_is_by_sequence(run->context_length))
        return false;
    return !run->memory || (run->memory > used && plan->states <= (run->memory - used) / 4);
}

/* Adds the traffic of hidden states that the process receives for its layers and sends for other
 * layers. */
static void add_states(cbe_plan *plan, const cbe_plan_run *run, double states)
{
    const double bytes = 2 * states * (1 - 1 / (double)plan->n_groups);
    plan->sent += bytes;
    if (run->n_machines > 1) plan->network_time += bytes / run->bandwidth;
}

cbe_status cbe_plan_make(cbe_plan *plan, const cbe_plan_run *run, const cbe_plan_rates *r,
                         cbe_error *err)
{
    *plan = (cbe_plan){0};
    const cbe_status st = divide(plan, run, err);
    if (st != CBE_OK) return st;
    const double d = (double)run->model.hidden_size, v = (double)run->model.vocab_size;
    const double n = (double)share_of(run, plan->group_size), share = n / (double)run->n_tokens;
    const double layers = (double)layers_of(run, plan->n_groups), k = (double)run->n_vectors;
    size_t block;
    cbe_plan_weight_bytes(&run->model, &block);
    const double multiplications = (double)(run->model.n_layers * (block / sizeof(float)));
    const bool shared = shares_forward(plan, run);
    const double run_tokens = shared ? (double)share_of(run, run->n_processes) : n;
    plan->forward = scaled(run, r, run_tokens * multiplications * r->multiply / FORWARD_SHARE);
    const effort *first = &FIRST[roughness(run)], *later = &LATER[roughness(run)];
    double products = 2 * n * v * d; /* multiplications in setting a layer */
    if (roughness(run))
        products += fmin(CBE_LENS_RANKED_ROWS, (double)run->n_tokens) * share * v * d +
                    n * rough_vocabulary(run) * d;
    plan->set = scaled(run, r, layers * (products * r->multiply + n * v * r->set));
    plan->search_time =
        layers * scaled(run, r,
                        vector_seconds(run, r, first, n, share, plan->group_size) +
                            (k - 1) * vector_seconds(run, r, later, n, share, plan->group_size));
    const rate score = {r->score, r->score_state, r->score_product};
    plan->report = layers * k * scaled(run, r, evaluations(REPORTS, n, v, d, 1, &score));
    if (shared) add_states(plan, run, layers * n * d * sizeof(float));
    add_traffic(plan, run, first, layers);
    add_traffic(plan, run, later, layers * (k - 1));
    plan->seconds =
        plan->forward + plan->set + plan->search_time + plan->report + plan->network_time;
    return CBE_OK;
}
