/* vector_reports.c - see vector_reports.h. */
#include "extract/vector_reports.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/arrays.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "extract/controls.h"
#include "extract/layer_objective_state.h"
#include "search/rules.h"

/* Scratch of the measurements of up to `batch` directions, and what all of them share. */
typedef struct {
    const cbe_layer_objective *o;
    const cbe_survey *survey;
    bool optimal; /* the objective ablates to optimal constants */
    /* Searched tokens, about, of energies, and of numbers that take several evaluations; 0: all */
    size_t tokens, few;
    size_t n_sequences, few_sequences; /* searched ones that these are on; 0: all */
    bool mean;                         /* the objective ablates to the mean */
    size_t *rows;                      /* (n_sequences), scratch */
    size_t d, batch;                   /* directions measured at once */
    double *v;                         /* (batch, d): scaled directions */
    double *energies;                  /* (batch) */
    double *constants;                 /* (batch): optimal */
    double *scaled;                    /* (batch): constants of scaled directions */
    double *whole;                     /* (batch): energies on the tokens of `few` */
    double *look;                      /* (4, batch): energies at constants */
    double *per_token;                 /* (batch, N) */
    double *sorted;                    /* (N) */
    double *total[2]; /* (N): sums of per_token over directions, of searched and held-out tokens */
} work;

/* A search under optimal ablation takes the first minimum over the constant that it meets. The
 * record gets the energy of the lowest minimum, unless both energies differ by rounding alone. */
static void tell_lowest(cbe_vector_record *record, double energy)
{
    static const double noise = 1e-6; /* of two sums over the tokens, relative */
    if (!(fabs(energy - record->energy) <= noise * fabs(record->energy) + CBE_ENERGY_NOISE_FLOOR))
        record->energy = energy;
}

/* Whether an energy comes before another: the higher one, and one that is not finite last. */
static bool comes_before(double a, double b)
{
    return isfinite(a) && (!isfinite(b) || a > b);
}

static void swap_vectors(cbe_layer_result *result, size_t i, size_t j)
{
    const size_t d = result->basis.hidden_size;
    double *a = result->basis.vectors + i * d, *b = result->basis.vectors + j * d;
    cbe_vector_record *records = result->basis.records;
    for (size_t k = 0; k < d; k++) {
        const double x = a[k];
        a[k] = b[k];
        b[k] = x;
    }
    const cbe_vector_record record = records[i];
    records[i] = records[j];
    records[j] = record;
    const cbe_vector_report report = result->reports[i];
    result->reports[i] = result->reports[j];
    result->reports[j] = report;
}

/* Sorts vectors by falling energy; vectors of equal energy keep their order. */
static void order_vectors(cbe_layer_result *result)
{
    const cbe_vector_record *records = result->basis.records;
    for (size_t i = 1; i < result->basis.n_vectors; i++)
        for (size_t j = i; j > 0 && comes_before(records[j].energy, records[j - 1].energy); j--)
            swap_vectors(result, j, j - 1);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of the energies of n tokens, and the share that the highest 5% of them have. */
static void look_at_tokens(work *w, size_t n, const double *energies, cbe_vector_report *report)
{
    double all = 0, top = 0;
    memcpy(w->sorted, energies, n * sizeof *energies);
    qsort(w->sorted, n, sizeof *w->sorted, compare);
    for (size_t i = 0; i < n; i++) {
        all += w->sorted[i];
        if (i >= n - (n + 19) / 20) top += w->sorted[i];
    }
    report->median = (w->sorted[(n - 1) / 2] + w->sorted[n / 2]) / 2;
    report->top_share = all > CBE_ENERGY_NOISE_FLOOR * (double)n ? top / all : NAN;
}

/* Energies where a share t of the component is taken out. The component along v is taken out as
 * often as v is long, and read as often: sqrt(t) v takes out t of what v does. */
static cbe_status measure_share(work *w, double t, size_t m, const double *v, cbe_error *err)
{
    for (size_t i = 0; i < m * w->d; i++) w->v[i] = sqrt(t) * v[i];
    for (size_t j = 0; j < m; j++) w->scaled[j] = sqrt(t) * w->constants[j];
    return w->optimal ? cbe_objective_eval_constant(w->o->objective, m, w->v, w->scaled,
                                                    w->energies, NULL, NULL, NULL, err)
                      : cbe_objective_eval(w->o->objective, m, w->v, w->energies, NULL, NULL, err);
}

/* Adds energies per token to the totals. */
static void add_tokens(work *w, size_t m, size_t n, bool held_out)
{
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < n; i++) w->total[held_out][i] += w->per_token[j * n + i];
}

