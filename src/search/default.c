/*
 * default.c - one vector by the default search: candidates, starts refined on a sample, the
 * best maxima polished on all tokens (state.h, docs/search.md).
 */
#include <math.h>
#include <string.h>

#include "search/maxima.h"
#include "search/state.h"
#include "core/memory.h"

/* Candidates with a |cosine| above share a start. */
static const double SIMILAR = 0.95;
/* A maximum below this share of the best one is not worth a polish. */
static const double CONTENDER = 0.6;
/* A maximum at least this share of the highest may be taken for it when it leaves more to the next
 * vector. */
static const double CLOSE = 0.95;
/* A candidate of which less than this share is left after projection is not one any more. */
static const double GONE = 1e-3;
/* Climbs that come as near as this to a higher point, as a |cosine|, end there. On all tokens they
 * must be all but equal: two maxima can lie close to each other, and the way to the higher one pass
 * by the other. */
static const double NEAR_ON_SAMPLE = 0.9, NEAR = 0.999;
/* Largest relative change of the energy in the last step. A sample's maximum need only be told from
 * others. */
static const double SAMPLE_STOP = 1e-3, LEFT_STOP = 1e-3, REFINE_STOP = 1e-5, POLISH_STOP = 1e-7;
/* Where a rough energy is as near as this to the exact one, relative, rough ones may lead a
 * climb. */
static const double TRUSTED = 0.01;
/* A point is a maximum when its tangent gradient is below this share of the energy. */
static const double MAXIMUM = 2e-5;
/* Rounding of an energy: float32 logits leave about 1e-7 of it, and up to 3e-7 nats however small
 * it is; searches that took less for noise spent twenty evaluations on steps of 1e-7. */
static const double NOISE = 1e-7, NOISE_FLOOR = 3e-7;
/* Without a number asked for, starts are enough when another would find an unknown maximum with
 * less than this probability, larger for vectors after the first, which have the runner-ups
 * besides; or when this much is spent on a vector, in the unit of evaluation_cost. */
static const double UNSEEN = 2e-4, UNSEEN_LATER = 1e-3, EFFORT = 3e8;
enum {
    FIRST_STARTS = 16, /* of the first vector, at least */
    LATER_STARTS = 10, /* of the others, which have the runner-ups besides */
    MOST_STARTS = 1024,
    SAMPLE_ITERATIONS = 30,
    RANDOM_CANDIDATES = 8,
    SCORE_SAMPLE = 128, /* tokens that tell candidates apart */
    RUNNER_UPS = 8,
    LARGER = 2, /* times the sample: another one */
    MOST_POLISHED = 32,
    /* climbs on the sample, when starts outnumber them: the others are finished on all tokens */
    FEWEST = 4,
    LOOK_AHEAD = 2, /* maxima compared by what they leave */
    LEFT_STARTS = 3 /* climbs that tell how much that is */
};

struct cbe_default_search {
    bool sampled;
    bool rough;          /* whether the objective has rough energies of the layer */
    double sample_share; /* of the tokens */
    size_t n_refined, n_polished;
    cbe_runner *refined, *polished, *left; /* left: (LEFT_STARTS) */
    size_t n_candidates, max_candidates;
    double *candidates, *scores; /* (max_candidates, d), (max_candidates) */
    /* (max_candidates) each: rough ones on the sample; exact ones, which rough ones are held
     * against */
    double *rough_sampled, *exact_scores;
    cbe_start_kind *kinds; /* (max_candidates) */
    size_t *order;         /* (max_candidates) */
    cbe_maxima fresh;      /* of this vector's starts, on the sample if there is one */
    cbe_maxima known;      /* with energies on all tokens, not polished */
    cbe_maxima peaks;      /* polished */
    cbe_maxima runner_ups; /* what the vector before did not take */
};

/* Restricts the objective, if the search is sampled: to some tokens, 0: all, and to rough energies
 * where it has them. Those before and after are not to be compared. @return whether they are rough
 * now */
