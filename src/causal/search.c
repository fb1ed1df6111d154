/* search.c - see cbe/search.h. The search asks the objective and knows nothing else of it. */
#include "cbe/search.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "causal/sphere.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/random.h"

/* Two directions with a |cosine| above are the same maximum; candidates above SIMILAR share a start. */
static const double SAME = 0.99, SIMILAR = 0.95;
/* An optimum of the sample below this share of the best one there is not worth a polish. */
static const double CONTENDER = 0.85;
/* A candidate of which less than this share is left after projection is not one any more. */
static const double GONE = 1e-3;
/* On the sample an optimum need only be told from others; on all tokens it is the result. */
static const double SAMPLE_STOP = 1e-3, POLISH_STOP = 1e-7;
/* A point is a maximum when its tangent gradient is below this share of the energy. */
static const double MAXIMUM = 8e-5;
/* Rounding of an energy, relative: float32 logits leave about 1e-7. */
static const double NOISE = 1e-7;
enum { SAMPLE_ITERATIONS = 30, RANDOM_CANDIDATES = 8, RUNNER_UPS = 16, FINISH_ROUNDS = 5 };

/* One optimiser and the sphere point it asked for last. */
typedef struct {
    cbe_lbfgs *opt;
    double *start, *v, *grad; /* (d) each */
    double length, energy;    /* |P x| of the point asked; energy of the result */
} runner;

typedef struct {
    cbe_objective *objective;
    const cbe_search_options *options;
    size_t d, batch, n_vectors;
    cbe_sphere sphere;
    double *found; /* (n_vectors, d) */
    cbe_rng rng;

    size_t n_runners;
    runner *runners;
    double *batch_v, *batch_energy, *batch_grad; /* (batch, d), (batch), (batch, d) */
    size_t *batch_runner;

    /* Candidates of the vector in work: given ones, runner-ups, random ones; projected, unit. */
    size_t n_given, n_candidates, max_candidates;
    const double *given;
    double *candidates, *scores; /* (max_candidates, d), (max_candidates) */
    size_t *order;
    size_t n_runner_ups;
    double *runner_ups; /* (RUNNER_UPS, d) */

    cbe_search_progress *progress;
    void *context;
    size_t vector;      /* in work */
    double best_energy; /* of it so far */
    cbe_vector_record record;
} search;

void cbe_search_options_init(cbe_search_options *options)
{
    *options = (cbe_search_options){CBE_PRESET_DEFAULT, 0, 100, 8, 2, 256, 0, 0};
}

const char *cbe_preset_name(cbe_preset preset)
{
    static const char *const names[] = {"default", "seed", "tuned-lens"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_PRESETS, "one name for each preset");
    return names[preset];
}

void cbe_basis_free(cbe_basis *basis)
{
    cbe_free(basis->vectors);
    cbe_free(basis->records);
    *basis = (cbe_basis){0};
}

