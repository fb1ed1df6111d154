/* temporary_file.c - see temporary_file.h. O_TMPFILE is Linux's; other systems use a named file. */
#define _GNU_SOURCE
#include "files/temporary_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"

enum {
    NAME_TRIES = 1000, /* names that killed processes with this process number may have left */
    NAME_SPACE = 64,   /* for "/.cbe-PROCESS-NUMBER.tmp" */
    LINK_SPACE = 40,   /* for "/proc/self/fd/NUMBER" */
    MODE = 0666        /* before the umask; mkstemp would set 0600 */
};

/* Writes a name that this process has not used yet to `name` (size bytes). */
static void next_name(char *name, size_t size, const char *folder)
{
    static atomic_uint counter;
    snprintf(name, size, "%s/.cbe-%ld-%u.tmp", folder, (long)getpid(),
             atomic_fetch_add(&counter, 1));
}

/* Whether the file appears in /proc, through which linkat can give it a name. */
static bool is_in_proc(int fd, char link[LINK_SPACE])
{
    struct stat here, there;
    snprintf(link, LINK_SPACE, "/proc/self/fd/%d", fd);
    return fstat(fd, &here) == 0 && stat(link, &there) == 0 && here.st_dev == there.st_dev &&
           here.st_ino == there.st_ino;
}

static int open_nameless(const char *folder)
{
#ifdef O_TMPFILE
    char link[LINK_SPACE];
    const int fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, MODE);
    if (fd < 0) return -1;
    if (is_in_proc(fd, link)) return fd;
    close(fd);
#else
    (void)folder;
#endif
    return -1;
}

static cbe_status cannot_write(const cbe_temporary_file *file, const char *path, cbe_error *err)
{
    return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be written: folder '%s': %s",
                    path, file->folder, strerror(errno));
}

cbe_status cbe_temporary_file_open(cbe_temporary_file *out, const char *folder, const char *path,
                                   cbe_error *err)
{
    const size_t size = strlen(folder) + NAME_SPACE;
    cbe_status st = CBE_ERR_NOMEM;
    cbe_temporary_file file = {.fd = -1};
    if (!(file.folder = cbe_copy_string(folder, strlen(folder), err))) goto done;
    if (!(file.name = cbe_alloc_zero(size, 1, "name of a temporary file", err))) goto done;
    st = CBE_OK;
    // Whatever made the nameless file fail, a named file is tried, and its failure is reported.
    if ((file.fd = open_nameless(folder)) < 0) {
        for (int i = 0; i < NAME_TRIES && file.fd < 0; i++) {
            next_name(file.name, size, folder);
            file.fd = open(file.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MODE);
            if (file.fd < 0 && errno != EEXIST) break;
        }
        file.named = file.fd >= 0;
        if (!file.named) st = cannot_write(&file, path, err);
    }
    if (st != CBE_OK) goto done;
    *out = file;
    return CBE_OK;
done:
    cbe_temporary_file_close(&file);
    return st;
}

cbe_status cbe_temporary_file_write(cbe_temporary_file *file, uint64_t offset, const void *data,
                                    size_t size, const char *path, cbe_error *err)
{
    const unsigned char *bytes = data;
    if (offset > INT64_MAX || size > INT64_MAX - offset)
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "%s: %zu bytes at %" PRIu64 " are past what a file holds", path, size,
                        offset);
    while (size > 0) {
        const ssize_t written = pwrite(file->fd, bytes, size, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            const int why = written < 0 ? errno : ENOSPC;
            return cbe_fail(err, cbe_status_of_errno(why), (int64_t)offset,
                            "%s: cannot be written in folder '%s' (byte %" PRIu64 "): %s", path,
                            file->folder, offset, strerror(why));
        }
        bytes += written;
        offset += (uint64_t)written;
        size -= (size_t)written;
    }
    return CBE_OK;
}

cbe_status cbe_temporary_file_name(cbe_temporary_file *file, const char *path, cbe_error *err)
{
    char link[LINK_SPACE];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file->fd);
    for (int i = 0; i < NAME_TRIES && !file->named; i++) {
        next_name(file->name, strlen(file->folder) + NAME_SPACE, file->folder);
        file->named = linkat(AT_FDCWD, link, AT_FDCWD, file->name, AT_SYMLINK_FOLLOW) == 0;
        if (!file->named && errno != EEXIST) break;
    }
    return file->named ? CBE_OK : cannot_write(file, path, err);
}

cbe_status cbe_temporary_file_rename(cbe_temporary_file *file, const char *target, const char *path,
                                     cbe_error *err)
{
    if (rename(file->name, target) != 0)
        return cbe_fail(err, cbe_status_of_errno(errno), -1,
                        "%s: cannot be put in place in folder '%s': %s", path, file->folder,
                        strerror(errno));
    file->named = false;
    return CBE_OK;
}

cbe_status cbe_temporary_file_unname(cbe_temporary_file *file, const char *path, cbe_error *err)
{
    if (file->named && unlink(file->name) != 0) return cannot_write(file, path, err);
    file->named = false;
    return CBE_OK;
}

void cbe_temporary_file_close(cbe_temporary_file *file)
{
    if (file->named) unlink(file->name);
    if (file->fd >= 0) close(file->fd);
    cbe_free(file->name);
    cbe_free(file->folder);
    *file = (cbe_temporary_file){.fd = -1};
}
