/*
 * zip_archive.h - opening zip archives by libzip from a mapped file, and telling a damaged archive
 * from lack of memory.
 *
 * libzip does not open the file itself, since it would leave it open if memory is short.
 */
#ifndef CBE_FORMATS_ZIP_ARCHIVE_H
#define CBE_FORMATS_ZIP_ARCHIVE_H

#include <zip.h>

#include "cbe/status.h"
#include "files/mapped_file.h"

/** Opens an archive.
 * @param out  the caller discards it with zip_discard, before the file is closed
 * @return CBE_OK, CBE_ERR_NOMEM, CBE_ERR_FORMAT; err names the file */
cbe_status cbe_zip_open(zip_t **out, const cbe_mapped_file *map, cbe_error *err);

/** Translates an error of libzip, which in places reports lack of memory as a damaged archive: the
 * caller must have set errno to 0 before its call of libzip.
 * @return CBE_ERR_NOMEM, err names the path; CBE_ERR_FORMAT, a damaged archive, the caller sets
 * err */
cbe_status cbe_zip_fail(cbe_error *err, const zip_error_t *why, const char *path);

#endif
