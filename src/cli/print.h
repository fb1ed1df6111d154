/*
 * print.h - lines for a terminal that hold foreign text: names, tokens, metadata, paths.
 *
 * Everything foreign that a command prints goes through here, or through cbe_fail.
 */
#ifndef CBE_CLI_PRINT_H
#define CBE_CLI_PRINT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

/** One line: formatted text, made printable as a whole (core/printable.h), and a newline. */
void cli_line(FILE *stream, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** The same with `end` in place of the newline. */
void cli_vprint(FILE *stream, const char *end, const char *format, va_list args);
/** Text of many lines: its newlines and tabs stay, the rest is made printable. */
void cli_text(FILE *stream, const char *text, size_t length);

#endif
