/*
 * unnamed_array.h - floats for which memory has no room, in a file without a name: written once,
 * then mapped.
 *
 * No other process sees the file, and it ends with the process, however that ends.
 */
#ifndef CBE_FILES_UNNAMED_ARRAY_H
#define CBE_FILES_UNNAMED_ARRAY_H

#include "files/temporary_file.h"

typedef struct {
    cbe_temporary_file file;
    size_t row, n_bytes; /* floats of a row; of all rows */
    float
        *numbers; /* (rows, row), for reading, once it is mapped; before and in a zeroed one NULL */
} cbe_unnamed_array;

/** Of n_rows rows in a file of the folder; on failure *out is zero.
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_IO or CBE_ERR_SYSTEM (folder and reason named) */
cbe_status cbe_unnamed_array_open(cbe_unnamed_array *out, const char *folder, size_t n_rows,
                                  size_t row, cbe_error *err);
/** n floats of a row, from float `first` of it on. */
cbe_status cbe_unnamed_array_put(cbe_unnamed_array *array, size_t row, size_t first, size_t n,
                                 const float *data, cbe_error *err);
/** When all is written. */
cbe_status cbe_unnamed_array_map(cbe_unnamed_array *array, cbe_error *err);
void cbe_unnamed_array_close(cbe_unnamed_array *array); /* a zeroed one is allowed */

#endif
