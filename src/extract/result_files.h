/* result_files.h - the result folder of an extraction (docs/formats.md). */
#ifndef CBE_EXTRACT_RESULT_FILES_H
#define CBE_EXTRACT_RESULT_FILES_H

#include "extract/layer_result.h"
#include "extract/run_record.h"

/** Makes the folder if it is not there, and checks that files can be written in it, before hours
 * are spent. */
cbe_status cbe_result_folder_prepare(const char *folder, cbe_error *err);
/** Writes FOLDER/basis.safetensors and FOLDER/basis.json. On failure earlier files stay as they
 * are. */
cbe_status cbe_result_save(const char *folder, size_t n, const cbe_layer_result *results,
                           const cbe_run_record *record, cbe_error *err);

#endif
