/*
 * fail.h - filling a cbe_error in one expression: return cbe_fail(err, CBE_ERR_IO, -1, "...", ...).
 */
#ifndef CBE_CORE_FAIL_H
#define CBE_CORE_FAIL_H

#include "cbe/status.h"
#include "core/terms.h"

/** Stores code, offset (-1: none) and message in err (NULL: nothing is stored). A message that does
 * not fit is cut at the end of a character. Characters that a terminal would act on become '?'
 * (printable.h), so the message stays one line.
 * @return code */
cbe_status cbe_fail(cbe_error *err, cbe_status code, int64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** Fails with the code and offset of another error, and with words before its message: "process 1:
 * ". */
cbe_status cbe_fail_as(cbe_error *err, const cbe_error *why, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** The message as the program prints it, with the program's words (terms.h). */
const char *cbe_error_typed(const cbe_error *err);

/** Status of a call that set errno to `error`: CBE_ERR_NOMEM; CBE_ERR_SYSTEM if another file name
 * would fail too; else CBE_ERR_IO. */
cbe_status cbe_status_of_errno(int error);

#endif
