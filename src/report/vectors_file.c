/* vectors_file.c - see vectors_file.h. */
#include "report/vectors_file.h"

#include <stdio.h>

#include "extract/report_columns.h"
#include "extract/site.h"
#include "extract/verdict.h"
#include "report/csv.h"

static cbe_status put_header(cbe_byte_buffer *csv, cbe_error *err)
{
    cbe_status st = cbe_csv_print(csv, err, "layer,state,kind,vector");
    for (int c = 0; c < CBE_N_COLUMNS && st == CBE_OK; c++)
        st = cbe_csv_print(csv, err, ",%s", cbe_report_column_name((cbe_report_column)c));
    return st == CBE_OK ? cbe_csv_print(csv, err, ",ceiling,verdict\n") : st;
}

/* @param vector  its number from 1; 0: a control */
static cbe_status put_row(cbe_byte_buffer *csv, const cbe_layer_result *result, const char *kind,
                          size_t vector, const cbe_vector_report *report, cbe_error *err)
{
    char state[CBE_STATE_NAME], number[24] = "";
    if (vector) snprintf(number, sizeof number, "%zu", vector);
    cbe_state_name(result->state, state);
    cbe_status st = cbe_csv_print(csv, err, "%zu,%s,%s,%s", result->layer, state, kind, number);
    for (int c = 0; c < CBE_N_COLUMNS && st == CBE_OK; c++)
        st = cbe_csv_number(csv, cbe_report_value(report, result->ceiling, (cbe_report_column)c),
                            err);
    if (st == CBE_OK) st = cbe_csv_number(csv, result->ceiling, err);
    return st == CBE_OK ? cbe_csv_print(csv, err, ",%s\n",
                                        cbe_verdict_name(cbe_judge(report, result->ceiling)))
                        : st;
}

cbe_status cbe_vectors_table(cbe_byte_buffer *out, size_t n, const cbe_layer_result *results,
                             cbe_error *err)
{
    cbe_status st = put_header(out, err);
    for (size_t i = 0; i < n; i++) {
        const cbe_layer_result *r = &results[i];
        for (size_t j = 0; j < r->basis.n_vectors && st == CBE_OK; j++)
            st = put_row(out, r, "vector", j + 1, &r->reports[j], err);
        for (int c = 0; c < CBE_N_CONTROLS && st == CBE_OK; c++)
            st = put_row(out, r, cbe_control_name((cbe_control)c), 0, &r->controls[c], err);
    }
    return st;
}
