/* path.h - paths of files in folders. */
#ifndef CBE_FILES_PATH_H
#define CBE_FILES_PATH_H

#include <stdbool.h>
#include <stdint.h>

#include "cbe/status.h"

/** "folder/name"; the caller frees it with cbe_free. NULL and err have CBE_ERR_NOMEM if memory is
 * short. */
char *cbe_path_join(const char *folder, const char *name, cbe_error *err);
/** The folder part of a path: "." if it has none, "/" for files in the root. Ownership and NULL as
 * in cbe_path_join. */
char *cbe_path_folder_of(const char *path, cbe_error *err);

/** The name of a file without its folder; borrowed from the path. */
const char *cbe_path_name(const char *path);

/** Identity of the folder that a path led to at one moment. */
typedef struct {
    bool known; /* false in a zeroed mark */
    uint64_t device, number;
} cbe_folder_mark;

/** Marks a folder; `known` is false if stat fails. */
cbe_folder_mark cbe_folder_mark_of(const char *folder);
/** Marks the folder of a file; `known` is also false if memory is short. */
cbe_folder_mark cbe_folder_mark_of_file(const char *path);
/** Checks that the path still leads to the marked folder.
 * @return CBE_OK, also if the mark is not known; CBE_ERR_IO: the path leads to another folder now,
 * or to none; the status of cbe_status_of_errno: stat failed for another reason */
cbe_status cbe_folder_mark_check(const cbe_folder_mark *mark, const char *folder, cbe_error *err);
/** cbe_folder_mark_check of the folder of a file. @return also CBE_ERR_NOMEM */
cbe_status cbe_folder_mark_check_file(const cbe_folder_mark *mark, const char *path,
                                      cbe_error *err);
/** Resolves all symbolic links of the path's last name; a link that leads nowhere gives the path
 * that it names. Neither the file nor its folder need exist.
 * @param out  freed by the caller with cbe_free
 * @return CBE_OK; CBE_ERR_IO (an empty name; a slash at its end; links in a circle; a link of /proc
 * such as /dev/stdout, which stands for an open file and must not be written by name);
 * CBE_ERR_NOMEM */
cbe_status cbe_path_resolve(char **out, const char *path, cbe_error *err);

/** Makes an output folder if there is none. @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM */
cbe_status cbe_path_make_folder(const char *folder, cbe_error *err);

typedef enum { CBE_PATH_NOTHING, CBE_PATH_FILE, CBE_PATH_FOLDER, CBE_PATH_OTHER } cbe_path_kind;

/** Finds the kind of file at a path; a device or pipe is CBE_PATH_OTHER. A missing file is no
 * failure; any other failure of stat is, and leaves *out untouched.
 * @return CBE_OK, or the status of cbe_status_of_errno */
cbe_status cbe_path_look(const char *path, cbe_path_kind *out, cbe_error *err);
/** Whether the folder has a file `name` that is no folder. *out is untouched on failure.
 * @return CBE_OK, CBE_ERR_NOMEM, or a status of cbe_path_look */
cbe_status cbe_path_has(const char *folder, const char *name, bool *out, cbe_error *err);

#endif