static double dot(size_t n, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static cbe_status tell_progress(search *s, cbe_error *err)
{
    if (s->progress && !s->progress(s->context, s->vector, s->n_vectors, s->best_energy,
                                    s->record.evaluations + s->record.sample_evaluations))
        return cbe_fail(err, CBE_ERR_CANCELLED, -1, "the search was cancelled");
    return CBE_OK;
}

/* Runs n optimisers that have been started, in batches, until all have stopped. */
static cbe_status run_all(search *s, runner *runners, size_t n, size_t *evaluations, cbe_error *err)
{
    const size_t d = s->d;
    for (;;) {
        size_t m = 0;
        for (size_t i = 0; i < n && m < s->batch; i++) {
            const double *x = cbe_lbfgs_ask(runners[i].opt);
            if (!x) continue;
            runners[i].length = cbe_sphere_point(&s->sphere, x, runners[i].v);
            memcpy(s->batch_v + m * d, runners[i].v, d * sizeof *x);
            s->batch_runner[m++] = i;
        }
        if (m == 0) return CBE_OK;
        cbe_status st = cbe_objective_eval(s->objective, m, s->batch_v, s->batch_energy, s->batch_grad,
                                           NULL, err);
        if (st != CBE_OK) return st;
        *evaluations += m;
        for (size_t b = 0; b < m; b++) {
            runner *r = &runners[s->batch_runner[b]];
            cbe_sphere_gradient(&s->sphere, r->v, r->length, s->batch_grad + b * d, r->grad);
            for (size_t k = 0; k < d; k++) r->grad[k] = -r->grad[k];
            cbe_lbfgs_tell(r->opt, -s->batch_energy[b], r->grad);
            if (s->batch_energy[b] > s->best_energy) s->best_energy = s->batch_energy[b];
        }
        /* The first of them ask first: turn the order, so that all advance alike when n > batch. */
        if (n > s->batch && m == s->batch) {
            const size_t last = s->batch_runner[m - 1] + 1;
            for (size_t shift = last < n ? last : 0; shift > 0; shift--) {
                const runner first = runners[0];
                memmove(runners, runners + 1, (n - 1) * sizeof *runners);
                runners[n - 1] = first;
            }
        }
        if ((st = tell_progress(s, err)) != CBE_OK) return st;
    }
}

/* Result of a runner as a unit vector in r->v, and its energy: where the gradient vanished, else the best point;
 * between the two there is only rounding. */
static void take_best(search *s, runner *r)
{
    double f;
    const double *x = cbe_lbfgs_stopped(r->opt) == CBE_STOP_GRADIENT ? cbe_lbfgs_x(r->opt, &f)
                                                                     : cbe_lbfgs_best(r->opt, &f);
    cbe_sphere_point(&s->sphere, x, r->v);
    r->energy = isfinite(f) ? -f : 0;
}

/* Falling energies; few, so plain insertion. */
static void sort_runners(runner *r, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && r[j].energy > r[j - 1].energy; j--) {
            const runner t = r[j];
            r[j] = r[j - 1];
            r[j - 1] = t;
        }
}

/* Puts the first of each group of equal directions in front; returns their number. */
static size_t merge_runners(search *s, runner *r, size_t n)
{
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++) {
        bool same = false;
        for (size_t j = 0; j < distinct && !same; j++)
            same = fabs(dot(s->d, r[i].v, r[j].v)) > SAME;
        if (same) continue;
        const runner t = r[i];
        memmove(r + distinct + 1, r + distinct, (i - distinct) * sizeof *r);
        r[distinct++] = t;
    }
    return distinct;
}

static void add_candidate(search *s, const double *x)
{
    double *c = s->candidates + s->n_candidates * s->d;
    const double before = sqrt(dot(s->d, x, x));
    const double left = cbe_sphere_point(&s->sphere, x, c);
    if (left > GONE * before) s->n_candidates++;
}

static void random_direction(search *s, double *v)
{
    for (size_t k = 0; k < s->d; k++) v[k] = cbe_rng_normal(&s->rng);
}

static void gather_candidates(search *s)
{
    s->n_candidates = 0;
    for (size_t i = 0; i < s->n_runner_ups; i++) add_candidate(s, s->runner_ups + i * s->d);
    for (size_t i = 0; i < s->n_given; i++) add_candidate(s, s->given + i * s->d);
    for (size_t i = 0; i < RANDOM_CANDIDATES || s->n_candidates == 0; i++) {
        random_direction(s, s->batch_v);
        add_candidate(s, s->batch_v);
    }
}

static cbe_status score_candidates(search *s, cbe_error *err)
{
    for (size_t first = 0; first < s->n_candidates; first += s->batch) {
        const size_t m = s->n_candidates - first < s->batch ? s->n_candidates - first : s->batch;
        const cbe_status st = cbe_objective_eval(s->objective, m, s->candidates + first * s->d,
                                                 s->scores + first, NULL, NULL, err);
        if (st != CBE_OK) return st;
    }
    for (size_t i = 0; i < s->n_candidates; i++) {
        if (!isfinite(s->scores[i])) s->scores[i] = -1;
        size_t j = i;
        for (; j > 0 && s->scores[s->order[j - 1]] < s->scores[i]; j--) s->order[j] = s->order[j - 1];
        s->order[j] = i;
    }
    return CBE_OK;
}

/* The best-scored candidates that differ from each other become starts; returns their number. */
static size_t choose_starts(search *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_candidates && n < s->n_runners; i++) {
        const double *c = s->candidates + s->order[i] * s->d;
        bool similar = false;
        for (size_t j = 0; j < n && !similar; j++)
            similar = fabs(dot(s->d, c, s->runners[j].start)) > SIMILAR;
        if (similar) continue;
        memcpy(s->runners[n++].start, c, s->d * sizeof *c);
    }
    return n;
}

