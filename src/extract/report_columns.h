/* report_columns.h - the numbers of a direction by name: columns of tables and of vectors.csv, keys
 * of basis.json, names of cbe_run_values. */
#ifndef CBE_EXTRACT_REPORT_COLUMNS_H
#define CBE_EXTRACT_REPORT_COLUMNS_H

#include "extract/layer_result.h"

/** In the order of files. */
typedef enum {
    CBE_COLUMN_ENERGY = 0,
    CBE_COLUMN_ERROR,
    CBE_COLUMN_HELD_OUT,
    CBE_COLUMN_HELD_OUT_ERROR,
    CBE_COLUMN_OPTIMAL,
    CBE_COLUMN_CONSTANT,
    CBE_COLUMN_KAPPA,
    CBE_COLUMN_SHARE, /* of the ceiling */
    CBE_COLUMN_HALF,
    CBE_COLUMN_AMPLIFICATION,
    CBE_COLUMN_MEDIAN,
    CBE_COLUMN_TOP_SHARE,
    CBE_COLUMN_MODEL, /* this and the next two through a lens alone */
    CBE_COLUMN_MODEL_ERROR,
    CBE_COLUMN_OWN,
    CBE_N_COLUMNS
} cbe_report_column;

/** "energy", "standard_error", "held_out_energy", "held_out_standard_error", ... */
const char *cbe_report_column_name(cbe_report_column column);
/** The number of a column; NaN if it was not measured. @param ceiling  of the layer */
double cbe_report_value(const cbe_vector_report *report, double ceiling, cbe_report_column column);

#endif
