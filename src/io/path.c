/* path.c - see path.h. */
#include "io/path.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"

char *cbe_path_join(const char *folder, const char *name, cbe_error *err)
{
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *path = cbe_alloc(size, 1, "path", err);
    if (path) snprintf(path, size, "%s/%s", folder, name);
    return path;
}

cbe_status cbe_path_has(const char *folder, const char *name, bool *out, cbe_error *err)
{
    struct stat info;
    char *path = cbe_path_join(folder, name, err);
    if (!path) return CBE_ERR_NOMEM;
    *out = stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
    cbe_free(path);
    return CBE_OK;
}
