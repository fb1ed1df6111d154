/* file_identity.c - see file_identity.h. */
#include "files/file_identity.h"

cbe_file_identity cbe_file_identity_of(const struct stat *info)
{
    return (cbe_file_identity){.known = S_ISREG(info->st_mode),
                               .device = (uint64_t)info->st_dev,
                               .number = (uint64_t)info->st_ino,
                               .size = (uint64_t)info->st_size,
                               .seconds = (int64_t)info->st_mtim.tv_sec,
                               .nanoseconds = (int64_t)info->st_mtim.tv_nsec};
}

bool cbe_file_identity_same(const cbe_file_identity *a, const cbe_file_identity *b)
{
    return a->known == b->known && a->device == b->device && a->number == b->number &&
           a->size == b->size && a->seconds == b->seconds && a->nanoseconds == b->nanoseconds;
}
