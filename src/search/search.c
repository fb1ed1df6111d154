/* search.c - see search/search.h: vector after vector, and the order of the result. The search asks
 * the objective and knows nothing else of it. */
#include "search/search.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "search/state.h"
#include "core/clock.h"
#include "core/fail.h"
#include "core/memory.h"

/* A found vector of which less than this share is left outside the others is one of them, or
 * rounding. */
static const double GONE = 1e-3;

void cbe_search_options_init(cbe_search_options *options)
{
    *options = (cbe_search_options){
        .preset = CBE_PRESET_DEFAULT, .max_iterations = 100, .n_polished = 4, .sample = 256};
}

const char *cbe_preset_name(cbe_preset preset)
{
    static const char *const names[] = {"default", "seed", "tuned-lens"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_PRESETS, "one name for each preset");
    return names[preset];
}

const char *cbe_start_kind_name(cbe_start_kind kind)
{
    static const char *const names[] = {"random",    "given", "lens",  "both",     "unembedding",
                                        "component", "token", "entry", "identity", "runner-up"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_START_KINDS, "one name for each kind");
    return names[kind];
}

void cbe_basis_free(cbe_basis *basis)
{
    cbe_free(basis->vectors);
    cbe_free(basis->records);
    *basis = (cbe_basis){0};
}

double cbe_search_dot(size_t n, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

double cbe_search_share(double share, double highest)
{
    return (highest < 0 ? 2 - share : share) * highest;
}

void cbe_search_count_start(cbe_search *s, cbe_start_kind kind, double energy)
{
    s->record.starts++;
    if (s->record.by_kind[kind].starts++ == 0 || energy > s->record.by_kind[kind].energy)
        s->record.by_kind[kind].energy = energy;
}

void cbe_search_random_direction(cbe_search *s, double *v)
{
    for (size_t k = 0; k < s->d; k++) v[k] = cbe_rng_normal(&s->rng);
}

/* Makes a found vector orthogonal to the others and unit to the last digit; the second pass takes
 * what rounding left in the first. A vector of which next to nothing remains gives its place to a
 * random one, whose energy is evaluated. */
static cbe_status orthonormalise_found(cbe_search *s, cbe_error *err)
{
    const cbe_sphere exact = {s->d, s->vector, s->found, 0};
    double *v = s->found + s->vector * s->d;
    bool replaced = false;
    for (int pass = 0; pass < 2; pass++) {
        const double before = sqrt(cbe_search_dot(s->d, v, v));
        if (cbe_sphere_point(&exact, v, v) > GONE * before) continue;
        cbe_search_random_direction(s, v);
        replaced = true;
        pass = -1;
    }
    return replaced ? cbe_objective_eval(s->objective, 1, v, &s->record.energy, NULL, NULL, err)
                    : CBE_OK;
}

/* Energies that are not finite come last. */
static double sort_key(double energy)
{
    return isfinite(energy) ? energy : -HUGE_VAL;
}

/* Orders vectors by falling energy, as they go into the result. */
static cbe_status fill_basis(cbe_basis *basis, const cbe_search *s,
                             const cbe_vector_record *records, size_t n, cbe_error *err)
{
    cbe_basis b = {s->d, n, NULL, NULL, false};
    b.vectors = cbe_alloc(n * s->d, sizeof(double), "basis", err);
    b.records = cbe_alloc(n, sizeof *b.records, "basis", err);
    if (!b.vectors || !b.records) {
        cbe_basis_free(&b);
        return CBE_ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        size_t rank = 0;
        const double energy = sort_key(records[i].energy);
        for (size_t j = 0; j < n; j++) {
            const double other = sort_key(records[j].energy);
            rank += other > energy || (j < i && other == energy);
        }
        b.records[rank] = records[i];
        memcpy(b.vectors + rank * s->d, s->found + i * s->d, s->d * sizeof(double));
    }
    b.below_min_energy = n < s->n_vectors;
    *basis = b;
    return CBE_OK;
}

/* Room for what is told of a point. */
typedef struct {
    double *runner_ups, *energies;
    cbe_start_kind *kinds;
} point_room;

static cbe_status tell_found(const cbe_search *s, size_t n, const cbe_vector_record *records,
                             const cbe_maxima *runner_ups, const point_room *room, cbe_error *err)
{
    const size_t left = runner_ups ? runner_ups->n : 0;
    if (!s->options->found) return CBE_OK;
    for (size_t i = 0; i < left; i++) {
        memcpy(room->runner_ups + i * s->d, runner_ups->list[i].v, s->d * sizeof(double));
        room->energies[i] = runner_ups->list[i].energy;
        room->kinds[i] = runner_ups->list[i].kind;
    }
    cbe_search_point point = {.hidden_size = s->d,
                              .n_vectors = n,
                              .vectors = s->found,
                              .records = records,
                              .n_runner_ups = left,
                              .runner_ups = room->runner_ups,
                              .runner_up_energies = room->energies,
                              .runner_up_kinds = room->kinds};
    memcpy(point.random, s->rng.s, sizeof point.random);
    return s->options->found(s->context, &point, err);
}

/* Goes back to a point; *n vectors are known then. */
static cbe_status restore(cbe_search *s, size_t *n, cbe_vector_record *records,
                          cbe_maxima *runner_ups, cbe_error *err)
{
    const cbe_search_point *from = s->options->from;
    if (!from) return CBE_OK;
    if (from->hidden_size != s->d || from->n_vectors > s->n_vectors ||
        from->n_runner_ups > CBE_MAXIMA_MOST)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "the search that is to go on had %zu vectors of %zu numbers, this one finds %zu of %zu",
            from->n_vectors, from->hidden_size, s->n_vectors, s->d);
    *n = from->n_vectors;
    memcpy(s->found, from->vectors, *n * s->d * sizeof *s->found);
    memcpy(records, from->records, *n * sizeof *records);
    memcpy(s->rng.s, from->random, sizeof s->rng.s);
    if (runner_ups) runner_ups->n = from->n_runner_ups;
    for (size_t i = 0; runner_ups && i < from->n_runner_ups; i++) {
        memcpy(runner_ups->list[i].v, from->runner_ups + i * s->d, s->d * sizeof(double));
        runner_ups->list[i].energy = from->runner_up_energies[i];
        runner_ups->list[i].kind = from->runner_up_kinds[i];
    }
    return CBE_OK;
}

