/* mapped_file.h - a whole file mapped read-only. */
#ifndef CBE_IO_MAPPED_FILE_H
#define CBE_IO_MAPPED_FILE_H

#include <stddef.h>

#include "cbe/status.h"

typedef struct {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
    char *path;
} cbe_mapped_file;

/** Maps a regular file. On failure *file is zero. The message names the path and the reason. */
cbe_status cbe_mapped_file_open(cbe_mapped_file *file, const char *path, cbe_error *err);
void cbe_mapped_file_close(cbe_mapped_file *file); /* a zeroed one is allowed */

#endif
