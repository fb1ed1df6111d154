/*
 * chart.h - line charts as SVG files, for learning curves and for figures over layers.
 */
#ifndef CBE_REPORT_CHART_H
#define CBE_REPORT_CHART_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

typedef struct {
    const char *name; /* name in the legend; any UTF-8 */
    size_t n;
    const double *x, *y; /* (n); a y that is not finite leaves a gap */
} cbe_series;

typedef struct {
    const char *title, *x_label, *y_label;
    bool log_x, log_y; /* values that are not positive leave a gap */
    size_t n_series;
    const cbe_series *series;
} cbe_chart;

/** Writes the chart, completely or not at all. It is readable on light and dark pages.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_NOMEM */
cbe_status cbe_chart_save(const cbe_chart *chart, const char *path, cbe_error *err);

#endif
