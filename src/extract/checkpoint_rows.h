/* checkpoint_rows.h - what is known of vectors and layers as rows of numbers of a checkpoint, and
 * back. */
#ifndef CBE_EXTRACT_CHECKPOINT_ROWS_H
#define CBE_EXTRACT_CHECKPOINT_ROWS_H

#include "extract/layer_result.h"

enum {
    CBE_ROW_SINGLE = 9, /* fields of a record that are not lists */
    CBE_ROW_RECORD = CBE_ROW_SINGLE + 2 * CBE_MAXIMA_LISTED + 2 * CBE_N_START_KINDS,
    CBE_ROW_REPORT = 5, /* fields of a report */
    CBE_ROW_TIMES = 3   /* search_seconds, seconds, below_min_energy */
};

void cbe_row_of_record(const cbe_vector_record *record, double row[CBE_ROW_RECORD]);
/** Returns false if the numbers are not those of a record. */
bool cbe_record_of_row(const double row[CBE_ROW_RECORD], cbe_vector_record *record);

void cbe_row_of_report(const cbe_vector_report *report, double row[CBE_ROW_REPORT]);
void cbe_report_of_row(const double row[CBE_ROW_REPORT], cbe_vector_report *report);

void cbe_row_of_times(const cbe_layer_result *result, double row[CBE_ROW_TIMES]);
void cbe_times_of_row(const double row[CBE_ROW_TIMES], cbe_layer_result *result);

#endif
