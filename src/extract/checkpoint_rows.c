/* checkpoint_rows.c - see checkpoint_rows.h. */
#include "extract/checkpoint_rows.h"

#include <math.h>
#include <string.h>

static const double COUNT_MOST = 9007199254740992.0; /* 2^53: counts below it are exact */

void cbe_row_of_record(const cbe_vector_record *r, double row[CBE_ROW_RECORD])
{
    const double single[CBE_ROW_SINGLE] = {r->energy,
                                           (double)r->evaluations,
                                           (double)r->sample_evaluations,
                                           (double)r->starts,
                                           r->seconds,
                                           (double)r->stop,
                                           (double)r->n_maxima,
                                           (double)r->n_sample_maxima,
                                           (double)r->start};
    memcpy(row, single, sizeof single);
    row += CBE_ROW_SINGLE;
    memcpy(row, r->maxima, sizeof r->maxima);
    memcpy(row + CBE_MAXIMA_LISTED, r->sample_maxima, sizeof r->sample_maxima);
    row += 2 * CBE_MAXIMA_LISTED;
    for (size_t i = 0; i < CBE_N_START_KINDS; i++) {
        row[2 * i] = (double)r->by_kind[i].starts;
        row[2 * i + 1] = r->by_kind[i].energy;
    }
}

/* Returns false if x is not a count below `end`. */
static bool to_count(double x, double end, size_t *out)
{
    if (!(x >= 0 && x < end) || x != floor(x)) return false;
    *out = (size_t)x;
    return true;
}

bool cbe_record_of_row(const double row[CBE_ROW_RECORD], cbe_vector_record *r)
{
    size_t stop, start;
    *r = (cbe_vector_record){.energy = row[0], .seconds = row[4]};
    bool right = to_count(row[1], COUNT_MOST, &r->evaluations) &&
                 to_count(row[2], COUNT_MOST, &r->sample_evaluations) &&
                 to_count(row[3], COUNT_MOST, &r->starts) && to_count(row[5], CBE_N_STOPS, &stop) &&
                 to_count(row[6], COUNT_MOST, &r->n_maxima) &&
                 to_count(row[7], COUNT_MOST, &r->n_sample_maxima) &&
                 to_count(row[8], CBE_N_START_KINDS, &start);
    if (!right) return false;
    r->stop = (cbe_stop)stop;
    r->start = (cbe_start_kind)start;
    row += CBE_ROW_SINGLE;
    memcpy(r->maxima, row, sizeof r->maxima);
    memcpy(r->sample_maxima, row + CBE_MAXIMA_LISTED, sizeof r->sample_maxima);
    row += 2 * CBE_MAXIMA_LISTED;
    for (size_t i = 0; i < CBE_N_START_KINDS; i++) {
        right = right && to_count(row[2 * i], COUNT_MOST, &r->by_kind[i].starts);
        r->by_kind[i].energy = row[2 * i + 1];
    }
    return right;
}

void cbe_row_of_report(const cbe_vector_report *r, double row[CBE_ROW_REPORT])
{
    memcpy(row, r, sizeof *r);
}

void cbe_report_of_row(const double row[CBE_ROW_REPORT], cbe_vector_report *r)
{
    memcpy(r, row, sizeof *r);
}

void cbe_row_of_layer(const cbe_layer_result *result, double row[CBE_ROW_LAYER])
{
    const double numbers[CBE_ROW_LAYER] = {
        result->search_seconds, result->seconds, result->basis.below_min_energy ? 1 : 0,
        (double)result->state,  result->ceiling, result->covariance_trace,
        (double)result->within};
    memcpy(row, numbers, sizeof numbers);
}

bool cbe_layer_of_row(const double row[CBE_ROW_LAYER], cbe_layer_result *result)
{
    result->search_seconds = row[0];
    result->seconds = row[1];
    result->basis.below_min_energy = row[2] != 0;
    result->ceiling = row[4];
    result->covariance_trace = row[5];
    return to_count(row[3], COUNT_MOST, &result->state) &&
           to_count(row[6], COUNT_MOST, &result->within);
}
