/*
 * assert_close.h - comparing numbers in tests.
 *
 * The comparison is written as !(difference <= tolerance), so that NaN fails; cmocka's own macros
 * accept NaN. The message has the index, both values and the caller's text.
 */
#ifndef CBE_TESTS_ASSERT_CLOSE_H
#define CBE_TESTS_ASSERT_CLOSE_H

#include <stddef.h>
#include <stdarg.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "cbe/status.h"

/** Index of the first |got - want| that is not <= absolute + relative |want|; n if all are. */
size_t cbe_first_difference(const double *got, const double *want, size_t n, double absolute,
                            double relative);
size_t cbe_first_difference_f32(const float *got, const float *want, size_t n, double absolute,
                                double relative);
void cbe_fail_difference(const char *file, int line, size_t index, double got, double want,
                         const char *format, ...) __attribute__((format(printf, 6, 7)));

/** cbe_assert_close(got, want, n, absolute, relative, "which %d", ...): arrays of double. */
#define cbe_assert_close(got, want, n, absolute, relative, ...)                                    \
    do {                                                                                           \
        const double *got_ = (got), *want_ = (want);                                               \
        const size_t i_ = cbe_first_difference(got_, want_, (n), (absolute), (relative));          \
        if (i_ < (n))                                                                              \
            cbe_fail_difference(__FILE__, __LINE__, i_, got_[i_], want_[i_], __VA_ARGS__);         \
    } while (0)
/** cbe_assert_close for arrays of float. */
#define cbe_assert_close_f32(got, want, n, absolute, relative, ...)                                \
    do {                                                                                           \
        const float *got_ = (got), *want_ = (want);                                                \
        const size_t i_ = cbe_first_difference_f32(got_, want_, (n), (absolute), (relative));      \
        if (i_ < (n))                                                                              \
            cbe_fail_difference(__FILE__, __LINE__, i_, (double)got_[i_], (double)want_[i_],       \
                                __VA_ARGS__);                                                      \
    } while (0)

/** Asserts that a call returns CBE_OK, and shows its message otherwise. */
#define cbe_assert_ok(call, err)                                                                   \
    do {                                                                                           \
        if ((call) != CBE_OK) fail_msg("%s: %s", #call, (err)->message);                           \
    } while (0)

#endif
