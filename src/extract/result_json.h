/* result_json.h - basis.json of a result (docs/formats.md). */
#ifndef CBE_EXTRACT_RESULT_JSON_H
#define CBE_EXTRACT_RESULT_JSON_H

#include "extract/layer_result.h"
#include "extract/run_record.h"

/** Makes the text of basis.json. @param text [out] the caller frees it with cbe_free */
cbe_status cbe_result_json(char **text, size_t n, const cbe_layer_result *results,
                           const cbe_run_record *record, cbe_error *err);

#endif