static bool set_view(cbe_search *s, const cbe_default_search *ds, size_t tokens, bool rough)
{
    s->join_cosine = ds->sampled && tokens ? NEAR_ON_SAMPLE : NEAR;
    if (!ds->sampled) return false;
    cbe_objective_set_sample(s->objective, tokens);
    s->best_energy = -HUGE_VAL;
    return cbe_objective_set_rough(s->objective, rough);
}

/* Energies of the candidates, into scores, in batches, without gradients. One that is not finite is
 * the lowest. */
static cbe_status score_candidates(cbe_search *s, const cbe_default_search *ds, double *scores,
                                   cbe_error *err)
{
    const size_t n = ds->n_candidates;
    for (size_t first = 0; first < n; first += s->batch) {
        const size_t m = n - first < s->batch ? n - first : s->batch;
        const cbe_status st = cbe_objective_eval(s->objective, m, ds->candidates + first * s->d,
                                                 scores + first, NULL, NULL, err);
        if (st != CBE_OK) return st;
    }
    for (size_t i = 0; i < n; i++)
        if (!isfinite(scores[i])) scores[i] = -HUGE_VAL;
    return CBE_OK;
}

static void add_candidate(cbe_search *s, cbe_default_search *ds, const double *x,
                          cbe_start_kind kind)
{
    ds->kinds[ds->n_candidates] = kind;
    double *c = ds->candidates + ds->n_candidates * s->d;
    const double before = sqrt(cbe_search_dot(s->d, x, x));
    const double left = cbe_sphere_point(&s->sphere, x, c);
    if (left > GONE * before) ds->n_candidates++;
}

static void add_runner_ups(cbe_search *s, cbe_default_search *ds)
{
    for (size_t i = 0; i < ds->runner_ups.n && i < RUNNER_UPS; i++)
        add_candidate(s, ds, ds->runner_ups.list[i].v, CBE_FROM_RUNNER_UP);
}

/* Runner-ups first, then the caller's, then random ones. With a sample, runner-ups are no
 * candidates for starts: they are maxima of all tokens, or nearly, and go on from there. */
static void gather_candidates(cbe_search *s, cbe_default_search *ds)
{
    ds->n_candidates = 0;
    if (!ds->sampled) add_runner_ups(s, ds);
    for (size_t i = 0; i < s->given.n; i++)
        add_candidate(s, ds, s->given.v + i * s->d, s->given.kinds[i]);
    for (size_t i = 0; i < RANDOM_CANDIDATES; i++) {
        cbe_search_random_direction(s, s->batch_v);
        add_candidate(s, ds, s->batch_v, CBE_FROM_RANDOM);
    }
}

/* Takes a candidate for the next of n starts unless a similar one is there. */
static bool add_start(const cbe_search *s, cbe_default_search *ds, size_t candidate, size_t *n)
{
    const double *v = ds->candidates + candidate * s->d;
    for (size_t j = 0; j < *n; j++)
        if (fabs(cbe_search_dot(s->d, v, ds->refined[j].start)) > SIMILAR) return false;
    ds->refined[*n].kind = ds->kinds[candidate];
    memcpy(ds->refined[(*n)++].start, v, s->d * sizeof *v);
    return true;
}

static void random_start(cbe_search *s, cbe_runner *runner)
{
    cbe_search_random_direction(s, s->batch_v);
    cbe_sphere_point(&s->sphere, s->batch_v, runner->start);
    runner->kind = CBE_FROM_RANDOM;
}

/* Starts are the vectors of a basis that was given; then, in turn, the best scored candidate that
 * is left, the first in the list, and the last in it. A score says little about the maximum that a
 * start leads to, and candidates of different kinds lead to different ones. What is missing is
 * random. */
