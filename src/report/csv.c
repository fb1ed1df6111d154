/* csv.c - see csv.h. */
#include "report/csv.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

cbe_status cbe_csv_print(cbe_byte_buffer *csv, cbe_error *err, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return cbe_byte_buffer_put(csv, text, (size_t)length, err);
}

cbe_status cbe_csv_text(cbe_byte_buffer *csv, const char *text, cbe_error *err)
{
    cbe_status st = cbe_csv_print(csv, err, "\"");
    for (; *text && st == CBE_OK; text++) {
        if (*text == '"') st = cbe_csv_print(csv, err, "\"");
        if (st == CBE_OK) st = cbe_byte_buffer_put(csv, text, 1, err);
    }
    return st == CBE_OK ? cbe_csv_print(csv, err, "\"") : st;
}

cbe_status cbe_csv_number(cbe_byte_buffer *csv, double value, cbe_error *err)
{
    return isfinite(value) ? cbe_csv_print(csv, err, ",%.9g", value) : cbe_csv_print(csv, err, ",");
}
