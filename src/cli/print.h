/*
 * print.h - printing text that comes from files: names, tokens, metadata, paths.
 *
 * A command prints such text by these functions or by cbe_fail alone. Both make it printable.
 */
#ifndef CBE_CLI_PRINT_H
#define CBE_CLI_PRINT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

/** Prints formatted text, made printable as a whole (core/printable.h), and a newline. */
void cli_line(FILE *stream, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** The same, with `end` in place of the newline. */
void cli_vprint(FILE *stream, const char *end, const char *format, va_list args);
/** Prints text of many lines. Newlines and tabs stay, the rest is made printable. */
void cli_text(FILE *stream, const char *text, size_t length);
/** Prints a number of so many digits, right-aligned in `width` columns, or a dash if it is not
 * finite. A number that would touch the column before it has one digit less. */
void cli_number(double value, int width, int digits);
/** Prints a ratio likewise, with two decimals if it is below 100. */
void cli_ratio(double value, int width);

#endif
