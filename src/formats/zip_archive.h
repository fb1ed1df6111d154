/*
 * zip_archive.h - archives read by libzip from a mapped file, and its errors: a damaged archive
 * told apart from lack of memory.
 *
 * libzip does not open the file itself: where memory is short it would leave it open.
 */
#ifndef CBE_FORMATS_ZIP_ARCHIVE_H
#define CBE_FORMATS_ZIP_ARCHIVE_H

#include <zip.h>

#include "cbe/status.h"
#include "files/mapped_file.h"

/** @param out  to zip_discard, before the file is closed
 * @return CBE_OK, CBE_ERR_NOMEM, CBE_ERR_FORMAT: err is set and names the file */
cbe_status cbe_zip_open(zip_t **out, const cbe_mapped_file *map, cbe_error *err);

/** What an error is to us. libzip takes lack of memory for a damaged archive in places: errno must
 * have been 0 before the call.
 * @return CBE_ERR_NOMEM, err is set and names the path; CBE_ERR_FORMAT, a damaged archive: err is
 * for the caller to set */
cbe_status cbe_zip_fail(cbe_error *err, const zip_error_t *why, const char *path);

#endif
