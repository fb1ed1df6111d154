/*
 * terminal.h - finding characters that a terminal acts on; shares no code with core/printable.c.
 */
#ifndef CBE_TESTS_TERMINAL_H
#define CBE_TESTS_TERMINAL_H

#include <stddef.h>

/** The first character that a terminal may act on, or that hides or turns other characters: C0
 * except newline and tab, DEL, C1, marks of direction, characters without a width, a byte outside
 * UTF-8. 0: none. */
unsigned terminal_acts_on(const void *text, size_t length);

#endif
