/* file_identity.h - identities of files, which tell whether a path still leads to the file that was
 * read. */
#ifndef CBE_FILES_FILE_IDENTITY_H
#define CBE_FILES_FILE_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/** The numbers by which stat tells a file from another one that takes its place. */
typedef struct {
    bool known; /* false for a pipe, or a file whose size stat does not tell */
    uint64_t device, number, size;
    int64_t seconds, nanoseconds; /* time of the last writing */
} cbe_file_identity;

/** The identity of an open file, from fstat's answer. */
cbe_file_identity cbe_file_identity_of(const struct stat *info);
/** Whether both are the same file with the same content, as far as stat can tell. */
bool cbe_file_identity_same(const cbe_file_identity *a, const cbe_file_identity *b);

#endif