/* Measures the held-out tokens. */
static cbe_status measure_held_out(work *w, size_t m, const double *v, cbe_vector_report *reports,
                                   cbe_error *err)
{
    cbe_objective *objective = w->o->objective;
    cbe_objective_set_held_out(objective);
    const size_t n = cbe_objective_n_tokens(objective);
    const cbe_status st =
        w->optimal ? cbe_objective_eval_constant(objective, m, v, w->constants, w->energies, NULL,
                                                 NULL, w->per_token, err)
                   : cbe_objective_eval(objective, m, v, w->energies, NULL, w->per_token, err);
    for (size_t j = 0; j < m && st == CBE_OK; j++) {
        reports[j].held_out_energy = w->energies[j];
        reports[j].held_out_error =
            cbe_sequences_error(&w->o->sequences, true, w->per_token + j * n);
    }
    if (st == CBE_OK) add_tokens(w, m, n, true);
    return st;
}

/* kappa of a direction v. Oblique ablation reads r and writes w of u: (r' Sigma r)(w' S^-1 w). */
static double kappa_of(work *w, const double *v)
{
    const cbe_covariance *covariance = w->survey->covariance;
    const cbe_metric *metric = w->survey->metric;
    if (!metric->covariance) return cbe_covariance_kappa(covariance, CBE_COVARIANCE_RIDGE, v);
    double square = 0; /* w = S^1/2 u: w' S^-1 w = u' u */
    for (size_t k = 0; k < w->d; k++) square += v[k] * v[k];
    cbe_metric_read(metric, w->d, 1, v, w->v);
    return cbe_covariance_variance(covariance, w->v) * square;
}

/* The standard error of energies of the searched tokens. */
static double searched_error(work *w, const double *per_token)
{
    return w->tokens
               ? cbe_sequences_sample_error(&w->o->sequences, w->n_sequences, w->rows, per_token)
               : cbe_sequences_error(&w->o->sequences, false, per_token);
}

/* Takes the energies that were measured last as the like share of the energies of more tokens. */
static void scale_energies(work *w, size_t m, const cbe_vector_report *reports)
{
    for (size_t j = 0; j < m && w->few; j++)
        w->energies[j] = w->whole[j] > 0 ? w->energies[j] / w->whole[j] * reports[j].energy : NAN;
}

/* Constants a number of standard deviations of the component from its mean. */
static void set_constants(work *w, size_t m, const double *v, const double *sides)
{
    const cbe_covariance *covariance = w->survey->covariance;
    for (size_t j = 0; j < m; j++) {
        double mean = 0;
        cbe_metric_read(w->survey->metric, w->d, 1, v + j * w->d, w->v);
        for (size_t k = 0; k < w->d; k++) mean += covariance->mean[k] * w->v[k];
        w->scaled[j] = mean + sides[j] * sqrt(fmax(cbe_covariance_variance(covariance, w->v), 0));
    }
}

/* Energies of m directions at these constants. */
static cbe_status measure_at(work *w, size_t m, const double *v, double *energies, cbe_error *err)
{
    return cbe_objective_eval_constant(w->o->objective, m, v, w->scaled, energies, NULL, NULL, NULL,
                                       err);
}

/* Keeps what is lower than the energies so far, of m directions from `first` on. */
static void keep_lower(work *w, size_t first, size_t m, const double *energies)
{
    for (size_t j = 0; j < m; j++) {
        if (!(energies[j] < w->energies[first + j])) continue;
        w->energies[first + j] = energies[j];
        w->constants[first + j] = w->scaled[j];
    }
}

