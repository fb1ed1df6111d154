/* path.h - paths of files in folders. */
#ifndef CBE_FILES_PATH_H
#define CBE_FILES_PATH_H

#include <stdbool.h>
#include <stdint.h>

#include "cbe/status.h"

/** "folder/name", to cbe_free; NULL and *err when memory is short. */
char *cbe_path_join(const char *folder, const char *name, cbe_error *err);
/** The folder part of a path: "." when it has none, "/" for files in the root; to cbe_free, NULL
 * likewise. */
char *cbe_path_folder_of(const char *path, cbe_error *err);

/** The folder that a path led to at one moment. */
typedef struct {
    bool known; /* false in a zeroed one */
    uint64_t device, number;
} cbe_folder_mark;

/** Marks a folder; one that cannot be looked at gives a mark that is not known. */
cbe_folder_mark cbe_folder_mark_of(const char *folder);
/** Marks the folder of a file; not known where memory is short. */
cbe_folder_mark cbe_folder_mark_of_file(const char *path);
/** @return CBE_OK, also of a mark that is not known; CBE_ERR_IO: the path leads to another folder
 * now, or to none; CBE_ERR_SYSTEM: it cannot be told */
cbe_status cbe_folder_mark_check(const cbe_folder_mark *mark, const char *folder, cbe_error *err);
/** The same of the folder of a file. @return also CBE_ERR_NOMEM */
cbe_status cbe_folder_mark_check_file(const cbe_folder_mark *mark, const char *path,
                                      cbe_error *err);
/** The path behind all symbolic links of its last name: of a link that leads nowhere, the name that
 * it would have. What lies there, and whether its folder does, is not looked at.
 * @param out  to cbe_free
 * @return CBE_OK; CBE_ERR_IO (an empty name; a slash at its end; links in a circle; a link of /proc
 * such as /dev/stdout, which stands
 *         for an open file and must not be written by name); CBE_ERR_NOMEM */
cbe_status cbe_path_resolve(char **out, const char *path, cbe_error *err);

/** Makes an output folder, where there is none. @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM */
cbe_status cbe_path_make_folder(const char *folder, cbe_error *err);

typedef enum { CBE_PATH_NOTHING, CBE_PATH_FILE, CBE_PATH_FOLDER, CBE_PATH_OTHER } cbe_path_kind;

/** What lies there: a device or pipe is CBE_PATH_OTHER. That there is nothing is an answer; that it
 * cannot be told is a failure. *out is untouched then. @return CBE_OK, or cbe_status_of_errno */
cbe_status cbe_path_look(const char *path, cbe_path_kind *out, cbe_error *err);
/** Whether there is a file of that name in the folder that is no folder itself. *out is untouched
 * on failure.
 * @return CBE_OK, CBE_ERR_NOMEM, or what cbe_path_look says */
cbe_status cbe_path_has(const char *folder, const char *name, bool *out, cbe_error *err);

#endif