static void choose_starts(cbe_search *s, cbe_default_search *ds, size_t wanted)
{
    const size_t n_candidates = ds->n_candidates;
    for (size_t i = 0; i < n_candidates; i++) {
        size_t j = i;
        for (; j > 0 && ds->scores[ds->order[j - 1]] < ds->scores[i]; j--)
            ds->order[j] = ds->order[j - 1];
        ds->order[j] = i;
    }
    size_t n = 0, best = 0, first = 0, last = n_candidates;
    for (size_t i = 0; i < n_candidates && n < wanted; i++)
        if (ds->kinds[i] == CBE_FROM_GIVEN) add_start(s, ds, i, &n);
    for (size_t turn = 0; n < wanted && best < n_candidates && first < last; turn++) {
        bool added = false;
        while (!added && best < n_candidates && first < last)
            added = add_start(s, ds,
                              turn % 3 == 0   ? ds->order[best++]
                              : turn % 3 == 1 ? first++
                                              : --last,
                              &n);
    }
    for (; n < wanted; n++) random_start(s, &ds->refined[n]);
}

/* Where evaluations are counted: those on a sample, or rough ones, apart from the others. */
static size_t *counter(cbe_search *s, bool cheap)
{
    return cheap ? &s->record.sample_evaluations : &s->record.evaluations;
}

/* Climbs from n starts, into fresh. @param counted  these starts are not in the record yet */
static cbe_status refine(cbe_search *s, cbe_default_search *ds, size_t n, bool counted,
                         cbe_error *err)
{
    const cbe_ascent rules = {.known = &ds->fresh,
                              .fewest = ds->sampled && n > 2 * FEWEST ? FEWEST : 0};
    for (size_t i = 0; i < n; i++) cbe_lbfgs_start(ds->refined[i].opt, ds->refined[i].start);
    const cbe_status st = cbe_ascend(s, n, ds->refined, &rules, counter(s, ds->sampled), err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < n; i++) {
        cbe_runner *r = &ds->refined[i];
        if (!r->joined) cbe_runner_finish(s, r);
        if (counted) cbe_search_count_start(s, r->kind, r->energy);
        if (!r->joined && !r->given_up) cbe_maxima_add(&ds->fresh, r->v, r->energy, r->kind);
    }
    return CBE_OK;
}

/* Whether the highest maximum is 0, or below 0 by rounding alone. */
static bool nothing_found(const cbe_maxima *maxima)
{
    return maxima->n == 0 ||
           (maxima->list[0].energy <= 0 && maxima->list[0].energy >= -NOISE_FLOOR);
}

/* Boender and Rinnooy Kan 1987, Mathematical Programming 37, 59-80: after n starts that found w
 * maxima, the share of starts that lead to others is expected to be w (w + 1) / (n (n - 1)). */
static bool enough_starts(const cbe_search *s, const cbe_default_search *ds)
{
    const double n = (double)s->record.starts, w = (double)ds->fresh.n;
    const double unseen = s->vector == 0 ? UNSEEN : UNSEEN_LATER;
    const double spent =
        (double)s->record.evaluations + (double)s->record.sample_evaluations * ds->sample_share;
    return s->options->n_starts > 0 || s->options->evaluation_cost == 0 ||
           s->d - s->sphere.n_found < 2 || nothing_found(&ds->fresh) ||
           s->record.starts >= MOST_STARTS || spent * s->options->evaluation_cost >= EFFORT ||
           w * (w + 1) <= unseen * n * (n - 1);
}

/* Energies of the candidates, into scores: exact ones on the sample, times what all tokens have
 * beside the sample by rough ones. Exact ones on all tokens would take as long as the rest of a
 * vector; where none are rough, that is what it takes. */
static cbe_status estimate_candidates(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    cbe_status st;
    if (!ds->rough) {
        set_view(s, ds, 0, false);
        return score_candidates(s, ds, ds->scores, err);
    }
    set_view(s, ds, s->options->sample, true);
    if ((st = score_candidates(s, ds, ds->rough_sampled, err)) != CBE_OK) return st;
    set_view(s, ds, s->options->sample, false);
    if ((st = score_candidates(s, ds, ds->exact_scores, err)) != CBE_OK) return st;
    set_view(s, ds, 0, true);
    if ((st = score_candidates(s, ds, ds->scores, err)) != CBE_OK) return st;
    for (size_t i = 0; i < ds->n_candidates; i++) {
        const double rough = ds->rough_sampled[i], exact = ds->exact_scores[i];
        const bool scales = rough > 0 && isfinite(ds->scores[i]) && isfinite(exact);
        ds->scores[i] = scales ? ds->scores[i] * exact / rough : exact;
    }
    return CBE_OK;
}

