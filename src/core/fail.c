/* fail.c - see fail.h and cbe/status.h. */
#include "core/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
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

/* Bytes of a formatted message before its terms are chosen (terms.h); a longer message is cut. */
enum { RAW_SIZE = 2 * CBE_MESSAGE_SIZE };

/* Writes the message in the wording of one side. @return whether the message has terms */
static bool word(char *out, const char *raw, bool whole, cbe_side side)
{
    bool all;
    const bool has_terms = cbe_choose_terms(out, CBE_MESSAGE_SIZE, raw, side, &all);
    size_t length = strlen(out);
    if (!whole || !all) length = cbe_whole_characters(out, length);
    cbe_printable(out, CBE_MESSAGE_SIZE, out, length);
    return has_terms;
}

cbe_status cbe_fail(cbe_error *err, cbe_status code, int64_t offset, const char *format, ...)
{
    if (err) {
        char raw[RAW_SIZE];
        err->code = code;
        err->offset = offset;
        va_list args;
        va_start(args, format);
        const int size = vsnprintf(raw, sizeof raw, format, args);
        va_end(args);
        const bool whole = size >= 0 && (size_t)size < sizeof raw;
        word(err->message, raw, whole, CBE_IN_LIBRARY);
        if (!word(err->command_line, raw, whole, CBE_IN_PROGRAM)) err->command_line[0] = 0;
        cbe_first_option(err->option, sizeof err->option, raw);
    }
    return code;
}

const char *cbe_error_typed(const cbe_error *err)
{
    return err->command_line[0] ? err->command_line : err->message;
}

cbe_status cbe_fail_as(cbe_error *err, const cbe_error *why, const char *format, ...)
{
    char before[CBE_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(before, sizeof before, format, args);
    va_end(args);
    const cbe_error cause = *why; /* a copy, since why may be err */
    cbe_fail(err, cause.code, cause.offset, "%s" CBE_TERM("%s", "%s"), before,
             cbe_error_typed(&cause), cause.message);
    if (err) memcpy(err->option, cause.option, sizeof err->option);
    return cause.code;
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
