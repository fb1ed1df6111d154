/*
 * watch.h - what a run tells while it works: to a callback, in whole lines. The library itself
 * writes nothing.
 */
#ifndef CBE_RUN_WATCH_H
#define CBE_RUN_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/cbe.h"
#include "core/remarks.h"
#include "core/terms.h"

/** Where lines go. NULL in place of a watch, and one without a callback, are allowed everywhere. */
typedef struct {
    cbe_callback *callback;
    void *context;
    cbe_side side;  /* whose words lines are in */
    bool cancelled; /* the callback has returned false, whatever the event */
} cbe_watch;

/** A line that a user should see: what was read and what was chosen. */
void cbe_note(cbe_watch *watch, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** A line that a user must see: the results may not be what they seem. */
void cbe_warn(cbe_watch *watch, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Warns of each remark, and empties the list. */
void cbe_warn_of_remarks(cbe_watch *watch, cbe_remarks *remarks);
/** What is being prepared. @return as cbe_working */
bool cbe_stage(cbe_watch *watch, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** How far the work is: done of total, and the same in words.
 * @return false: the work is to end with CBE_ERR_CANCELLED */
bool cbe_working(cbe_watch *watch, size_t done, size_t total, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/** An event with its text. @return as cbe_working */
bool cbe_tell(cbe_watch *watch, cbe_event event, const char *text, size_t done, size_t total);

/** For cbe_forward_sink and its like; context is a cbe_watch. */
bool cbe_watch_forward(void *context, size_t done, size_t total);

#endif
