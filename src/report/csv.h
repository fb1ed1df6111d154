/* csv.h - rows of comma-separated values (RFC 4180), built in memory. Functions return CBE_OK or
 * CBE_ERR_NOMEM. */
#ifndef CBE_REPORT_CSV_H
#define CBE_REPORT_CSV_H

#include "core/byte_buffer.h"

/** Appends formatted text of less than 256 bytes. */
cbe_status cbe_csv_print(cbe_byte_buffer *csv, cbe_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Appends text in quotes, with quotes inside it doubled. */
cbe_status cbe_csv_text(cbe_byte_buffer *csv, const char *text, cbe_error *err);
/** Appends a comma and a number; only the comma if the number is not finite. */
cbe_status cbe_csv_number(cbe_byte_buffer *csv, double value, cbe_error *err);

#endif