/* The candidates, with estimates of their energies on all tokens, into known. */
static cbe_status rescore(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    const cbe_status st = estimate_candidates(s, ds, err);
    for (size_t i = 0; i < ds->n_candidates && st == CBE_OK; i++)
        cbe_maxima_add(&ds->known, ds->candidates + i * s->d, ds->scores[i], ds->kinds[i]);
    return st;
}

/* Climbs on all tokens of n runners that have been started; what will not come to a share of the
 * highest is given up. */
static cbe_status climb(cbe_search *s, size_t n, cbe_runner *runners, double share,
                        size_t *evaluations, cbe_error *err)
{
    static const cbe_maxima none = {0};
    const cbe_ascent rules = {.known = &none, .share = share};
    const cbe_status st = cbe_ascend(s, n, runners, &rules, evaluations, err);
    for (size_t i = 0; st == CBE_OK && i < n; i++)
        if (!runners[i].joined) cbe_runner_finish(s, &runners[i]);
    return st;
}

/* Of n runners, those that are trusted stay so where the rough energy of their v, on all tokens, is
 * near the exact one. */
static cbe_status trust(cbe_search *s, cbe_default_search *ds, size_t n, const cbe_runner *runners,
                        bool *trusted, cbe_error *err)
{
    cbe_status st;
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (trusted[i]) cbe_sphere_point(&s->sphere, runners[i].v, ds->candidates + m++ * s->d);
    ds->n_candidates = m;
    set_view(s, ds, 0, false);
    if ((st = score_candidates(s, ds, ds->exact_scores, err)) != CBE_OK) return st;
    set_view(s, ds, 0, true);
    if ((st = score_candidates(s, ds, ds->scores, err)) != CBE_OK) return st;
    for (size_t i = n; i-- > 0;)
        if (trusted[i]) {
            m--;
            trusted[i] =
                fabs(ds->scores[m] - ds->exact_scores[m]) <= TRUSTED * fabs(ds->exact_scores[m]);
        }
    return CBE_OK;
}

/* Starts n runners for the climb by exact energies: where rough ones can be trusted from there on,
 * at the maxima that these lead to, and with the curvature that was learned on the way. */
