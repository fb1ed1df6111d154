/* zip_archive.c - see zip_archive.h. */
#include "formats/zip_archive.h"

#include <errno.h>

#include "core/fail.h"

cbe_status cbe_zip_open(zip_t **out, const cbe_mapped_file *map, cbe_error *err)
{
    zip_error_t why;
    zip_error_init(&why);
    errno = 0;
    zip_source_t *source = zip_source_buffer_create(map->data, map->size, 0, &why);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    cbe_status st = zip ? CBE_OK : cbe_zip_fail(err, &why, map->path);
    if (st == CBE_ERR_FORMAT)
        cbe_fail(err, CBE_ERR_FORMAT, -1,
                 "%s: cannot be read as a zip archive (%s): truncated or damaged; make or download "
                 "it again",
                 map->path, zip_error_strerror(&why));
    if (!zip) zip_source_free(source);
    zip_error_fini(&why);
    *out = zip;
    return st;
}

cbe_status cbe_zip_fail(cbe_error *err, const zip_error_t *why, const char *path)
{
    if (zip_error_code_zip(why) != ZIP_ER_MEMORY && errno != ENOMEM) return CBE_ERR_FORMAT;
    return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: out of memory while the archive is read", path);
}
