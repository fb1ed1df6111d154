/*
 * axis.h - an axis of a chart: the range of the values on it, round ticks, and where a value lies.
 */
#ifndef CBE_REPORT_AXIS_H
#define CBE_REPORT_AXIS_H

#include <stdbool.h>
#include <stddef.h>

enum { CBE_AXIS_TICKS = 40, CBE_AXIS_LABEL = 32 };

typedef struct {
    double low, high; /* at the two ends, low < high */
    bool log;
    size_t n_ticks;
    double ticks[CBE_AXIS_TICKS]; /* rising, in [low, high] but for rounding */
    char labels[CBE_AXIS_TICKS][CBE_AXIS_LABEL];
} cbe_axis;

/** The values met so far; start with {0}. */
typedef struct {
    size_t n;
    double low, high;
    bool fractions; /* not all of them are whole numbers */
} cbe_axis_range;

/** Whether a value has a place on an axis: finite, at most 1e300 in size; on a log axis at least
 * 1e-300. */
bool cbe_axis_can_show(double value, bool log);
void cbe_axis_range_add(cbe_axis_range *range, double value);
/** An axis for the range, 0 to 1 (log: 1 to 10) where it is empty; a single value lies in the
 * middle. About n_wanted ticks: multiples of 1, 2 or 5 times a power of ten, whole numbers where
 * all values are; on a log axis powers of ten, with 2 and 5 times them below three decades.
 * to_ticks: the ends move out to ticks. */
void cbe_axis_init(cbe_axis *axis, const cbe_axis_range *range, bool log, size_t n_wanted,
                   bool to_ticks);
/** 0 at low, 1 at high. */
double cbe_axis_place(const cbe_axis *axis, double value);

#endif
