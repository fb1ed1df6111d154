/* search.c - see search.h: vector after vector by a strategy, and the order of the result. The
 * search asks the objective and knows nothing else of it. */
#include "search/search.h"

#include <math.h>

#include "search/resume.h"
#include "search/rules.h"
#include "search/strategy.h"
#include "core/clock.h"
#include "core/fail.h"
#include "core/memory.h"

void cbe_search_options_init(cbe_search_options *options)
{
    *options = (cbe_search_options){.preset = CBE_PRESET_DEFAULT,
                                    .max_iterations = cbe_option_rules.max_iterations,
                                    .n_polished = cbe_option_rules.polished,
                                    .sample = cbe_option_rules.sample};
}

const char *cbe_preset_name(cbe_preset preset)
{
    static const char *const names[] = {"default", "seed", "tuned-lens", "leaps"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_PRESETS, "one name for each preset");
    return names[preset];
}

bool cbe_preset_is_of_older_program(cbe_preset preset)
{
    return preset == CBE_PRESET_SEED || preset == CBE_PRESET_TUNED_LENS;
}

static const cbe_search_strategy *choose_strategy(const cbe_search_options *options)
{
    static const cbe_search_strategy *const of_preset[] = {
        &cbe_default_strategy, &cbe_seed_strategy, &cbe_tuned_lens_strategy, &cbe_leap_strategy};
    _Static_assert(sizeof of_preset / sizeof *of_preset == CBE_N_PRESETS, "one for each preset");
    return options->preset == CBE_PRESET_DEFAULT && options->guide ? &cbe_guided_strategy
                                                                   : of_preset[options->preset];
}

/* Makes a found vector orthogonal to the vectors before it and unit to the last digit; the second
 * pass takes what rounding left in the first. A vector of which next to nothing remains gives its
 * place to a random one, whose energy is evaluated. */
static cbe_status orthonormalise_found(cbe_search *s, cbe_error *err)
{
    const cbe_sphere exact = cbe_search_sphere(s, s->vector, s->found, 0);
    double *v = s->found + s->vector * s->d;
    bool replaced = false;
    for (int pass = 0; pass < 2; pass++) {
        const double before = sqrt(cbe_sphere_dot(s->d, v, v));
        if (cbe_sphere_point(&exact, v, v) > cbe_common_rules.vector_gone * before) continue;
        cbe_search_random_direction(s, v);
        replaced = true;
        pass = -1;
    }
    return replaced ? cbe_objective_eval(s->objective, 1, v, &s->record.energy, NULL, NULL, err)
                    : CBE_OK;
}

/* Whether the last of n vectors is the layer's last for its energy. */
static bool fell_below(const cbe_search_options *options, size_t n,
                       const cbe_vector_record *records)
{
    return n > 0 && options->min_energy > 0 && !(records[n - 1].energy >= options->min_energy);
}

/* Finds the vector in work, and makes it the last of s->found. */
static cbe_status find_vector(cbe_search *s, const cbe_search_strategy *strategy, void *searcher,
                              size_t vector, cbe_error *err)
{
    const double began = cbe_now();
    s->vector = vector;
    s->sphere = cbe_search_sphere(s, vector, s->found, strategy->tau);
    s->record = (cbe_vector_record){0};
    s->best_energy = -HUGE_VAL;
    cbe_status st = strategy->vector(searcher, s, err);
    if (st == CBE_OK) st = orthonormalise_found(s, err);
    if (!isfinite(s->record.energy)) s->record.energy = NAN;
    s->record.seconds = cbe_now() - began;
    return st;
}

static cbe_status check_options(const cbe_search_options *options, size_t d, cbe_error *err)
{
    if (options->n_vectors > d)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu vectors cannot be orthogonal in %zu dimensions; give " CBE_TERM(
                            "-k", "vectors") " %zu or less",
                        options->n_vectors, d, d);
    if (options->n_within && options->n_vectors > options->n_within)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu vectors cannot be orthogonal within %zu dimensions; give " CBE_TERM(
                            "-k", "vectors") " %zu or less, or more with " CBE_OPTION("within"),
                        options->n_vectors, options->n_within, options->n_within);
    if (options->n_within && cbe_preset_is_of_older_program(options->preset))
        return cbe_fail(err, CBE_ERR_ARG, -1, "the preset %s searches all dimensions",
                        cbe_preset_name(options->preset));
    if (options->preset == CBE_PRESET_DEFAULT && options->n_polished == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "at least 1 maximum must be polished");
    return CBE_OK;
}

cbe_status cbe_search_layer(cbe_basis *out, cbe_objective *objective,
                            const cbe_search_options *options, const cbe_start_list *candidates,
                            cbe_search_progress *progress, void *context, cbe_error *err)
{
    const size_t d = cbe_objective_hidden_size(objective);
    const size_t k = options->n_vectors ? options->n_vectors : cbe_search_dimensions(options, d);
    cbe_status st = check_options(options, d, err);
    if (st != CBE_OK) return st;
    const cbe_search_strategy *strategy = choose_strategy(options);
    cbe_search s = {0};
    cbe_point_room room = {0};
    void *searcher = NULL;
    cbe_vector_record *records = cbe_alloc_zero(k, sizeof *records, "basis", err);
    st = records ? cbe_search_prepare(&s, objective, options, k, err) : CBE_ERR_NOMEM;
    if (st == CBE_OK) st = cbe_point_room_make(&room, d, err);
    if (st != CBE_OK) goto done;
    if (candidates) s.given = *candidates;
    s.progress = progress;
    s.context = context;
    if ((st = strategy->create(&searcher, &s, err)) != CBE_OK) goto done;
    cbe_maxima *runner_ups = strategy->runner_ups ? strategy->runner_ups(searcher) : NULL;
    size_t n;
    if ((st = cbe_search_restore(&s, &n, records, runner_ups, err)) != CBE_OK) goto done;
    if (strategy->basis) {
        if ((st = strategy->basis(searcher, &s, records, err)) != CBE_OK) goto done;
        for (n = 0; n < k && !fell_below(options, n, records);) n++;
    }
    while (!strategy->basis && n < k && !fell_below(options, n, records)) {
        if ((st = find_vector(&s, strategy, searcher, n, err)) != CBE_OK) goto done;
        records[n++] = s.record;
        st = cbe_search_tell_point(&s, n, records, runner_ups, &room, err);
        if (st != CBE_OK) goto done;
    }
    if (strategy->finish && (st = strategy->finish(&s, records, n, err)) != CBE_OK) goto done;
    st = cbe_basis_make(out, d, n, s.found, records, err);
    if (st != CBE_OK) goto done;
    out->below_min_energy = n < k;
    out->estimated = strategy->basis != NULL;
done:
    strategy->free(searcher);
    cbe_search_release(&s);
    cbe_point_room_free(&room);
    cbe_free(records);
    return st;
}
