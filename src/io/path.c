/* path.c - see path.h. */
#include "io/path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/fail.h"
#include "core/memory.h"

char *cbe_path_join(const char *folder, const char *name, cbe_error *err)
{
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *path = cbe_alloc(size, 1, "path", err);
    if (path) snprintf(path, size, "%s/%s", folder, name);
    return path;
}

cbe_status cbe_path_look(const char *path, cbe_path_kind *out, cbe_error *err)
{
    struct stat info;
    if (stat(path, &info) == 0)
        *out = S_ISDIR(info.st_mode) ? CBE_PATH_FOLDER : S_ISREG(info.st_mode) ? CBE_PATH_FILE : CBE_PATH_OTHER;
    else if (errno == ENOENT || errno == ENOTDIR)
        *out = CBE_PATH_NOTHING;
    else
        return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be opened: %s", path, strerror(errno));
    return CBE_OK;
}

cbe_status cbe_path_has(const char *folder, const char *name, bool *out, cbe_error *err)
{
    cbe_path_kind kind;
    char *path = cbe_path_join(folder, name, err);
    if (!path) return CBE_ERR_NOMEM;
    const cbe_status st = cbe_path_look(path, &kind, err);
    if (st == CBE_OK) *out = kind == CBE_PATH_FILE || kind == CBE_PATH_OTHER;
    cbe_free(path);
    return st;
}
