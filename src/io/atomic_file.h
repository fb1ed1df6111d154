/*
 * atomic_file.h - writing a file so that a reader sees the old one or the new one, never half.
 *
 * Data goes to a temporary name (.cbe-PROCESS-NUMBER.tmp) in the same folder; commit syncs it,
 * renames it over the final name and syncs the folder. Whatever fails removes the temporary file and
 * leaves what was there. A symbolic link at the final name is replaced, not followed.
 */
#ifndef CBE_IO_ATOMIC_FILE_H
#define CBE_IO_ATOMIC_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

typedef struct cbe_atomic_file cbe_atomic_file;

cbe_status cbe_atomic_file_create(cbe_atomic_file **out, const char *path, cbe_error *err);
/** Writes size bytes at a byte offset (parts that are never written read as 0). */
cbe_status cbe_atomic_file_write(cbe_atomic_file *file, uint64_t offset, const void *data,
                                 size_t size, cbe_error *err);
/** Brings what was written to the disk, before commit: of two files that belong together, both are flushed before either is committed. */
cbe_status cbe_atomic_file_flush(cbe_atomic_file *file, cbe_error *err);
/** Frees the file, whether or not it succeeds. */
cbe_status cbe_atomic_file_commit(cbe_atomic_file *file, cbe_error *err);
void cbe_atomic_file_abandon(cbe_atomic_file *file); /* NULL is allowed */

/** All of it at once. */
cbe_status cbe_atomic_file_save(const char *path, const void *data, size_t size, cbe_error *err);
/** The same, a file of that name in a folder. */
cbe_status cbe_atomic_file_save_in(const char *folder, const char *name, const void *data, size_t size, cbe_error *err);

#endif
