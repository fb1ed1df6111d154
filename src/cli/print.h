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

#endif
