/* atomic_file.c - see atomic_file.h. */
#include "io/atomic_file.h"

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
#include "io/path.h"

enum {
    NAME_TRIES = 1000, /* temporary names that a killed process of the same number may have left */
    NAME_SPACE = 64,   /* for "/.cbe-PID-NUMBER.tmp" */
};

struct cbe_atomic_file {
    int fd; /* -1: none */
    bool flushed;
    char *path, *folder;
    char *temporary; /* empty: no such file */
};

static void atomic_file_free(cbe_atomic_file *file)
{
    if (!file) return;
    if (file->fd >= 0) close(file->fd);
    if (file->temporary && *file->temporary) unlink(file->temporary);
    cbe_free(file->temporary);
    cbe_free(file->folder);
    cbe_free(file->path);
    cbe_free(file);
}

/* The folder part of a path: "." when it has none, "/" for files in the root. */
static char *folder_of(const char *path, cbe_error *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return cbe_copy_string(".", 1, err);
    return cbe_copy_string(path, slash == path ? 1 : (size_t)(slash - path), err);
}

static cbe_status create_temporary(cbe_atomic_file *file, cbe_error *err)
{
    static atomic_uint counter;
    const size_t size = strlen(file->folder) + NAME_SPACE;
    file->temporary = cbe_alloc_zero(size, 1, "name of a temporary file", err);
    if (!file->temporary) return CBE_ERR_NOMEM;
    for (int i = 0; i < NAME_TRIES && file->fd < 0; i++) {
        snprintf(file->temporary, size, "%s/.cbe-%ld-%u.tmp", file->folder, (long)getpid(),
                 atomic_fetch_add(&counter, 1));
        // Not mkstemp: the result is to have the permissions that the user's umask gives.
        file->fd = open(file->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->fd < 0 && errno != EEXIST) break;
    }
    if (file->fd >= 0) return CBE_OK;
    *file->temporary = 0;
    return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be written: folder '%s': %s", file->path,
                    file->folder, strerror(errno));
}

cbe_status cbe_atomic_file_create(cbe_atomic_file **out, const char *path, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    cbe_path_kind kind;
    cbe_atomic_file *file = cbe_alloc_zero(1, sizeof *file, "output file", err);
    if (!file) return CBE_ERR_NOMEM;
    file->fd = -1;
    if (!(file->path = cbe_copy_string(path, strlen(path), err))) goto done;
    if (!(file->folder = folder_of(path, err))) goto done;
    // Said now, not at the end of a long run; and a device must never be replaced by a file.
    if ((st = cbe_path_look(path, &kind, err)) != CBE_OK) goto done;
    if (kind == CBE_PATH_FOLDER || kind == CBE_PATH_OTHER) {
        st = cbe_fail(err, CBE_ERR_IO, -1, "%s: is %s, choose the name of a file", path,
                      kind == CBE_PATH_FOLDER ? "a directory" : "a device or pipe");
        goto done;
    }
    if ((st = create_temporary(file, err)) != CBE_OK) goto done;
    *out = file;
    file = NULL;
done:
    atomic_file_free(file);
    return st;
}

cbe_status cbe_atomic_file_write(cbe_atomic_file *file, uint64_t offset, const void *data,
                                 size_t size, cbe_error *err)
{
    const unsigned char *bytes = data;
    file->flushed = false;
    if (offset > INT64_MAX || size > INT64_MAX - offset)
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "%s: %zu bytes at %" PRIu64 " are past what a file holds", file->path, size,
                        offset);
    while (size > 0) {
        const ssize_t written = pwrite(file->fd, bytes, size, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            const int why = written < 0 ? errno : ENOSPC;
            return cbe_fail(err, cbe_status_of_errno(why), (int64_t)offset,
                            "%s: cannot be written in folder '%s' (byte %" PRIu64 "): %s",
                            file->path, file->folder, offset, strerror(why));
        }
        bytes += written;
        offset += (uint64_t)written;
        size -= (size_t)written;
    }
    return CBE_OK;
}

/* Makes the new name survive a power cut. A folder that cannot be opened or synced is no failure:
 * the file under its name is whole either way. */
static void sync_folder(const char *folder)
{
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

cbe_status cbe_atomic_file_flush(cbe_atomic_file *file, cbe_error *err)
{
    if (!file->flushed && fsync(file->fd) != 0)
        return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be synced: %s", file->path, strerror(errno));
    file->flushed = true;
    return CBE_OK;
}

cbe_status cbe_atomic_file_commit(cbe_atomic_file *file, cbe_error *err)
{
    const int fd = file->fd;
    cbe_status st = cbe_atomic_file_flush(file, err);
    if (st != CBE_OK) goto done;
    file->fd = -1;
    if (close(fd) != 0) {
        st = cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be closed: %s", file->path, strerror(errno));
        goto done;
    }
    if (rename(file->temporary, file->path) != 0) {
        st = cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be put in place in folder '%s': %s",
                      file->path, file->folder, strerror(errno));
        goto done;
    }
    *file->temporary = 0;
    sync_folder(file->folder);
done:
    atomic_file_free(file);
    return st;
}

void cbe_atomic_file_abandon(cbe_atomic_file *file)
{
    atomic_file_free(file);
}

cbe_status cbe_atomic_file_save(const char *path, const void *data, size_t size, cbe_error *err)
{
    cbe_atomic_file *file = NULL;
    cbe_status st = cbe_atomic_file_create(&file, path, err);
    if (st != CBE_OK) return st;
    st = cbe_atomic_file_write(file, 0, data, size, err);
    if (st == CBE_OK) return cbe_atomic_file_commit(file, err);
    cbe_atomic_file_abandon(file);
    return st;
}

cbe_status cbe_atomic_file_save_in(const char *folder, const char *name, const void *data, size_t size, cbe_error *err)
{
    char *path = cbe_path_join(folder, name, err);
    if (!path) return CBE_ERR_NOMEM;
    const cbe_status st = cbe_atomic_file_save(path, data, size, err);
    cbe_free(path);
    return st;
}