/* The least energy of four constants, for the whole model and many tokens, where the search for the
 * best one takes longer than that for the vector. They are the mean, a standard deviation of the
 * component on either side, and the lowest point of the parabola through these where that promises
 * to be lower. */
static cbe_status look_for_constants(work *w, size_t m, const double *v, cbe_error *err)
{
    static const double promises = 0.95;
    double *look[] = {w->look, w->look + w->batch, w->look + 2 * w->batch},
           *sides = w->look + 3 * w->batch, energy;
    cbe_status st = CBE_OK;
    for (size_t j = 0; j < m; j++) w->energies[j] = HUGE_VAL;
    for (size_t i = 0; i < 3 && st == CBE_OK; i++) {
        for (size_t j = 0; j < m; j++) sides[j] = i == 0 ? 0 : i == 1 ? -1 : 1;
        set_constants(w, m, v, sides);
        if (i == 0 && w->mean)
            memcpy(look[0], w->whole, m * sizeof *look[0]); /* measured before */
        else
            st = measure_at(w, m, v, look[i], err);
        if (st == CBE_OK) keep_lower(w, 0, m, look[i]);
    }
    for (size_t j = 0; j < m && st == CBE_OK; j++) {
        const double slope = (look[2][j] - look[1][j]) / 2,
                     bend = (look[2][j] + look[1][j]) / 2 - look[0][j];
        if (!(bend > 0) || !(look[0][j] - slope * slope / (4 * bend) < promises * w->energies[j]))
            continue;
        const double lowest = -slope / (2 * bend);
        set_constants(w, 1, v + j * w->d, &lowest);
        st = measure_at(w, 1, v + j * w->d, &energy, err);
        if (st == CBE_OK) keep_lower(w, j, 1, &energy);
    }
    return st;
}

/* Measures what takes several evaluations, on few tokens where there are many. */
static cbe_status measure_shares(work *w, bool thorough, size_t m, const double *v,
                                 cbe_vector_report *reports, cbe_error *err)
{
    cbe_objective *objective = w->o->objective;
    cbe_status st = CBE_OK;
    cbe_objective_set_sample(objective, w->few);
    if (st == CBE_OK && thorough && !w->optimal) {
        st = w->few ? look_for_constants(w, m, v, err)
                    : cbe_objective_eval_optimal(objective, m, v, w->energies, w->constants, NULL,
                                                 NULL, err);
        scale_energies(w, m, reports);
        for (size_t j = 0; j < m && st == CBE_OK; j++) {
            reports[j].optimal_energy = w->energies[j];
            reports[j].optimal_constant = w->constants[j];
        }
    }
    if (st == CBE_OK) st = measure_share(w, 0.5, m, v, err);
    scale_energies(w, m, reports);
    for (size_t j = 0; j < m && st == CBE_OK; j++) reports[j].half_energy = w->energies[j];
    if (st == CBE_OK && thorough) st = measure_share(w, 0.1, m, v, err);
    scale_energies(w, m, reports);
    for (size_t j = 0; j < m && st == CBE_OK && thorough; j++)
        reports[j].tenth_energy = w->energies[j];
    return st;
}

/* The mean over the sequences of `few`, which are among those of all energies. */
static double mean_of_few(const work *w, const double *per_token)
{
    const cbe_sequences *s = &w->o->sequences;
    const size_t searched = s->n - s->n_held_out, all = w->tokens ? w->n_sequences : searched;
    double sum = 0, n = 0;
    for (size_t i = 0, next = 0; i < all; i++) {
        const size_t rows = s->rows[i * searched / all];
        const bool in =
            next < w->few_sequences && i * searched / all == next * searched / w->few_sequences;
        for (size_t t = 0; t < rows; t++) {
            if (in) sum += *per_token;
            per_token++;
        }
        if (in) n += (double)rows;
        next += in;
    }
    return n > 0 ? sum / n : NAN;
}

/* Measures m directions, at most a batch.
 * @param thorough  whether to look for the constants of optimal ablation, if no energy needs them,
 *                  and to measure a tenth of the strength */
