/*
 * axis.h - an axis of a chart: range of values, round ticks, and the place of a value.
 */
#ifndef CBE_REPORT_AXIS_H
#define CBE_REPORT_AXIS_H

#include <stdbool.h>
#include <stddef.h>

enum { CBE_AXIS_TICKS = 40, CBE_AXIS_LABEL = 32 };

typedef struct {
    double low, high; /* values at the two ends, low < high */
    bool log;
    size_t n_ticks;
    double ticks[CBE_AXIS_TICKS]; /* rising, in [low, high] except for rounding */
    char labels[CBE_AXIS_TICKS][CBE_AXIS_LABEL];
} cbe_axis;

/** Range of the values added; start with {0}. */
typedef struct {
    size_t n;
    double low, high;
    bool fractions; /* some values are not whole numbers */
} cbe_axis_range;

/** Whether an axis can show a value: it must be finite, at most 1e300 in size, and on a log axis at
 * least 1e-300. */
bool cbe_axis_can_show(double value, bool log);
/** Adds a value to the range. */
void cbe_axis_range_add(cbe_axis_range *range, double value);
/** Makes an axis for a range; an empty range gives 0 to 1 (log: 1 to 10), and a single value lies
 * in the middle. There are about n_wanted ticks: multiples of 1, 2 or 5 times a power of ten, whole
 * numbers if all values are; on a log axis powers of ten, and 2 and 5 times them if it has less
 * than three decades. to_ticks: the ends move outwards to ticks. */
void cbe_axis_init(cbe_axis *axis, const cbe_axis_range *range, bool log, size_t n_wanted,
                   bool to_ticks);
/** Place of a value: 0 at low, 1 at high. */
double cbe_axis_place(const cbe_axis *axis, double value);

#endif
