/* vector_reports.h - what is reported of the vectors of a layer besides what the search knows. */
#ifndef CBE_EXTRACT_VECTOR_REPORTS_H
#define CBE_EXTRACT_VECTOR_REPORTS_H

#include "extract/layer_objective.h"
#include "extract/layer_result.h"

/** Fills result->reports, and puts the vectors in the order of their energies again. Under optimal
 * ablation the energy of a vector becomes that of the lowest constant.
 * @param objective  set to the layer of the result */
cbe_status cbe_report_vectors(const cbe_layer_objective *objective, cbe_layer_result *result,
                              cbe_ablation ablation, cbe_error *err);

#endif