static cbe_status measure(work *w, bool thorough, size_t m, const double *v,
                          cbe_vector_report *reports, cbe_error *err)
{
    cbe_objective *objective = w->o->objective;
    cbe_objective_set_sample(objective, w->tokens);
    const size_t n = cbe_objective_n_tokens(objective);
    cbe_status st = CBE_OK;
    for (size_t j = 0; j < m; j++)
        for (size_t k = 0; k < CBE_REPORT_NUMBERS; k++) ((double *)&reports[j])[k] = NAN;
    memset(w->constants, 0, m * sizeof *w->constants);
    if (w->optimal)
        st = cbe_objective_eval_optimal(objective, m, v, w->energies, w->constants, NULL,
                                        w->per_token, err);
    for (size_t j = 0; j < m && st == CBE_OK && w->optimal; j++) {
        reports[j].optimal_energy = w->energies[j];
        reports[j].optimal_constant = w->constants[j];
    }
    if (st == CBE_OK && !w->optimal)
        st = cbe_objective_eval(objective, m, v, w->energies, NULL, w->per_token, err);
    for (size_t j = 0; j < m && st == CBE_OK; j++) {
        const double *each = w->per_token + j * n;
        reports[j].energy = w->energies[j];
        reports[j].standard_error = searched_error(w, each);
        reports[j].kappa = kappa_of(w, v + j * w->d);
        w->whole[j] = mean_of_few(w, each);
        look_at_tokens(w, n, each, &reports[j]);
    }
    if (st == CBE_OK) add_tokens(w, m, n, false);
    if (st == CBE_OK && w->o->sequences.n_held_out) st = measure_held_out(w, m, v, reports, err);
    if (st == CBE_OK && (thorough || !w->few)) st = measure_shares(w, thorough, m, v, reports, err);
    cbe_objective_set_sample(objective, 0);
    return st;
}

/* Measures n directions, a batch after the other. The totals are then of these directions. */
static cbe_status measure_all(work *w, bool thorough, size_t n, const double *v,
                              cbe_vector_report *reports, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (int out = 0; out < 2; out++)
        memset(w->total[out], 0, w->o->all_tokens * sizeof *w->total[out]);
    for (size_t first = 0; first < n && st == CBE_OK; first += w->batch)
        st = measure(w, thorough, cbe_min_size(n - first, w->batch), v + first * w->d,
                     reports + first, err);
    return st;
}

/* The mean of the reports of the directions measured last, with the errors of the mean. */
static void take_mean(work *w, size_t n, const cbe_vector_report *reports, cbe_vector_report *out)
{
    for (size_t k = 0; k < CBE_REPORT_NUMBERS; k++) {
        double *sum = (double *)out + k;
        *sum = 0;
        for (size_t j = 0; j < n; j++) *sum += ((const double *)&reports[j])[k] / (double)n;
    }
    for (int held_out = 0; held_out < 2; held_out++)
        for (size_t i = 0; i < w->o->all_tokens; i++) w->total[held_out][i] /= (double)n;
    out->standard_error = searched_error(w, w->total[false]);
    if (w->o->sequences.n_held_out)
        out->held_out_error = cbe_sequences_error(&w->o->sequences, true, w->total[true]);
    out->optimal_constant = NAN; /* a number for each direction */
}

/* Measures the directions that vectors are compared with. In the whole model
 * random ones have the numbers alone that are cheap: a search for constants would take longer than
 * all other numbers of a report. */
static cbe_status measure_controls(work *w, uint64_t seed, cbe_layer_result *result, cbe_error *err)
{
    cbe_vector_report reports[CBE_RANDOM_CONTROLS];
    double *v = cbe_alloc(1 + CBE_RANDOM_CONTROLS, w->d * sizeof *v, "controls", err);
    if (!v) return CBE_ERR_NOMEM;
    cbe_controls_make(w->survey->covariance, w->survey->metric, seed, result->state, v);
    cbe_status st = measure_all(w, true, 1, v, &result->controls[CBE_CONTROL_PRINCIPAL], err);
    const size_t n_random = w->o->model ? CBE_MODEL_RANDOM_CONTROLS : CBE_RANDOM_CONTROLS;
    if (st == CBE_OK) st = measure_all(w, !w->o->model, n_random, v + w->d, reports, err);
    if (st == CBE_OK) take_mean(w, n_random, reports, &result->controls[CBE_CONTROL_RANDOM]);
    cbe_free(v);
    return st;
}

