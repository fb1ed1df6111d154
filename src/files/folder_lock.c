/* folder_lock.c - see folder_lock.h. Linux's /proc/locks tells which process has a lock. */
#define _GNU_SOURCE
#include "files/folder_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/fail.h"

/* The process that has locked a folder; 0: not known. */
static long holder_of(int fd)
{
    struct stat info;
    char line[256];
    long found = 0;
    FILE *locks = fopen("/proc/locks", "re");
    if (!locks) return 0;
    while (fstat(fd, &info) == 0 && !found && fgets(line, sizeof line, locks)) {
        long process;
        unsigned device[2];
        uint64_t inode;
        if (sscanf(line, "%*u: FLOCK %*s %*s %ld %x:%x:%" SCNu64, &process, &device[0], &device[1],
                   &inode) != 4)
            continue;
        if (inode == info.st_ino && device[0] == major(info.st_dev) &&
            device[1] == minor(info.st_dev))
            found = process;
    }
    fclose(locks);
    return found;
}

cbe_status cbe_folder_lock_take(cbe_folder_lock *out, const char *folder, cbe_error *err)
{
    char known[40] = "";
    *out = (cbe_folder_lock){false, open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (out->fd < 0) return CBE_OK;
    out->taken = flock(out->fd, LOCK_EX | LOCK_NB) == 0;
    if (out->taken) return CBE_OK;
    const bool held = errno == EWOULDBLOCK;
    const long process = held ? holder_of(out->fd) : 0;
    close(out->fd);
    if (!held) return CBE_OK;
    if (process > 0) snprintf(known, sizeof known, " (process %ld)", process);
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "%s: in use by another run of cbe%s; wait for it, or name another folder",
                    folder, known);
}

void cbe_folder_lock_release(cbe_folder_lock *lock)
{
    if (lock->taken) close(lock->fd);
    lock->taken = false;
}
