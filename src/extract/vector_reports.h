/*
 * vector_reports.h - what is reported of the vectors of a layer besides what the search knows.
 *
 * Every number is also measured of directions that nobody searched: the first principal component,
 * and random directions.
 */
#ifndef CBE_EXTRACT_VECTOR_REPORTS_H
#define CBE_EXTRACT_VECTOR_REPORTS_H

#include "extract/layer_objective.h"
#include "extract/layer_result.h"
#include "extract/survey.h"

/** Fills the reports, controls and survey of a result, and puts the vectors in the order of their
 * energies again. Under optimal ablation the energy of a vector becomes that of the lowest
 * constant.
 * @param objective  set to the layer of the result
 * @param survey     of the layer */
cbe_status cbe_report_vectors(const cbe_layer_objective *objective, const cbe_survey *survey,
                              cbe_layer_result *result, const cbe_extraction_options *options,
                              cbe_error *err);

/** Number of searched tokens that energies of a layer's report are on, in whole sequences evenly
 * spread; 0: all of them. */
size_t cbe_report_tokens(const cbe_layer_objective *objective, cbe_ablation ablation);

#endif
