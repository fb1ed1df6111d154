/* report_columns.c - see report_columns.h. */
#include "extract/report_columns.h"

#include <math.h>

#include "search/rules.h"

const char *cbe_report_column_name(cbe_report_column column)
{
    static const char *const names[] = {
        "energy",         "standard_error",       "held_out_energy", "held_out_standard_error",
        "optimal_energy", "optimal_constant",     "kappa",           "share_of_ceiling",
        "half_energy",    "amplification",        "median",          "top_share",
        "model_energy",   "model_standard_error", "own_energy"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_COLUMNS, "in the order of the enum");
    return names[column];
}

/* E(1) / (100 E(0.1)): 1 where the energy grows as the square of the strength. Energies that are
 * rounding have no ratio. */
static double amplification(const cbe_vector_report *r)
{
    return r->tenth_energy > CBE_ENERGY_NOISE_FLOOR ? r->energy / (100 * r->tenth_energy) : NAN;
}

double cbe_report_value(const cbe_vector_report *r, double ceiling, cbe_report_column column)
{
    switch (column) {
    case CBE_COLUMN_ENERGY: return r->energy;
    case CBE_COLUMN_ERROR: return r->standard_error;
    case CBE_COLUMN_HELD_OUT: return r->held_out_energy;
    case CBE_COLUMN_HELD_OUT_ERROR: return r->held_out_error;
    case CBE_COLUMN_OPTIMAL: return r->optimal_energy;
    case CBE_COLUMN_CONSTANT: return r->optimal_constant;
    case CBE_COLUMN_KAPPA: return r->kappa;
    case CBE_COLUMN_SHARE: return r->energy / ceiling;
    case CBE_COLUMN_HALF: return r->half_energy;
    case CBE_COLUMN_AMPLIFICATION: return amplification(r);
    case CBE_COLUMN_MEDIAN: return r->median;
    case CBE_COLUMN_TOP_SHARE: return r->top_share;
    case CBE_COLUMN_MODEL: return r->model_energy;
    case CBE_COLUMN_MODEL_ERROR: return r->model_error;
    case CBE_COLUMN_OWN: return r->own_energy;
    case CBE_N_COLUMNS: break;
    }
    return NAN;
}
