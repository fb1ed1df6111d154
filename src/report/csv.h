/* csv.h - rows of comma-separated values (RFC 4180), put together in memory. */
#ifndef CBE_REPORT_CSV_H
#define CBE_REPORT_CSV_H

#include "core/byte_buffer.h"

/** Formatted text of less than 256 bytes. */
cbe_status cbe_csv_print(cbe_byte_buffer *csv, cbe_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Quotes around it, those within it doubled. */
cbe_status cbe_csv_text(cbe_byte_buffer *csv, const char *text, cbe_error *err);
/** A comma and the number; nothing behind the comma where it is not finite. */
cbe_status cbe_csv_number(cbe_byte_buffer *csv, double value, cbe_error *err);

#endif
