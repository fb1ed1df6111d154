/* checkpoint_rows.h - what is known of vectors and layers as rows of numbers of a checkpoint, and
 * back. */
#ifndef CBE_EXTRACT_CHECKPOINT_ROWS_H
#define CBE_EXTRACT_CHECKPOINT_ROWS_H

#include "extract/layer_result.h"

enum {
    CBE_ROW_SINGLE = 9, /* fields of a record that are not lists */
    CBE_ROW_RECORD = CBE_ROW_SINGLE + 2 * CBE_MAXIMA_LISTED + 2 * CBE_N_START_KINDS,
    CBE_ROW_REPORT = CBE_REPORT_NUMBERS,
    CBE_ROW_LAYER = 7 /* search_seconds, seconds, below_min_energy, state, ceiling, trace, within */
};

void cbe_row_of_record(const cbe_vector_record *record, double row[CBE_ROW_RECORD]);
/** Returns false if the numbers are not those of a record. */
bool cbe_record_of_row(const double row[CBE_ROW_RECORD], cbe_vector_record *record);

void cbe_row_of_report(const cbe_vector_report *report, double row[CBE_ROW_REPORT]);
void cbe_report_of_row(const double row[CBE_ROW_REPORT], cbe_vector_report *report);

/** What is one number a layer. */
void cbe_row_of_layer(const cbe_layer_result *result, double row[CBE_ROW_LAYER]);
/** Returns false if the numbers are not those of a layer. */
bool cbe_layer_of_row(const double row[CBE_ROW_LAYER], cbe_layer_result *result);

#endif
