/* vector_reports.c - see vector_reports.h. */
#include "extract/vector_reports.h"

#include <math.h>

#include "extract/layer_objective_state.h"
#include "search/rules.h"
#include "core/memory.h"

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

/* Fills the reports of vectors first .. first + m - 1. energies (m), constants (m) and per_token
 * (m, N) are scratch. */
static cbe_status report_batch(const cbe_layer_objective *o, const cbe_layer_result *result,
                               bool optimal, size_t first, size_t m, double *energies,
                               double *constants, double *per_token, cbe_error *err)
{
    cbe_objective *objective = o->objective;
    const double *v = result->basis.vectors + first * result->basis.hidden_size;
    cbe_vector_report *reports = result->reports + first;
    cbe_status st = cbe_objective_eval_optimal(objective, m, v, energies, constants, NULL,
                                               optimal ? per_token : NULL, err);
    for (size_t j = 0; j < m && st == CBE_OK; j++) {
        reports[j] = (cbe_vector_report){NAN, NAN, NAN, energies[j], constants[j]};
        if (optimal) tell_lowest(&result->basis.records[first + j], energies[j]);
    }
    if (st == CBE_OK && !optimal)
        st = cbe_objective_eval(objective, m, v, energies, NULL, per_token, err);
    size_t n = cbe_objective_n_tokens(objective);
    for (size_t j = 0; j < m && st == CBE_OK; j++)
        reports[j].standard_error = cbe_sequences_error(&o->sequences, false, per_token + j * n);
    if (st != CBE_OK || !o->sequences.n_held_out) return st;
    cbe_objective_set_held_out(objective);
    n = cbe_objective_n_tokens(objective);
    st = optimal ? cbe_objective_eval_constant(objective, m, v, constants, energies, NULL, NULL,
                                               per_token, err)
                 : cbe_objective_eval(objective, m, v, energies, NULL, per_token, err);
    for (size_t j = 0; j < m && st == CBE_OK; j++) {
        reports[j].held_out_energy = energies[j];
        reports[j].held_out_error = cbe_sequences_error(&o->sequences, true, per_token + j * n);
    }
    cbe_objective_set_sample(objective, 0);
    return st;
}

cbe_status cbe_report_vectors(const cbe_layer_objective *o, cbe_layer_result *result,
                              cbe_ablation ablation, cbe_error *err)
{
    const size_t k = result->basis.n_vectors, batch = cbe_objective_max_batch(o->objective);
    double *scratch =
        cbe_alloc(batch, (2 + o->all_tokens) * sizeof *scratch, "reports of vectors", err);
    result->reports = cbe_alloc(k, sizeof *result->reports, "reports of vectors", err);
    cbe_status st = scratch && result->reports ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t first = 0; first < k && st == CBE_OK; first += batch)
        st = report_batch(o, result, ablation == CBE_ABLATE_OPTIMAL, first,
                          k - first < batch ? k - first : batch, scratch, scratch + batch,
                          scratch + 2 * batch, err);
    if (st == CBE_OK) order_vectors(result);
    cbe_free(scratch);
    return st;
}