static cbe_status start_polish(cbe_search *s, cbe_default_search *ds, size_t n, cbe_runner *runners,
                               cbe_error *err)
{
    bool trusted[MOST_POLISHED] = {false};
    for (size_t i = 0; i < n; i++) {
        cbe_lbfgs_start(runners[i].opt, runners[i].start);
        memcpy(runners[i].v, runners[i].start, s->d * sizeof(double));
        trusted[i] = true;
    }
    if (!ds->rough) {
        set_view(s, ds, 0, false);
        return CBE_OK;
    }
    cbe_status st = trust(s, ds, n, runners, trusted, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        if (trusted[i]) st = climb(s, 1, &runners[i], 0, counter(s, true), err);
    if (st != CBE_OK) return st;
    if ((st = trust(s, ds, n, runners, trusted, err)) != CBE_OK) return st;
    for (size_t i = 0; i < n; i++)
        if (trusted[i])
            cbe_lbfgs_restart(runners[i].opt, cbe_lbfgs_x(runners[i].opt, NULL));
        else
            cbe_lbfgs_start(runners[i].opt, runners[i].start);
    set_view(s, ds, 0, false);
    return CBE_OK;
}

/* The highest of n climbs where none of them came to its own end: each was given up for another, or
 * joined one, that was given up later. NULL: one did. There is a peak always. */
static const cbe_runner *last_resort(size_t n, const cbe_runner *runners)
{
    const cbe_runner *highest = &runners[0];
    for (size_t i = 0; i < n; i++) {
        if (!runners[i].joined && !runners[i].given_up) return NULL;
        if (highest->joined || (!runners[i].joined && runners[i].energy > highest->energy))
            highest = &runners[i];
    }
    return highest;
}

/* Polishes the best known maxima, which move to peaks, or stay known where they are given up. */
static cbe_status polish_best(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    const double worth = cbe_search_share(CONTENDER, ds->known.list[0].energy);
    size_t n = 0;
    while (n < ds->n_polished && ds->known.n && (n == 0 || ds->known.list[0].energy > worth)) {
        ds->polished[n].kind = ds->known.list[0].kind;
        memcpy(ds->polished[n++].start, ds->known.list[0].v, s->d * sizeof(double));
        cbe_maxima_remove(&ds->known, 0);
    }
    cbe_status st = start_polish(s, ds, n, ds->polished, err);
    if (st == CBE_OK) st = climb(s, n, ds->polished, CLOSE, counter(s, false), err);
    if (st != CBE_OK) return st;
    const cbe_runner *last = last_resort(n, ds->polished);
    for (size_t i = 0; i < n; i++) {
        const cbe_runner *r = &ds->polished[i];
        if (r->joined && r != last) continue;
        cbe_maxima_add(r->given_up && r != last ? &ds->known : &ds->peaks, r->v, r->energy,
                       r->kind);
        if (ds->peaks.n && ds->peaks.list[0].energy == r->energy)
            s->record.stop = cbe_lbfgs_stopped(r->opt);
    }
    return CBE_OK;
}

/* The highest energy left to the next vector when a peak is taken for this one, as far as the
 * maxima known now lead to it. */
static cbe_status energy_left(cbe_search *s, cbe_default_search *ds, size_t peak, double *energy,
                              cbe_error *err)
{
    const cbe_sphere sphere = s->sphere;
    size_t n = 0;
    memcpy(s->found + s->vector * s->d, ds->peaks.list[peak].v, s->d * sizeof(double));
    s->sphere.n_found = s->vector + 1;
    for (int known = 0; known < 2; known++) {
        const cbe_maxima *from = known ? &ds->known : &ds->peaks;
        for (size_t i = 0; i < from->n && n < LEFT_STARTS; i++)
            if (known || i != peak)
                n += cbe_sphere_point(&s->sphere, from->list[i].v, ds->left[n].start) > GONE;
    }
    for (size_t i = 0; i < n; i++) cbe_lbfgs_start(ds->left[i].opt, ds->left[i].start);
    const cbe_status st = climb(s, n, ds->left, 1, counter(s, ds->rough), err);
    *energy = -HUGE_VAL;
    for (size_t i = 0; st == CBE_OK && i < n; i++)
        if (!ds->left[i].joined) *energy = fmax(*energy, ds->left[i].energy);
    s->sphere = sphere;
    return st;
}

/* Which peak to take. The first vector is the highest. For later ones, of peaks of nearly the same
 * energy, the one that together with the best it leaves to the next vector has the highest sum. */
static cbe_status choose_peak(cbe_search *s, cbe_default_search *ds, size_t *peak, cbe_error *err)
{
    const cbe_maxima *peaks = &ds->peaks;
    size_t n = 1;
    *peak = 0;
    if (s->vector == 0 || s->vector + 1 >= s->n_vectors) return CBE_OK;
    while (n < peaks->n && n < LOOK_AHEAD &&
           peaks->list[n].energy >= cbe_search_share(CLOSE, peaks->list[0].energy))
        n++;
    double highest = -HUGE_VAL;
    if (n > 1) set_view(s, ds, 0, true);
    for (size_t i = 0; i < n && n > 1; i++) {
        double left;
        const cbe_status st = energy_left(s, ds, i, &left, err);
        if (st != CBE_OK) return st;
        if (peaks->list[i].energy + left > highest) {
            highest = peaks->list[i].energy + left;
            *peak = i;
        }
    }
    return CBE_OK;
}

static size_t list_energies(const cbe_maxima *maxima, double *energies)
{
    for (size_t i = 0; i < maxima->n && i < CBE_MAXIMA_LISTED; i++)
        energies[i] = maxima->list[i].energy;
    return maxima->n;
}

/* More starts, random ones, until there are enough. */
static cbe_status find_more(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    cbe_status st = CBE_OK;
    while (st == CBE_OK && !enough_starts(s, ds)) {
        for (size_t i = 0; i < ds->n_refined; i++) random_start(s, &ds->refined[i]);
        st = refine(s, ds, ds->n_refined, true, err);
    }
    return st;
}

/* Climbs on a sample that were given up are where a maximum may be near. */
static void keep_given_up(cbe_default_search *ds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ds->refined[i].given_up)
            cbe_maxima_add(&ds->fresh, ds->refined[i].v, ds->refined[i].energy,
                           ds->refined[i].kind);
}