/* Whether the last of n vectors is the layer's last for its energy. */
static bool fell_below(const cbe_search_options *options, size_t n,
                       const cbe_vector_record *records)
{
    return n > 0 && options->min_energy > 0 && !(records[n - 1].energy >= options->min_energy);
}

cbe_status cbe_search_layer(cbe_basis *out, cbe_objective *objective,
                            const cbe_search_options *options, const cbe_start_list *candidates,
                            cbe_search_progress *progress, void *context, cbe_error *err)
{
    const size_t d = cbe_objective_hidden_size(objective);
    const size_t k = options->n_vectors ? options->n_vectors : d;
    const bool single = options->preset != CBE_PRESET_DEFAULT;
    if (k > d)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu vectors cannot be orthogonal in %zu dimensions; give " CBE_TERM(
                            "-k", "vectors") " %zu or less",
                        k, d, d);
    if (!single && options->n_polished == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "at least 1 maximum must be polished");
    cbe_search s = {.objective = objective,
                    .options = options,
                    .d = d,
                    .n_vectors = k,
                    .batch = cbe_objective_max_batch(objective),
                    .progress = progress,
                    .context = context};
    if (candidates) s.given = *candidates;
    cbe_rng_seed(&s.rng, options->seed);
    const bool leaps = !single && options->few_evaluations;
    cbe_default_search *default_search = NULL;
    cbe_leap_search *leap_search = NULL;
    cbe_runner *runner = NULL;
    cbe_vector_record *records = cbe_alloc_zero(k, sizeof *records, "basis", err);
    s.found = cbe_alloc(k * d, sizeof(double), "basis", err);
    s.batch_v = cbe_alloc(s.batch * d, sizeof(double), "search", err);
    s.batch_energy = cbe_alloc(s.batch, sizeof(double), "search", err);
    s.batch_grad = cbe_alloc(s.batch * d, sizeof(double), "search", err);
    s.batch_runner = cbe_alloc(s.batch, sizeof(size_t), "search", err);
    const point_room room = {cbe_alloc(CBE_MAXIMA_MOST, d * sizeof(double), "search", err),
                             cbe_alloc(CBE_MAXIMA_MOST, sizeof(double), "search", err),
                             cbe_alloc(CBE_MAXIMA_MOST, sizeof(cbe_start_kind), "search", err)};
    cbe_status st = CBE_ERR_NOMEM;
    if (!records || !s.found || !s.batch_v || !s.batch_energy || !s.batch_grad || !s.batch_runner)
        goto done;
    if (!room.runner_ups || !room.energies || !room.kinds) goto done;
    if (single) {
        const cbe_lbfgs_options rules = cbe_preset_lbfgs_options(options);
        if (!(runner = cbe_runners_create(1, d, &rules, err))) goto done;
    } else if (leaps) {
        if ((st = cbe_leap_search_create(&leap_search, &s, err)) != CBE_OK) goto done;
    } else if ((st = cbe_default_search_create(&default_search, &s, err)) != CBE_OK) {
        goto done;
    }
    cbe_maxima *runner_ups = single  ? NULL
                             : leaps ? cbe_leap_search_runner_ups(leap_search)
                                     : cbe_default_search_runner_ups(default_search);
    size_t n = 0;
    if ((st = restore(&s, &n, records, runner_ups, err)) != CBE_OK) goto done;
    while (n < k && !fell_below(options, n, records)) {
        const double began = cbe_now();
        s.vector = n;
        s.sphere = (cbe_sphere){d, n, s.found, single ? (double)FLT_EPSILON : 0};
        s.record = (cbe_vector_record){0};
        s.best_energy = -HUGE_VAL;
        st = single  ? cbe_preset_search_vector(&s, runner, err)
             : leaps ? cbe_leap_search_vector(&s, leap_search, err)
                     : cbe_default_search_vector(&s, default_search, err);
        if (st != CBE_OK) goto done;
        if ((st = orthonormalise_found(&s, err)) != CBE_OK) goto done;
        if (!isfinite(s.record.energy)) s.record.energy = NAN;
        s.record.seconds = cbe_now() - began;
        records[n++] = s.record;
        if ((st = tell_found(&s, n, records, runner_ups, &room, err)) != CBE_OK) goto done;
    }
    if (options->preset == CBE_PRESET_SEED &&
        (st = cbe_preset_finish(&s, records, n, err)) != CBE_OK)
        goto done;
    st = fill_basis(out, &s, records, n, err);
done:
    cbe_default_search_free(default_search);
    cbe_leap_search_free(leap_search);
    cbe_runners_free(1, runner);
    void *owned[] = {records,        s.found,         s.batch_v,     s.batch_energy, s.batch_grad,
                     s.batch_runner, room.runner_ups, room.energies, room.kinds};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    return st;
}
