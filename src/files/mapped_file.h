/*
 * mapped_file.h - a whole file mapped read-only.
 *
 * If another process truncates a mapped file, reading the lost part raises SIGBUS; a program's
 * handler finds the file's path by cbe_mapped_file_at. Files that are replaced by renaming, as this
 * library does, stay readable.
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
    /* identity of the mapped file, even if another file takes its name */
    cbe_file_identity identity;
} cbe_mapped_file;

/** Maps a regular file. On failure *file is zero, and the message names the path and the reason.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_NOMEM; CBE_ERR_SYSTEM */
cbe_status cbe_mapped_file_open(cbe_mapped_file *file, const char *path, cbe_error *err);
void cbe_mapped_file_close(cbe_mapped_file *file); /* a zeroed file is allowed */

/** Drops the pages of a part from memory until they are used again; `from` is a multiple of the
 * page size. */
void cbe_mapped_file_let_go(const cbe_mapped_file *file, size_t from, size_t size);
/** Path of the mapped file that holds this address; NULL: none does. Async-signal-safe. The path is
 * valid while the file stays open. Of more than 4096 open files, the last are not found. */
const char *cbe_mapped_file_at(const void *address);

/** Whether n bytes, or a file, are the pointer that a clone without Git LFS leaves in the place of
 * a large file. */
bool cbe_is_lfs_pointer(const void *bytes, size_t n);
bool cbe_mapped_file_is_lfs_pointer(const cbe_mapped_file *file);

#endif