size_t cbe_report_tokens(const cbe_layer_objective *o, cbe_ablation ablation)
{
    const size_t searched = o->sequences.n - o->sequences.n_held_out,
                 each = o->all_tokens / o->sequences.n,
                 wanted = cbe_max_size((cbe_cost_rules.report_tokens + each / 2) / each, 1);
    return o->model && ablation != CBE_ABLATE_OPTIMAL && wanted < searched ? wanted * each : 0;
}

/* In the whole model an evaluation of all tokens can take longer than the search of a vector. */
static void choose_tokens(work *w)
{
    const cbe_layer_objective *o = w->o;
    const size_t each = o->all_tokens / o->sequences.n;
    w->tokens = cbe_report_tokens(o, CBE_ABLATE_MEAN);
    w->n_sequences = w->tokens / each;
    if (o->all_tokens - o->sequences.n_held_out * each > 2 * cbe_cost_rules.report_few)
        w->few = cbe_cost_rules.report_few;
    if (w->few) w->few_sequences = cbe_max_size((w->few + each / 2) / each, 1);
}

cbe_status cbe_report_vectors(const cbe_layer_objective *o, const cbe_survey *survey,
                              cbe_layer_result *result, const cbe_extraction_options *options,
                              cbe_error *err)
{
    const size_t k = result->basis.n_vectors, d = result->basis.hidden_size,
                 batch = cbe_objective_max_batch(o->objective), n = o->all_tokens;
    cbe_vector_record *records = result->basis.records;
    work w = {.o = o,
              .survey = survey,
              .optimal = options->ablation == CBE_ABLATE_OPTIMAL,
              .d = d,
              .batch = batch};
    w.mean = options->ablation == CBE_ABLATE_MEAN;
    if (o->model && !w.optimal) choose_tokens(&w);
    const cbe_array arrays[] = {
        {&result->reports, k, sizeof *result->reports, "reports of vectors"},
        {&w.v, batch * d, sizeof *w.v, "reports of vectors"},
        {&w.energies, batch, sizeof *w.energies, "reports of vectors"},
        {&w.constants, batch, sizeof *w.constants, "reports of vectors"},
        {&w.scaled, batch, sizeof *w.scaled, "reports of vectors"},
        {&w.whole, batch, sizeof *w.whole, "reports of vectors"},
        {&w.look, 4 * batch, sizeof *w.look, "reports of vectors"},
        {&w.rows, w.n_sequences, sizeof *w.rows, "reports of vectors"},
        {&w.per_token, cbe_times(batch, n, 1), sizeof *w.per_token, "reports of vectors"},
        {&w.sorted, n, sizeof *w.sorted, "reports of vectors"},
        {&w.total[0], n, sizeof *w.total[0], "reports of vectors"},
        {&w.total[1], n, sizeof *w.total[1], "reports of vectors"},
    };
    const size_t count = sizeof arrays / sizeof *arrays;
    cbe_status st = cbe_arrays_allocate(count, arrays, err);
    result->state = cbe_site_state(options->site, result->layer);
    result->ceiling = survey->ceiling;
    result->covariance_trace = survey->covariance->trace;
    if (st == CBE_OK) st = measure_all(&w, true, k, result->basis.vectors, result->reports, err);
    for (size_t j = 0; j < k && st == CBE_OK; j++) {
        if (w.optimal) tell_lowest(&records[j], result->reports[j].optimal_energy);
        if (result->basis.estimated) records[j].energy = result->reports[j].energy;
        result->reports[j].energy = records[j].energy;
    }
    if (st == CBE_OK) st = measure_controls(&w, options->search.seed, result, err);
    if (st == CBE_OK) order_vectors(result);
    cbe_arrays_free(count - 1, arrays + 1); /* the reports are the result's */
    return st;
}