/* One vector by the default search; the winner is in runners[0]. */
static cbe_status find_vector(search *s, cbe_error *err)
{
    const size_t n_tokens = cbe_objective_n_tokens(s->objective);
    const bool sampled = s->options->sample > 0 && n_tokens >= 2 * s->options->sample;
    cbe_status st;
    if (sampled) cbe_objective_set_sample(s->objective, s->options->sample);
    gather_candidates(s);
    if ((st = score_candidates(s, err)) != CBE_OK) goto done;
    size_t n = choose_starts(s);
    s->record.starts = n;
    for (size_t i = 0; i < n; i++) cbe_lbfgs_start(s->runners[i].opt, s->runners[i].start);
    if ((st = run_all(s, s->runners, n,
                      sampled ? &s->record.sample_evaluations : &s->record.evaluations, err)) != CBE_OK)
        goto done;
    for (size_t i = 0; i < n; i++) take_best(s, &s->runners[i]);
    sort_runners(s->runners, n);
    n = merge_runners(s, s->runners, n);
    s->n_runner_ups = 0;
    for (size_t i = 1; i < n && s->n_runner_ups < RUNNER_UPS; i++)
        memcpy(s->runner_ups + s->n_runner_ups++ * s->d, s->runners[i].v, s->d * sizeof(double));
    if (sampled) {
        cbe_objective_set_sample(s->objective, 0);
        s->best_energy = 0;
    }
    /* The polish has optimisers of its own: their rules for stopping are stricter. */
    runner *polish = s->runners + s->n_runners;
    size_t n_polish = 1;
    while (n_polish < n && n_polish < s->options->n_polished &&
           s->runners[n_polish].energy > CONTENDER * s->runners[0].energy)
        n_polish++;
    for (size_t i = 0; i < n_polish; i++) cbe_lbfgs_start(polish[i].opt, s->runners[i].v);
    if ((st = run_all(s, polish, n_polish, &s->record.evaluations, err)) != CBE_OK) goto done;
    for (size_t i = 0; i < n_polish; i++) take_best(s, &polish[i]);
    sort_runners(polish, n_polish);
    for (size_t i = 1; i < n_polish && s->n_runner_ups < RUNNER_UPS; i++)
        memcpy(s->runner_ups + s->n_runner_ups++ * s->d, polish[i].v, s->d * sizeof(double));
    s->record.energy = polish[0].energy;
    s->record.stop = cbe_lbfgs_stopped(polish[0].opt);
    memcpy(s->found + s->vector * s->d, polish[0].v, s->d * sizeof(double));
    return CBE_OK;
done:
    cbe_objective_set_sample(s->objective, 0);
    return st;
}

/* One vector by a preset: one start, the last energy evaluated kept. */
static cbe_status find_vector_preset(search *s, cbe_error *err)
{
    const size_t d = s->d, j = s->vector;
    runner *r = &s->runners[0];
    const bool restarts = s->options->preset == CBE_PRESET_TUNED_LENS;
    if (restarts && j < s->n_given) {
        memcpy(r->start, s->given + j * d, d * sizeof(double));
    } else {
        memset(r->start, 0, d * sizeof(double));
        r->start[j] = 1;
    }
    cbe_sphere_point(&s->sphere, r->start, r->start);
    s->record.starts = 1;
    double before = HUGE_VAL;
    for (;;) {
        cbe_lbfgs_start(r->opt, r->start);
        const cbe_status st = run_all(s, r, 1, &s->record.evaluations, err);
        if (st != CBE_OK) return st;
        cbe_sphere_point(&s->sphere, cbe_lbfgs_x(r->opt, NULL), r->v);
        s->record.energy = -cbe_lbfgs_last(r->opt);
        if (!restarts || s->record.evaluations >= s->options->max_iterations ||
            fabs(s->record.energy - before) <= 1e-4 * fabs(s->record.energy))
            break;
        before = s->record.energy;
        memcpy(r->start, r->v, d * sizeof(double));
    }
    s->record.stop = cbe_lbfgs_stopped(r->opt);
    memcpy(s->found + j * d, r->v, d * sizeof(double));
    return CBE_OK;
}

/* PyTorch's rules stop some vectors short of a maximum, a few of them far from it (docs/search.md). The preset
 * `seed` follows them for all vectors, so that each path is the original's; then this climbs from each
 * vector that is no maximum, orthogonal to all the others, which therefore stay as they are. In rounds, since
 * where one vector went opens or closes a direction to the others. */
