/* atomic_file.c - see atomic_file.h. */
#define _GNU_SOURCE
#include "files/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"
#include "files/temporary_file.h"

struct cbe_atomic_file {
    bool synced;
    /* path as given, named in messages; the path behind symbolic links */
    char *path, *target;
    cbe_temporary_file contents; /* temporary file in the target's folder */
};

static void atomic_file_free(cbe_atomic_file *file)
{
    if (!file) return;
    cbe_temporary_file_close(&file->contents);
    cbe_free(file->target);
    cbe_free(file->path);
    cbe_free(file);
}

/* Refuses a target that rename could not replace, before the data is written instead of at the
 * end. */
static cbe_status check_replaced(const cbe_atomic_file *file, cbe_error *err)
{
    struct stat info, folder;
    if (stat(file->target, &info) != 0) return CBE_OK;
    if (stat(file->contents.folder, &folder) == 0 && (folder.st_mode & S_ISVTX) && geteuid() != 0 &&
        geteuid() != info.st_uid && geteuid() != folder.st_uid)
        return cbe_fail(
            err, CBE_ERR_IO, -1,
            "%s: belongs to another user, in a folder where such files cannot be replaced",
            file->path);
#ifdef STATX_ATTR_MOUNT_ROOT
    struct statx mount;
    if (statx(AT_FDCWD, file->target, 0, 0, &mount) == 0 &&
        (mount.stx_attributes & STATX_ATTR_MOUNT_ROOT))
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "%s: is mounted by itself and cannot be replaced; mount its folder",
                        file->path);
#endif
    return CBE_OK;
}

cbe_status cbe_atomic_file_create(cbe_atomic_file **out, const char *path, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    cbe_path_kind kind;
    char *folder = NULL;
    cbe_atomic_file *file = cbe_alloc_zero(1, sizeof *file, "output file", err);
    if (!file) return CBE_ERR_NOMEM;
    file->contents.fd = -1;
    if (!(file->path = cbe_copy_string(path, strlen(path), err))) goto done;
    if ((st = cbe_path_resolve(&file->target, path, err)) != CBE_OK) goto done;
    // Refused now, not at the end of a long run; a file must never replace a device.
    if ((st = cbe_path_look(file->target, &kind, err)) != CBE_OK) goto done;
    if (kind == CBE_PATH_FOLDER || kind == CBE_PATH_OTHER) {
        st = cbe_fail(err, CBE_ERR_IO, -1, "%s: is %s, choose the name of a file", path,
                      kind == CBE_PATH_FOLDER ? "a directory" : "a device or pipe");
        goto done;
    }
    st = CBE_ERR_NOMEM;
    if (!(folder = cbe_path_folder_of(file->target, err))) goto done;
    if ((st = cbe_temporary_file_open(&file->contents, folder, path, err)) != CBE_OK) goto done;
    if ((st = check_replaced(file, err)) != CBE_OK) goto done;
    *out = file;
    file = NULL;
done:
    cbe_free(folder);
    atomic_file_free(file);
    return st;
}

cbe_status cbe_atomic_file_check(const char *path, cbe_error *err)
{
    cbe_atomic_file *file = NULL;
    const cbe_status st = cbe_atomic_file_create(&file, path, err);
    atomic_file_free(file);
    return st;
}

cbe_status cbe_atomic_file_write(cbe_atomic_file *file, uint64_t offset, const void *data,
                                 size_t size, cbe_error *err)
{
    file->synced = false;
    return cbe_temporary_file_write(&file->contents, offset, data, size, file->path, err);
}

/* Makes the new name survive a power cut. A folder that cannot be opened or synced is no failure:
 * the file is complete either way. */
static void sync_folder(const char *folder)
{
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

cbe_status cbe_atomic_file_sync(cbe_atomic_file *file, cbe_error *err)
{
    if (!file->synced && fsync(file->contents.fd) != 0)
        return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be synced: %s", file->path,
                        strerror(errno));
    file->synced = true;
    return CBE_OK;
}

cbe_status cbe_atomic_file_flush(cbe_atomic_file *file, cbe_error *err)
{
    const cbe_status st = cbe_atomic_file_sync(file, err);
    return st == CBE_OK ? cbe_temporary_file_name(&file->contents, file->path, err) : st;
}

cbe_status cbe_atomic_file_commit(cbe_atomic_file *file, cbe_error *err)
{
    cbe_status st = cbe_atomic_file_flush(file, err);
    if (st != CBE_OK) goto done;
    if ((st = cbe_temporary_file_rename(&file->contents, file->target, file->path, err)) != CBE_OK)
        goto done;
    sync_folder(file->contents.folder);
done:
    atomic_file_free(file); // Synced data is stored even if closing fails.
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

cbe_status cbe_atomic_file_save_in(const char *folder, const char *name, const void *data,
                                   size_t size, cbe_error *err)
{
    char *path = cbe_path_join(folder, name, err);
    if (!path) return CBE_ERR_NOMEM;
    const cbe_status st = cbe_atomic_file_save(path, data, size, err);
    cbe_free(path);
    return st;
}
