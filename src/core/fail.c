/* fail.c - see fail.h and cbe/status.h. */
#include "core/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/printable.h"

const char *cbe_status_name(cbe_status status)
{
    static const char *const names[] = {
        "CBE_OK",          "CBE_ERR_ARG",       "CBE_ERR_NOMEM",    "CBE_ERR_IO",
        "CBE_ERR_SYSTEM",  "CBE_ERR_FORMAT",    "CBE_ERR_SHAPE",    "CBE_ERR_UNSUPPORTED",
        "CBE_ERR_NUMERIC", "CBE_ERR_CANCELLED", "CBE_ERR_INTERNAL",
    };
    _Static_assert(sizeof names / sizeof *names == CBE_N_STATUS, "one name for each status");
    return (unsigned)status < CBE_N_STATUS ? names[status] : "?";
}

cbe_status cbe_fail(cbe_error *err, cbe_status code, int64_t offset, const char *format, ...)
{
    if (err) {
        err->code = code;
        err->offset = offset;
        va_list args;
        va_start(args, format);
        const int whole = vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        size_t length = strlen(err->message);
        if (whole > 0 && (size_t)whole > length)
            length = cbe_whole_characters(err->message, length);
        cbe_printable(err->message, sizeof err->message, err->message, length);
    }
    return code;
}

cbe_status cbe_status_of_errno(int error)
{
    switch (error) {
    case ENOMEM: return CBE_ERR_NOMEM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EIO:
    case EMFILE:
    case ENFILE: return CBE_ERR_SYSTEM;
    default: return CBE_ERR_IO;
    }
}