static cbe_status finish_vectors(search *s, cbe_vector_record *records, size_t n, cbe_error *err)
{
    const size_t d = s->d;
    cbe_lbfgs_options options;
    cbe_lbfgs_options_init(&options);
    options.change_stop = 1e-12;
    options.gradient_stop = 1e-10;
    options.relative_gradient_stop = MAXIMUM;
    options.noise = NOISE;
    options.max_iterations = s->options->max_iterations;
    options.max_evaluations = s->options->max_iterations + s->options->max_iterations / 4;
    runner r = {0};
    double *others = cbe_alloc((n ? n - 1 : 0) * d, sizeof *others, "basis", err);
    r.v = cbe_alloc(2 * d, sizeof *r.v, "optimisers", err);
    cbe_status st = others && r.v ? cbe_lbfgs_create(&r.opt, d, &options, err) : CBE_ERR_NOMEM;
    r.grad = r.v ? r.v + d : NULL;
    bool moved = st == CBE_OK;
    for (int round = 0; round < FINISH_ROUNDS && moved; round++) {
        moved = false;
        for (size_t j = 0; j < n; j++) {
            const double began = now();
            memcpy(others, s->found, j * d * sizeof *others);
            memcpy(others + j * d, s->found + (j + 1) * d, (n - 1 - j) * d * sizeof *others);
            s->vector = j;
            s->sphere = (cbe_sphere){d, n - 1, others, 0};
            s->record = records[j];
            s->best_energy = records[j].energy;
            cbe_lbfgs_start(r.opt, s->found + j * d);
            if ((st = run_all(s, &r, 1, &s->record.evaluations, err)) != CBE_OK) goto done;
            if (cbe_lbfgs_iterations(r.opt) == 0) continue; /* a maximum already */
            take_best(s, &r);
            moved = true;
            s->record.energy = r.energy;
            s->record.stop = cbe_lbfgs_stopped(r.opt);
            s->record.seconds += now() - began;
            records[j] = s->record;
            memcpy(s->found + j * d, r.v, d * sizeof *r.v);
        }
    }
done:
    cbe_lbfgs_free(r.opt);
    cbe_free(r.v);
    cbe_free(others);
    return st;
}

/* A found vector, made orthogonal to the others and unit to the last digit, twice as rounding asks. */
static void orthonormalise_found(search *s)
{
    const cbe_sphere exact = {s->d, s->vector, s->found, 0};
    double *v = s->found + s->vector * s->d;
    for (int pass = 0; pass < 2; pass++) {
        if (!(cbe_sphere_point(&exact, v, v) > 0)) random_direction(s, v), pass = -1;
    }
}

static cbe_status create_runners(search *s, cbe_error *err)
{
    const cbe_search_options *o = s->options;
    const bool single = o->preset != CBE_PRESET_DEFAULT;
    s->n_runners = single ? 1 : o->n_starts;
    const size_t total = single ? 1 : o->n_starts + o->n_polished;
    if (!(s->runners = cbe_alloc_zero(total, sizeof *s->runners, "optimisers", err))) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < total; i++) {
        runner *r = &s->runners[i];
        cbe_lbfgs_options options;
        cbe_lbfgs_options_init(&options);
        options.max_iterations = o->max_iterations;
        options.max_evaluations = o->max_iterations + o->max_iterations / 4;
        if (o->preset == CBE_PRESET_TUNED_LENS) options.change_stop = 1e-9;
        if (!single) {
            const bool polish = i >= s->n_runners;
            const bool sampled =
                o->sample > 0 && cbe_objective_n_tokens(s->objective) >= 2 * o->sample;
            options.change_stop = 1e-12;
            options.gradient_stop = 1e-10;
            options.relative_stop = polish ? POLISH_STOP : SAMPLE_STOP;
            options.relative_gradient_stop = polish ? MAXIMUM : 0;
            options.noise = polish ? NOISE : 0;
            options.history = 40;
            if (!polish && sampled && options.max_iterations > SAMPLE_ITERATIONS)
                options.max_iterations = SAMPLE_ITERATIONS;
        }
        const cbe_status st = cbe_lbfgs_create(&r->opt, s->d, &options, err);
        if (st != CBE_OK) return st;
        if (!(r->start = cbe_alloc(3 * s->d, sizeof(double), "optimisers", err))) return CBE_ERR_NOMEM;
        r->v = r->start + s->d;
        r->grad = r->v + s->d;
    }
    return CBE_OK;
}

