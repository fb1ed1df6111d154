/*
 * atomic_file.h - writing a file so that a reader sees the old one or the new one, never half.
 *
 * Data goes to a temporary file in the same folder (temporary_file.h); commit syncs the file, gives
 * it a name, renames it to the final name and syncs the folder. A failure leaves the old file as it
 * was. A symbolic link at the final name stays, and the file that it leads to is replaced or made.
 * Names of open files (/dev/stdout), folders, devices and pipes are refused. Functions that fail
 * return CBE_ERR_NOMEM, CBE_ERR_IO or CBE_ERR_SYSTEM.
 */
#ifndef CBE_FILES_ATOMIC_FILE_H
#define CBE_FILES_ATOMIC_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

typedef struct cbe_atomic_file cbe_atomic_file;

/** Begins a file, which cbe_atomic_file_commit or _abandon frees.
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_IO or CBE_ERR_SYSTEM: no file can be put in place there */
cbe_status cbe_atomic_file_create(cbe_atomic_file **out, const char *path, cbe_error *err);
/** The status that cbe_atomic_file_create would return; nothing on the disk changes. */
cbe_status cbe_atomic_file_check(const char *path, cbe_error *err);
/** Writes size bytes at a byte offset; parts that are never written read as 0. */
cbe_status cbe_atomic_file_write(cbe_atomic_file *file, uint64_t offset, const void *data,
                                 size_t size, cbe_error *err);
/** Brings the written data to the disk. */
cbe_status cbe_atomic_file_sync(cbe_atomic_file *file, cbe_error *err);
/** Syncs the file and gives it its temporary name: commit then only renames. Of two files that
 * belong together, both are synced before either is flushed, and both are flushed before either is
 * committed. */
cbe_status cbe_atomic_file_flush(cbe_atomic_file *file, cbe_error *err);
/** Puts the file in place, and frees it even on failure. */
cbe_status cbe_atomic_file_commit(cbe_atomic_file *file, cbe_error *err);
void cbe_atomic_file_abandon(cbe_atomic_file *file); /* NULL is allowed */

/** Creates, writes and commits a file in one call. */
cbe_status cbe_atomic_file_save(const char *path, const void *data, size_t size, cbe_error *err);
/** cbe_atomic_file_save of folder/name. */
cbe_status cbe_atomic_file_save_in(const char *folder, const char *name, const void *data,
                                   size_t size, cbe_error *err);

#endif
