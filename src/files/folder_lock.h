/*
 * folder_lock.h - a folder that a run writes to, said to be in use for as long as the run lives.
 *
 * The lock is the kernel's (flock): it leaves no file, and ends with the process. Where a file
 * system has no locks, there is none.
 */
#ifndef CBE_FILES_FOLDER_LOCK_H
#define CBE_FILES_FOLDER_LOCK_H

#include <stdbool.h>

#include "cbe/status.h"

typedef struct {
    bool taken; /* false in a zeroed one */
    int fd;
} cbe_folder_lock;

/** @return CBE_OK, also where there is no lock: taken is false then; CBE_ERR_ARG (another run has
 * it: its process is named where that is known) */
cbe_status cbe_folder_lock_take(cbe_folder_lock *out, const char *folder, cbe_error *err);
void cbe_folder_lock_release(cbe_folder_lock *lock); /* a zeroed one is allowed */

#endif
