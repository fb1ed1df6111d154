/* axis.c - see axis.h. */
#include "report/axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double LARGEST = 1e300, SMALLEST = 1e-300;
/* A value within this part of a step of a tick is on the tick, since ticks are rounded products. */
static const double ON_TICK = 1e-9;

bool cbe_axis_can_show(double value, bool log)
{
    return isfinite(value) && fabs(value) <= LARGEST && (!log || value >= SMALLEST);
}

void cbe_axis_range_add(cbe_axis_range *range, double value)
{
    range->low = range->n ? fmin(range->low, value) : value;
    range->high = range->n ? fmax(range->high, value) : value;
    range->fractions |= value != floor(value);
    range->n++;
}

double cbe_axis_place(const cbe_axis *axis, double value)
{
    if (axis->log) return log10(value / axis->low) / log10(axis->high / axis->low);
    return (value - axis->low) / (axis->high - axis->low);
}

static int decade_of(double value)
{
    return (int)floor(log10(value) + ON_TICK);
}

/* Writes 1234567.5 as 1,234,567.5. */
static void add_commas(char *text)
{
    char *first = text + (*text == '-'), *end = first + strspn(first, "0123456789");
    if (end - first < 5) return;
    for (char *at = end - 3; at > first; at -= 3) {
        memmove(at + 1, at, strlen(at) + 1);
        *at = ',';
    }
}

/* Writes a label with the digits that tell ticks a step apart; largest: the largest size on the
 * axis. */
static void write_label(char label[CBE_AXIS_LABEL], double value, double step, double largest)
{
    const int decade = decade_of(step), top = decade_of(largest);
    if (fabs(value) < ON_TICK * step) {
        snprintf(label, CBE_AXIS_LABEL, "0");
    } else if (top >= 7 || top < -3) {
        const int size = decade_of(fabs(value)), digits = size > decade ? size - decade : 0;
        snprintf(label, CBE_AXIS_LABEL, "%.*fe%d", digits < 12 ? digits : 12, value / pow(10, size),
                 size);
    } else {
        snprintf(label, CBE_AXIS_LABEL, "%.*f", decade < 0 ? (decade > -12 ? -decade : 12) : 0,
                 value);
        add_commas(label);
    }
}

static void add_tick(cbe_axis *axis, double value, double step, double largest)
{
    if (axis->n_ticks == CBE_AXIS_TICKS) return;
    axis->ticks[axis->n_ticks] = value;
    write_label(axis->labels[axis->n_ticks++], value, step, largest);
}

/* The smallest of 1, 2, 5, 10 times a power of ten that is at least span / n. */
static double round_step(double span, size_t n)
{
    static const double mantissas[] = {1, 2, 5, 10};
    const double wanted = span / (double)n, power = pow(10, decade_of(wanted));
    size_t i = 0;
    while (i < 3 && mantissas[i] * power < wanted * (1 - ON_TICK)) i++;
    return mantissas[i] * power;
}

static void even_ticks(cbe_axis *axis, bool whole, size_t n_wanted, bool to_ticks)
{
    double step = round_step(axis->high - axis->low, n_wanted);
    if (whole && step < 1) step = 1;
    double first = ceil(axis->low / step - ON_TICK), last = floor(axis->high / step + ON_TICK);
    if (to_ticks) {
        first = floor(axis->low / step + ON_TICK);
        last = ceil(axis->high / step - ON_TICK);
        if (axis->log && first <= 0) first = 1; /* the axis then begins below its first tick */
        axis->low = axis->log ? fmin(axis->low, first * step) : first * step;
        axis->high = last * step;
    }
    const double largest = fmax(fabs(axis->low), fabs(axis->high));
    for (double k = first; k <= last; k++) add_tick(axis, k * step, step, largest);
}

static void log_ticks(cbe_axis *axis, bool to_ticks)
{
    static const double mantissas[] = {1, 2, 5};
    const int begin = decade_of(axis->low), end = decade_of(axis->high) + 1;
    const int stride = 1 + (end - begin) / 10;
    const size_t n = log10(axis->high / axis->low) < 3 ? 3 : 1;
    const double low = axis->low * (1 + ON_TICK), high = axis->high * (1 - ON_TICK);
    bool above = false;
    for (int k = begin; k < end + stride && !above; k += stride)
        for (size_t i = 0; i < n && !above; i++) {
            const double value = mantissas[i] * pow(10, k);
            above = value >= high;
            if (to_ticks && value <= low) { /* the last tick at or below `low` stays */
                axis->low = value;
                axis->n_ticks = 0;
            }
            if (to_ticks && above) axis->high = value;
            if (value < axis->low * (1 - ON_TICK) || value > axis->high * (1 + ON_TICK)) continue;
            add_tick(axis, value, pow(10, k), value);
        }
}

void cbe_axis_init(cbe_axis *axis, const cbe_axis_range *range, bool log, size_t n_wanted,
                   bool to_ticks)
{
    *axis = (cbe_axis){.low = log ? 1 : 0, .high = log ? 10 : 1, .log = log};
    if (range->n) {
        axis->low = range->low;
        axis->high = range->high;
    }
    const double size = fmax(fabs(axis->low), fabs(axis->high));
    if (axis->high - axis->low <= fmax(ON_TICK * size, SMALLEST)) {
        const double around = size < 2 * SMALLEST ? 1
                              : range->fractions  ? size / 2
                                                  : fmax(1, floor(size / 2));
        if (log) {
            axis->low /= 2;
            axis->high *= 2;
        } else {
            axis->low -= around;
            axis->high += around;
        }
    }
    if (log && axis->high >= 10 * axis->low)
        log_ticks(axis, to_ticks);
    else
        even_ticks(axis, !range->fractions && range->n, n_wanted, to_ticks);
}
