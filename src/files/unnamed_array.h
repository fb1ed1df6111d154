/*
 * unnamed_array.h - floats that do not fit in memory, in a file without a name: written once, then
 * mapped.
 *
 * No other process sees the file, and it ends with the process, even if the process is killed.
 */
#ifndef CBE_FILES_UNNAMED_ARRAY_H
#define CBE_FILES_UNNAMED_ARRAY_H

#include "files/temporary_file.h"

typedef struct {
    cbe_temporary_file file;
    size_t row, n_bytes; /* floats of a row; bytes of all rows */
    float *numbers;      /* (rows, row), read-only; NULL until cbe_unnamed_array_map. */
} cbe_unnamed_array;

/** Opens an array of n_rows rows of `row` floats, in a file of the folder; on failure *out is zero.
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_IO or CBE_ERR_SYSTEM (folder and reason named) */
cbe_status cbe_unnamed_array_open(cbe_unnamed_array *out, const char *folder, size_t n_rows,
                                  size_t row, cbe_error *err);
/** Writes n floats of a row, from its float `first` on.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM */
cbe_status cbe_unnamed_array_put(cbe_unnamed_array *array, size_t row, size_t first, size_t n,
                                 const float *data, cbe_error *err);
/** Maps the array for reading, after the last cbe_unnamed_array_put.
 * @return CBE_OK, or the status of cbe_status_of_errno */
cbe_status cbe_unnamed_array_map(cbe_unnamed_array *array, cbe_error *err);
void cbe_unnamed_array_close(cbe_unnamed_array *array); /* a zeroed array is allowed */

#endif