/* The highest fresh ones become candidates. */
static void take_fresh(cbe_search *s, cbe_default_search *ds)
{
    for (size_t i = 0; i < ds->fresh.n && i < RUNNER_UPS; i++)
        add_candidate(s, ds, ds->fresh.list[i].v, ds->fresh.list[i].kind);
    ds->fresh.n = 0;
}

/* The starts of this vector, refined, and what they found scored on all tokens. On two samples: a
 * direction that matters to few tokens stands out where these are in a small one, and what a small
 * one makes of few tokens a larger one does not; where the objective has no rough energies, and two
 * would take too long, on the small one. */
static cbe_status find_maxima(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    const size_t least = s->vector == 0 || !ds->sampled ? FIRST_STARTS : LATER_STARTS,
                 small = s->options->sample;
    size_t n = s->options->n_starts ? s->options->n_starts : least;
    cbe_status st;
    gather_candidates(s, ds);
    ds->rough = set_view(s, ds, SCORE_SAMPLE < small ? SCORE_SAMPLE : small, true);
    if ((st = score_candidates(s, ds, ds->scores, err)) != CBE_OK) return st;
    choose_starts(s, ds, n);
    if (!ds->sampled) {
        if ((st = refine(s, ds, n, true, err)) == CBE_OK) st = find_more(s, ds, err);
        cbe_maxima_add_all(&ds->known, &ds->fresh);
        return st;
    }
    ds->n_candidates = 0;
    add_runner_ups(s, ds);
    if (ds->rough) {
        set_view(s, ds, LARGER * small, true);
        if ((st = refine(s, ds, n, false, err)) != CBE_OK) return st;
        keep_given_up(ds, n);
        take_fresh(s, ds);
    }
    set_view(s, ds, small, true);
    if ((st = refine(s, ds, n, true, err)) != CBE_OK) return st;
    if ((st = find_more(s, ds, err)) != CBE_OK) return st;
    s->record.n_sample_maxima = list_energies(&ds->fresh, s->record.sample_maxima);
    keep_given_up(ds, n);
    take_fresh(s, ds);
    return rescore(s, ds, err);
}

cbe_maxima *cbe_default_search_runner_ups(cbe_default_search *ds)
{
    return &ds->runner_ups;
}

cbe_status cbe_default_search_vector(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    ds->fresh.n = ds->known.n = ds->peaks.n = 0;
    cbe_status st = find_maxima(s, ds, err);
    size_t peak = 0;
    if (st == CBE_OK) st = polish_best(s, ds, err);
    if (st == CBE_OK) st = choose_peak(s, ds, &peak, err);
    set_view(s, ds, 0, false);
    if (st != CBE_OK) return st;
    s->record.energy = ds->peaks.list[peak].energy;
    s->record.start = ds->peaks.list[peak].kind;
    memcpy(s->found + s->vector * s->d, ds->peaks.list[peak].v, s->d * sizeof(double));
    if (ds->sampled) s->record.n_maxima = list_energies(&ds->peaks, s->record.maxima);
    cbe_maxima_add_all(&ds->peaks, &ds->known);
    if (!ds->sampled) s->record.n_maxima = list_energies(&ds->peaks, s->record.maxima);
    ds->runner_ups.n = 0;
    cbe_maxima_add_all(&ds->runner_ups, &ds->peaks);
    cbe_maxima_remove(&ds->runner_ups, peak);
    return CBE_OK;
}

