/* metric_options.h - which directions are searched or probed: their metric, where they may lie, and
 * how much of them is removed. */
#ifndef CBE_RUN_METRIC_OPTIONS_H
#define CBE_RUN_METRIC_OPTIONS_H

#include "run/inputs.h"

/** Rows of an options table. */
/* clang-format off */
#define CBE_METRIC_OPTION {"metric", 0, OPT_STRING, offsetof(cbe_run_settings, metric), "euclidean", "METRIC", "euclidean, or covariance[=RIDGE] (oblique ablation: what varies with a component goes, no more); RIDGE is a share of the mean eigenvalue, 1e-3 (docs/maths.md)", NULL, 0}
#define CBE_WITHIN_OPTION {"within", 0, OPT_STRING, offsetof(cbe_run_settings, within), "auto", "WHERE", "pc=M: vectors lie in the span of the layer's first M principal components; all: anywhere; auto: pc=64, or what fits fewer tokens or dimensions; all with --metric covariance and the presets seed and tuned-lens (docs/search.md)", NULL, 0}
#define CBE_STRENGTH_OPTION {"strength", 0, OPT_NUMBER, offsetof(cbe_run_settings, strength), "1", "T", "h - T c w is left of a state; 1 removes the component", NULL, CBE_RANGE(0, 1.5)}
/* clang-format on */

/** Takes --metric, --within and --strength of a run into its options; what a command's table does
 * not have keeps its default.
 * @return CBE_OK; CBE_ERR_ARG (the option, and what may be given; a preset that has its own) */
cbe_status cbe_take_metric_options(cbe_extraction_options *options, const cbe_run_settings *run,
                                   cbe_error *err);

#endif
