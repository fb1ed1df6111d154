/*
 * temporary_file.h - files without a name, or with a name that no other process takes, for data
 * before it is put in place.
 *
 * If the file system allows it, a temporary file has no name while it is written, and a killed
 * process leaves nothing behind. Otherwise its name is .cbe-PROCESS-NUMBER.tmp, which a killed
 * process leaves behind, since no run removes a file that it has not made. Functions that fail
 * return CBE_ERR_NOMEM, CBE_ERR_IO or CBE_ERR_SYSTEM.
 */
#ifndef CBE_FILES_TEMPORARY_FILE_H
#define CBE_FILES_TEMPORARY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

typedef struct {
    int fd;       /* open for reading and writing; -1: none */
    char *folder; /* owned */
    char *name;   /* owned: path in the folder, if named */
    bool named;   /* whether the file has a name */
} cbe_temporary_file;

/** Opens a temporary file in a folder, with the permissions that the user's umask gives.
 * @param path  the file's purpose, named in messages, here and below
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_IO or CBE_ERR_SYSTEM (folder and reason named) */
cbe_status cbe_temporary_file_open(cbe_temporary_file *out, const char *folder, const char *path,
                                   cbe_error *err);
/** Writes size bytes at a byte offset. */
cbe_status cbe_temporary_file_write(cbe_temporary_file *file, uint64_t offset, const void *data,
                                    size_t size, const char *path, cbe_error *err);
/** Gives the file a name of its own if it has none. */
cbe_status cbe_temporary_file_name(cbe_temporary_file *file, const char *path, cbe_error *err);
/** Renames the file, which has a name, to target, a path in the same folder; it is not temporary
 * from then on. */
cbe_status cbe_temporary_file_rename(cbe_temporary_file *file, const char *target, const char *path,
                                     cbe_error *err);
/** Removes the file's name if it has one: the data lives as long as the file is open or mapped. */
cbe_status cbe_temporary_file_unname(cbe_temporary_file *file, const char *path, cbe_error *err);
/** Closes the file and removes its name if it has one. A file with fd -1 and all else zero is
 * allowed. */
void cbe_temporary_file_close(cbe_temporary_file *file);

#endif
