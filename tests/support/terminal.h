/*
 * terminal.h - what a terminal acts on, in bytes that it is sent. Apart from core/printable.c.
 */
#ifndef CBE_TESTS_TERMINAL_H
#define CBE_TESTS_TERMINAL_H

#include <stddef.h>

/** The first character that a terminal may act on, or that hides or turns others: C0 but newline
 * and tab, DEL, C1, marks of direction, characters without a width; a byte outside UTF-8 counts
 * too. 0: none. */
unsigned terminal_acts_on(const void *text, size_t length);

#endif
