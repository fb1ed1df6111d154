/*
 * atomic_file.h - writing a file so that a reader sees the old one or the new one, never half.
 *
 * Data goes to a temporary file in the same folder (temporary_file.h); commit syncs it, gives it a
 * name, renames that over the final one and syncs the folder. Whatever fails leaves what was there.
 * A symbolic link at the final name is followed: it stays, and the file that it leads to is
 * replaced or made. What stands for an open file (/dev/stdout), folders, devices and pipes are
 * refused.
 */
#ifndef CBE_FILES_ATOMIC_FILE_H
#define CBE_FILES_ATOMIC_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

typedef struct cbe_atomic_file cbe_atomic_file;

/** @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_IO or CBE_ERR_SYSTEM: no file can be put in place there
 * */
cbe_status cbe_atomic_file_create(cbe_atomic_file **out, const char *path, cbe_error *err);
/** Whether a file could be put in place there: what cbe_atomic_file_create says. Nothing changes.
 * */
cbe_status cbe_atomic_file_check(const char *path, cbe_error *err);
/** Writes size bytes at a byte offset (parts that are never written read as 0). */
cbe_status cbe_atomic_file_write(cbe_atomic_file *file, uint64_t offset, const void *data,
                                 size_t size, cbe_error *err);
/** Brings what was written to the disk. */
cbe_status cbe_atomic_file_sync(cbe_atomic_file *file, cbe_error *err);
/** Syncs, and gives the file its temporary name: commit then has only to rename. Of two files that
 * belong together, both are synced before either is flushed, and both are flushed before either is
 * committed. */
cbe_status cbe_atomic_file_flush(cbe_atomic_file *file, cbe_error *err);
/** Frees the file, whether or not it succeeds. */
cbe_status cbe_atomic_file_commit(cbe_atomic_file *file, cbe_error *err);
void cbe_atomic_file_abandon(cbe_atomic_file *file); /* NULL is allowed */

/** All of it at once. */
cbe_status cbe_atomic_file_save(const char *path, const void *data, size_t size, cbe_error *err);
/** The same, a file of that name in a folder. */
cbe_status cbe_atomic_file_save_in(const char *folder, const char *name, const void *data,
                                   size_t size, cbe_error *err);

#endif
