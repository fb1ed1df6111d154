/*
 * mapped_file.h - a whole file mapped read-only.
 *
 * What another process truncates while it is mapped can no longer be read (SIGBUS, as with every
 * mapped file); files that are replaced by renaming, as ours are, stay readable. A program's
 * handler of the signal finds the file's path by cbe_mapped_file_at.
 */
#ifndef CBE_FILES_MAPPED_FILE_H
#define CBE_FILES_MAPPED_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "files/file_identity.h"
#include "cbe/status.h"

typedef struct {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
    char *path;
    cbe_file_identity identity; /* of the file that is mapped, whatever takes its name later */
} cbe_mapped_file;

/** Maps a regular file. On failure *file is zero. The message names the path and the reason. */
cbe_status cbe_mapped_file_open(cbe_mapped_file *file, const char *path, cbe_error *err);
void cbe_mapped_file_close(cbe_mapped_file *file); /* a zeroed one is allowed */

/** Pages of a part that begins at a multiple of the page size leave memory until they are used
 * again. */
void cbe_mapped_file_let_go(const cbe_mapped_file *file, size_t from, size_t size);
/** Path of the mapped file that holds this address; NULL: none does. Async-signal-safe. The path is
 * valid while the file stays open. Of very many files that are open at once, the last are not
 * found. */
const char *cbe_mapped_file_at(const void *address);

/** Whether this is the text that a clone without Git LFS leaves in the place of a large file. */
bool cbe_mapped_file_is_lfs_pointer(const cbe_mapped_file *file);

#endif