static void free_runners(search *s)
{
    if (!s->runners) return;
    const size_t total = s->n_runners + (s->options->preset == CBE_PRESET_DEFAULT ? s->options->n_polished : 0);
    for (size_t i = 0; i < total; i++) {
        cbe_lbfgs_free(s->runners[i].opt);
        cbe_free(s->runners[i].start);
    }
    cbe_free(s->runners);
}

/* Energies that are not finite come last. */
static double sort_key(double energy)
{
    return isfinite(energy) ? energy : -HUGE_VAL;
}

/* Orders vectors by falling energy, as they go into the result. */
static cbe_status fill_basis(cbe_basis *basis, const search *s, const cbe_vector_record *records, size_t n,
                             cbe_error *err)
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

cbe_status cbe_search_layer(cbe_basis *out, cbe_objective *objective, const cbe_search_options *options,
                            size_t n_candidates, const double *candidates,
                            cbe_search_progress *progress, void *context, cbe_error *err)
{
    const size_t d = cbe_objective_hidden_size(objective);
    const size_t k = options->n_vectors ? options->n_vectors : d;
    if (k > d)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%zu vectors cannot be orthogonal in %zu dimensions; give -k %zu or less",
                        k, d, d);
    if (options->preset == CBE_PRESET_DEFAULT && (options->n_starts == 0 || options->n_polished == 0))
        return cbe_fail(err, CBE_ERR_ARG, -1, "at least 1 start is needed");
    search s = {0};
    s.objective = objective;
    s.options = options;
    s.d = d;
    s.n_vectors = k;
    s.batch = cbe_objective_max_batch(objective);
    s.n_given = n_candidates;
    s.given = candidates;
    s.max_candidates = n_candidates + RUNNER_UPS + RANDOM_CANDIDATES + 1;
    s.progress = progress;
    s.context = context;
    cbe_rng_seed(&s.rng, options->seed);
    cbe_vector_record *records = cbe_alloc_zero(k, sizeof *records, "basis", err);
    s.found = cbe_alloc(k * d, sizeof(double), "basis", err);
    s.batch_v = cbe_alloc(s.batch * d, sizeof(double), "search", err);
    s.batch_energy = cbe_alloc(s.batch, sizeof(double), "search", err);
    s.batch_grad = cbe_alloc(s.batch * d, sizeof(double), "search", err);
    s.batch_runner = cbe_alloc(s.batch, sizeof(size_t), "search", err);
    s.candidates = cbe_alloc(s.max_candidates * d, sizeof(double), "search", err);
    s.scores = cbe_alloc(s.max_candidates, sizeof(double), "search", err);
    s.order = cbe_alloc(s.max_candidates, sizeof(size_t), "search", err);
    s.runner_ups = cbe_alloc(RUNNER_UPS * d, sizeof(double), "search", err);
    cbe_status st = CBE_ERR_NOMEM;
    if (!records || !s.found || !s.batch_v || !s.batch_energy || !s.batch_grad || !s.batch_runner ||
        !s.candidates || !s.scores || !s.order || !s.runner_ups)
        goto done;
    if ((st = create_runners(&s, err)) != CBE_OK) goto done;
    const double tau = options->preset == CBE_PRESET_DEFAULT ? 0 : (double)FLT_EPSILON;
    size_t n = 0;
    while (n < k) {
        const double began = now();
        s.vector = n;
        s.sphere = (cbe_sphere){d, n, s.found, tau};
        s.record = (cbe_vector_record){0};
        s.best_energy = 0;
        st = options->preset == CBE_PRESET_DEFAULT ? find_vector(&s, err) : find_vector_preset(&s, err);
        if (st != CBE_OK) goto done;
        orthonormalise_found(&s);
        s.record.seconds = now() - began;
        records[n++] = s.record;
        if (options->min_energy > 0 && !(s.record.energy >= options->min_energy)) break;
    }
    if (options->preset == CBE_PRESET_SEED && (st = finish_vectors(&s, records, n, err)) != CBE_OK)
        goto done;
    st = fill_basis(out, &s, records, n, err);
done:
    free_runners(&s);
    void *owned[] = {records,     s.found,      s.batch_v, s.batch_energy, s.batch_grad, s.batch_runner,
                     s.candidates, s.scores,    s.order,   s.runner_ups};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    return st;
}
