/* watch.c - see watch.h. */
#include "run/watch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/printable.h"

/* Room for a line with two paths in it. */
enum { LINE = 8704 };

static bool is_heard(const cbe_watch *watch)
{
    return watch && watch->callback;
}

bool cbe_tell(cbe_watch *watch, cbe_event event, const char *text, size_t done, size_t total)
{
    if (!is_heard(watch)) return true;
    if (!watch->callback(watch->context, event, text, done, total)) watch->cancelled = true;
    return !watch->cancelled;
}

static bool tell(cbe_watch *watch, cbe_event event, size_t done, size_t total, const char *format,
                 va_list args)
{
    char raw[LINE], line[LINE];
    bool all;
    const int size = vsnprintf(raw, sizeof raw, format, args);
    cbe_choose_terms(line, sizeof line, raw, watch->side, &all);
    size_t length = strlen(line);
    if (!all || size < 0 || (size_t)size >= sizeof raw) length = cbe_whole_characters(line, length);
    cbe_printable(line, sizeof line, line, length);
    return cbe_tell(watch, event, line, done, total);
}

void cbe_note(cbe_watch *watch, const char *format, ...)
{
    if (!is_heard(watch)) return;
    va_list args;
    va_start(args, format);
    tell(watch, CBE_EVENT_NOTE, 0, 0, format, args);
    va_end(args);
}

void cbe_warn(cbe_watch *watch, const char *format, ...)
{
    if (!is_heard(watch)) return;
    va_list args;
    va_start(args, format);
    tell(watch, CBE_EVENT_WARNING, 0, 0, format, args);
    va_end(args);
}

void cbe_warn_of_remarks(cbe_watch *watch, cbe_remarks *remarks)
{
    for (size_t i = 0; i < remarks->n; i++) cbe_warn(watch, "%s", remarks->lines[i]);
    cbe_remarks_free(remarks);
}

bool cbe_stage(cbe_watch *watch, const char *format, ...)
{
    if (!is_heard(watch)) return true;
    va_list args;
    va_start(args, format);
    const bool go_on = tell(watch, CBE_EVENT_STAGE, 0, 0, format, args);
    va_end(args);
    return go_on;
}

bool cbe_working(cbe_watch *watch, size_t done, size_t total, const char *format, ...)
{
    if (!is_heard(watch)) return true;
    va_list args;
    va_start(args, format);
    const bool go_on = tell(watch, CBE_EVENT_PROGRESS, done, total, format, args);
    va_end(args);
    return go_on;
}

bool cbe_watch_forward(void *context, size_t done, size_t total)
{
    return cbe_working(context, done, total, "running the model: %.0f%%",
                       total ? 100.0 * (double)done / (double)total : 100.0);
}
