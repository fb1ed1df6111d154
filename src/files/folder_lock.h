/*
 * folder_lock.h - a lock on the folder that a run writes to, for as long as the run lives.
 *
 * The lock is the kernel's (flock): it leaves no file, and ends with the process. On a file system
 * without locks nothing is locked.
 */
#ifndef CBE_FILES_FOLDER_LOCK_H
#define CBE_FILES_FOLDER_LOCK_H

#include <stdbool.h>

#include "cbe/status.h"

typedef struct {
    bool taken; /* false in a zeroed lock */
    int fd;
} cbe_folder_lock;

/** Locks a folder.
 * @return CBE_OK, also if the folder cannot be locked: out->taken is false then; CBE_ERR_ARG
 * (another run has the lock; the message names its process if that is known) */
cbe_status cbe_folder_lock_take(cbe_folder_lock *out, const char *folder, cbe_error *err);
void cbe_folder_lock_release(cbe_folder_lock *lock); /* a zeroed lock is allowed */

#endif
