/* file_identity.h - which file it is, whatever its name. */
#ifndef CBE_FILES_FILE_IDENTITY_H
#define CBE_FILES_FILE_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/** By what stat tells a file from what takes its place. */
typedef struct {
    bool known; /* false: of a pipe, or of a file whose size stat does not tell */
    uint64_t device, number, size;
    int64_t seconds, nanoseconds; /* when it was written last */
} cbe_file_identity;

/** What fstat says of an open file. */
cbe_file_identity cbe_file_identity_of(const struct stat *info);
/** Whether both are the same file with the same content, as far as stat can tell. */
bool cbe_file_identity_same(const cbe_file_identity *a, const cbe_file_identity *b);

#endif
