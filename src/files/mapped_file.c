/* mapped_file.c - see mapped_file.h. */
#define _DEFAULT_SOURCE /* madvise */
#include "files/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fail.h"
#include "core/memory.h"

/* The mapped files. A signal handler may read the table at any moment: an entry is complete before
 * its `begin` is set, and `begin` is cleared before the path is freed. */
enum { MOST_ENTRIES = 4096 };
enum { ENTRY_FREE = 0, ENTRY_TAKEN = 1 }; /* values of `begin` that are no addresses */

static struct {
    atomic_uintptr_t begin;
    size_t size;
    const char *path;
} entries[MOST_ENTRIES];

static void enter(const cbe_mapped_file *file)
{
    for (size_t i = 0; i < MOST_ENTRIES; i++) {
        uintptr_t expected = ENTRY_FREE;
        if (!atomic_compare_exchange_strong(&entries[i].begin, &expected, ENTRY_TAKEN)) continue;
        entries[i].size = file->size;
        entries[i].path = file->path;
        atomic_store(&entries[i].begin, (uintptr_t)file->data);
        return;
    }
}

static void leave(const cbe_mapped_file *file)
{
    for (size_t i = 0; i < MOST_ENTRIES; i++)
        if (atomic_load(&entries[i].begin) == (uintptr_t)file->data) {
            atomic_store(&entries[i].begin, ENTRY_FREE);
            return;
        }
}

const char *cbe_mapped_file_at(const void *address)
{
    for (size_t i = 0; i < MOST_ENTRIES; i++) {
        const uintptr_t begin = atomic_load(&entries[i].begin), at = (uintptr_t)address;
        if (begin > ENTRY_TAKEN && at >= begin && at - begin < entries[i].size)
            return entries[i].path;
    }
    return NULL;
}

cbe_status cbe_mapped_file_open(cbe_mapped_file *file, const char *path, cbe_error *err)
{
    cbe_status st = CBE_OK;
    cbe_mapped_file mapped = {0};
    memset(file, 0, sizeof *file);
    // Without O_NONBLOCK open would wait for the writer of a named pipe instead of refusing it.
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be opened: %s", path,
                        strerror(errno));
    struct stat info;
    if (fstat(fd, &info) != 0) {
        st = cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be examined: %s", path,
                      strerror(errno));
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        st = cbe_fail(err, CBE_ERR_IO, -1, "%s: is %s, a regular file is needed", path,
                      S_ISDIR(info.st_mode) ? "a directory" : "a device or pipe");
        goto done;
    }
    if ((uintmax_t)info.st_size > SIZE_MAX) {
        st = cbe_fail(err, CBE_ERR_IO, -1, "%s: is larger than the address space", path);
        goto done;
    }
    mapped.size = (size_t)info.st_size;
    mapped.identity = cbe_file_identity_of(&info);
    mapped.path = cbe_copy_string(path, strlen(path), err);
    if (!mapped.path) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    if (mapped.size > 0) {
        void *data = mmap(NULL, mapped.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            st = cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be mapped: %s", path,
                          strerror(errno));
            goto done;
        }
        mapped.data = data;
        enter(&mapped);
    }
    *file = mapped;
    memset(&mapped, 0, sizeof mapped);
done:
    cbe_mapped_file_close(&mapped);
    close(fd);
    return st;
}

void cbe_mapped_file_close(cbe_mapped_file *file)
{
    if (file->data) {
        leave(file);
        // munmap's argument is not const, though it writes nothing.
        munmap((void *)(uintptr_t)file->data, file->size);
    }
    cbe_free(file->path);
    memset(file, 0, sizeof *file);
}

void cbe_mapped_file_let_go(const cbe_mapped_file *file, size_t from, size_t size)
{
    // If the kernel ignores the advice, nothing but memory is lost.
    madvise((void *)(uintptr_t)(file->data + from), size, MADV_DONTNEED);
}

bool cbe_is_lfs_pointer(const void *bytes, size_t n)
{
    static const char start[] = "version https://git-lfs";
    return n >= sizeof start - 1 && memcmp(bytes, start, sizeof start - 1) == 0;
}

bool cbe_mapped_file_is_lfs_pointer(const cbe_mapped_file *file)
{
    return cbe_is_lfs_pointer(file->data, file->size);
}
