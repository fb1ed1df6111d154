/*
 * temporary_file.h - files without a name, or with one that nobody else takes, for data on its way.
 *
 * A temporary file has no name while it is written, where the file system can do that: when its
 * process is killed, nothing stays. Elsewhere it has a name of its own, .cbe-PROCESS-NUMBER.tmp,
 * which a killed process leaves: no run removes a file that it has not made.
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
    char *name;   /* owned: a path in the folder, */
    bool named;   /* if the file has a name */
} cbe_temporary_file;

/** A file in a folder, with the permissions that the user's umask gives.
 * @param path  named in messages, here and below: what the file is for
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_IO or CBE_ERR_SYSTEM (folder and reason named) */
cbe_status cbe_temporary_file_open(cbe_temporary_file *out, const char *folder, const char *path,
                                   cbe_error *err);
/** Writes size bytes at a byte offset. */
cbe_status cbe_temporary_file_write(cbe_temporary_file *file, uint64_t offset, const void *data,
                                    size_t size, const char *path, cbe_error *err);
/** Gives the file a name of its own, where it has none. */
cbe_status cbe_temporary_file_name(cbe_temporary_file *file, const char *path, cbe_error *err);
/** Puts a file that has a name in the place of another one in the same folder; it is no temporary
 * one from then on. */
cbe_status cbe_temporary_file_rename(cbe_temporary_file *file, const char *target, const char *path,
                                     cbe_error *err);
/** Takes its name away, where it has one: it lives on as long as it is open or mapped. */
cbe_status cbe_temporary_file_unname(cbe_temporary_file *file, const char *path, cbe_error *err);
/** Ends the file, and its name where it has one; one whose fd is -1 and all else zero is allowed.
 * */
void cbe_temporary_file_close(cbe_temporary_file *file);

#endif
