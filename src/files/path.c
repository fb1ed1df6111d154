/* path.c - see path.h. The type of its file system identifies Linux's /proc. */
#include "files/path.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/fail.h"
#include "core/memory.h"

char *cbe_path_join(const char *folder, const char *name, cbe_error *err)
{
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *path = cbe_alloc(size, 1, "path", err);
    if (path) snprintf(path, size, "%s/%s", folder, name);
    return path;
}

const char *cbe_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static cbe_status cannot_look(const char *path, cbe_error *err)
{
    return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be opened: %s", path,
                    strerror(errno));
}

cbe_status cbe_path_look(const char *path, cbe_path_kind *out, cbe_error *err)
{
    struct stat info;
    if (stat(path, &info) == 0)
        *out = S_ISDIR(info.st_mode)   ? CBE_PATH_FOLDER
               : S_ISREG(info.st_mode) ? CBE_PATH_FILE
                                       : CBE_PATH_OTHER;
    else if (errno == ENOENT || errno == ENOTDIR)
        *out = CBE_PATH_NOTHING;
    else
        return cannot_look(path, err);
    return CBE_OK;
}

cbe_status cbe_path_has(const char *folder, const char *name, bool *out, cbe_error *err)
{
    cbe_path_kind kind = CBE_PATH_NOTHING;
    char *path = cbe_path_join(folder, name, err);
    if (!path) return CBE_ERR_NOMEM;
    const cbe_status st = cbe_path_look(path, &kind, err);
    if (st == CBE_OK) *out = kind == CBE_PATH_FILE || kind == CBE_PATH_OTHER;
    cbe_free(path);
    return st;
}

/* Position of the name behind the last slash. */
static size_t name_at(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

char *cbe_path_folder_of(const char *path, cbe_error *err)
{
    const size_t at = name_at(path);
    if (at == 0) return cbe_copy_string(".", 1, err);
    return cbe_copy_string(path, at == 1 ? 1 : at - 1, err);
}

/* Whether a link lies in /proc. Such a link stands for an open file, and its text may by now be
 * another file's path. */
static cbe_status is_of_proc(const char *link, bool *out, cbe_error *err)
{
    struct statfs info = {0};
    char *folder = cbe_path_folder_of(link, err);
    if (!folder) return CBE_ERR_NOMEM;
    const cbe_status st = statfs(folder, &info) == 0 ? CBE_OK : cannot_look(folder, err);
    *out = info.f_type == PROC_SUPER_MAGIC;
    cbe_free(folder);
    return st;
}

/* Replaces *path, a link, by the path that it leads to. */
static cbe_status follow(char **path, const char *given, cbe_error *err)
{
    char text[PATH_MAX];
    bool of_proc = false;
    const cbe_status st = is_of_proc(*path, &of_proc, err);
    if (st != CBE_OK) return st;
    if (of_proc)
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "%s: stands for a file that is open (%s), choose the name of a file", given,
                        *path);
    const ssize_t n = readlink(*path, text, sizeof text - 1);
    if (n < 0) return cannot_look(*path, err);
    text[n] = 0;
    char *folder = text[0] == '/' ? NULL : cbe_path_folder_of(*path, err);
    char *next = text[0] == '/' ? cbe_copy_string(text, (size_t)n, err)
                 : folder       ? cbe_path_join(folder, text, err)
                                : NULL;
    cbe_free(folder);
    if (!next) return CBE_ERR_NOMEM;
    cbe_free(*path);
    *path = next;
    return CBE_OK;
}

cbe_status cbe_path_resolve(char **out, const char *path, cbe_error *err)
{
    enum { MOST_LINKS = 40 }; /* as in Linux */
    struct stat info;
    cbe_status st = CBE_OK;
    if (!*path)
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "an output has an empty name, choose the name of a file");
    char *at = cbe_copy_string(path, strlen(path), err);
    if (!at) return CBE_ERR_NOMEM;
    for (size_t links = 0; st == CBE_OK; links++) {
        if (lstat(at, &info) != 0) {
            st = errno == ENOENT || errno == ENOTDIR ? CBE_OK : cannot_look(at, err);
            break;
        }
        if (!S_ISLNK(info.st_mode)) break;
        st = links < MOST_LINKS
                 ? follow(&at, path, err)
                 : cbe_fail(err, CBE_ERR_IO, -1,
                            "%s: symbolic links lead in a circle, choose another name", path);
    }
    if (st == CBE_OK && !at[name_at(at)] && stat(at, &info) != 0)
        st = cbe_fail(err, CBE_ERR_IO, -1, "%s: ends in a slash, choose the name of a file", path);
    if (st != CBE_OK) {
        cbe_free(at);
        return st;
    }
    *out = at;
    return CBE_OK;
}

cbe_status cbe_path_make_folder(const char *folder, cbe_error *err)
{
    cbe_path_kind kind = CBE_PATH_NOTHING;
    if (!*folder)
        return cbe_fail(
            err, CBE_ERR_IO, -1,
            "the output folder has an empty name; name one with " CBE_TERM("-o", "output"));
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return cbe_fail(err, cbe_status_of_errno(errno), -1,
                        "%s: the output folder cannot be made: %s", folder, strerror(errno));
    const cbe_status st = cbe_path_look(folder, &kind, err);
    if (st == CBE_OK && kind != CBE_PATH_FOLDER)
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "%s: is not a folder; name another one with " CBE_TERM("-o", "output"),
                        folder);
    return st;
}

cbe_folder_mark cbe_folder_mark_of(const char *folder)
{
    struct stat info;
    if (stat(folder, &info) != 0) return (cbe_folder_mark){0};
    return (cbe_folder_mark){true, (uint64_t)info.st_dev, (uint64_t)info.st_ino};
}

cbe_folder_mark cbe_folder_mark_of_file(const char *path)
{
    char *folder = cbe_path_folder_of(path, NULL);
    const cbe_folder_mark mark = folder ? cbe_folder_mark_of(folder) : (cbe_folder_mark){0};
    cbe_free(folder);
    return mark;
}

cbe_status cbe_folder_mark_check(const cbe_folder_mark *mark, const char *folder, cbe_error *err)
{
    struct stat info;
    if (!mark->known) return CBE_OK;
    const bool there = stat(folder, &info) == 0;
    if (there && (uint64_t)info.st_dev == mark->device && (uint64_t)info.st_ino == mark->number)
        return CBE_OK;
    if (!there && errno != ENOENT && errno != ENOTDIR)
        return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be examined: %s", folder,
                        strerror(errno));
    return cbe_fail(err, CBE_ERR_IO, -1,
                    "%s: was moved or replaced while the run was at work, and nothing more is "
                    "written there; move it back",
                    folder);
}

cbe_status cbe_folder_mark_check_file(const cbe_folder_mark *mark, const char *path, cbe_error *err)
{
    char *folder = cbe_path_folder_of(path, err);
    if (!folder) return CBE_ERR_NOMEM;
    const cbe_status st = cbe_folder_mark_check(mark, folder, err);
    cbe_free(folder);
    return st;
}
