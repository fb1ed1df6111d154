/* path.h - paths of files in folders. */
#ifndef CBE_IO_PATH_H
#define CBE_IO_PATH_H

#include <stdbool.h>

#include "cbe/status.h"

/** "folder/name", to cbe_free; NULL and *err when memory is short. */
char *cbe_path_join(const char *folder, const char *name, cbe_error *err);
/** Whether there is a file of that name in the folder that is no folder itself. *out is untouched on failure.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_path_has(const char *folder, const char *name, bool *out, cbe_error *err);

#endif