cbe_status cbe_default_search_create(cbe_default_search **out, const cbe_search *s, cbe_error *err)
{
    const cbe_search_options *o = s->options;
    const size_t d = s->d, n_tokens = cbe_objective_n_tokens(s->objective);
    cbe_default_search *ds = cbe_alloc_zero(1, sizeof *ds, "search", err);
    if (!ds) return CBE_ERR_NOMEM;
    ds->sampled = o->sample > 0 && n_tokens >= 2 * o->sample;
    ds->sample_share = ds->sampled ? (double)o->sample / (double)n_tokens : 1;
    ds->n_refined = o->n_starts ? o->n_starts : FIRST_STARTS;
    ds->n_polished = o->n_polished < MOST_POLISHED ? o->n_polished : MOST_POLISHED;
    ds->max_candidates = s->given.n + RANDOM_CANDIDATES + 3 * RUNNER_UPS + MOST_POLISHED;
    cbe_lbfgs_options options;
    cbe_lbfgs_options_init(&options);
    options.history = 40;
    options.max_iterations = o->max_iterations;
    options.max_evaluations = o->max_iterations + o->max_iterations / 4;
    options.change_stop = 1e-12;
    options.gradient_stop = 1e-10;
    options.relative_stop = POLISH_STOP;
    options.relative_gradient_stop = MAXIMUM;
    options.noise = NOISE;
    options.noise_floor = NOISE_FLOOR;
    ds->polished = cbe_runners_create(ds->n_polished, d, &options, err);
    options.relative_stop = LEFT_STOP;
    ds->left = ds->polished ? cbe_runners_create(LEFT_STARTS, d, &options, err) : NULL;
    options.relative_stop = ds->sampled ? SAMPLE_STOP : REFINE_STOP;
    if (ds->sampled && options.max_iterations > SAMPLE_ITERATIONS)
        options.max_iterations = SAMPLE_ITERATIONS;
    ds->refined = ds->left ? cbe_runners_create(ds->n_refined, d, &options, err) : NULL;
    ds->candidates = cbe_alloc(ds->max_candidates * d, sizeof(double), "search", err);
    ds->scores = cbe_alloc(ds->max_candidates, sizeof(double), "search", err);
    ds->rough_sampled = cbe_alloc(ds->max_candidates, sizeof(double), "search", err);
    ds->exact_scores = cbe_alloc(ds->max_candidates, sizeof(double), "search", err);
    ds->kinds = cbe_alloc(ds->max_candidates, sizeof *ds->kinds, "search", err);
    ds->order = cbe_alloc(ds->max_candidates, sizeof(size_t), "search", err);
    cbe_maxima *lists[] = {&ds->fresh, &ds->known, &ds->peaks, &ds->runner_ups};
    bool ok = ds->polished && ds->left && ds->refined && ds->candidates && ds->scores &&
              ds->rough_sampled && ds->exact_scores && ds->kinds && ds->order;
    for (size_t i = 0; i < sizeof lists / sizeof *lists && ok; i++)
        ok = cbe_maxima_init(lists[i], d, err) == CBE_OK;
    if (!ok) {
        cbe_default_search_free(ds);
        return CBE_ERR_NOMEM;
    }
    *out = ds;
    return CBE_OK;
}

void cbe_default_search_free(cbe_default_search *ds)
{
    if (!ds) return;
    cbe_runners_free(ds->n_refined, ds->refined);
    cbe_runners_free(ds->n_polished, ds->polished);
    cbe_runners_free(LEFT_STARTS, ds->left);
    cbe_maxima *lists[] = {&ds->fresh, &ds->known, &ds->peaks, &ds->runner_ups};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) cbe_maxima_free(lists[i]);
    cbe_free(ds->candidates);
    cbe_free(ds->scores);
    cbe_free(ds->rough_sampled);
    cbe_free(ds->exact_scores);
    cbe_free(ds->kinds);
    cbe_free(ds->order);
    cbe_free(ds);
}
