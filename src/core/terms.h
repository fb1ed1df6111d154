/*
 * terms.h - words of a message that the program cbe and the library's callers call otherwise: the
 * program's user types --memory, a caller of cbe_run_set gives "memory".
 *
 * A message has both words, between marks, until it is told to one of them.
 */
#ifndef CBE_CORE_TERMS_H
#define CBE_CORE_TERMS_H

#include <stdbool.h>
#include <stddef.h>

/** A word for each: CBE_TERM("-k", "vectors"). */
#define CBE_TERM(program, library) "\x01\x02" program "\x01\x03" library "\x01\x04"
/** An option by its long name: "give more " CBE_OPTION("memory"). */
#define CBE_OPTION(name) CBE_TERM("--", "") name

typedef enum { CBE_IN_PROGRAM, CBE_IN_LIBRARY } cbe_side;

/** The message with one side's words.
 * @param out  size bytes, ended by a 0
 * @param all  [out] whether all of it had room
 * @return whether there is a term in it */
bool cbe_choose_terms(char *out, size_t size, const char *message, cbe_side side, bool *all);
/** The first option that a message names: the library's word of a term, or the name in CBE_OPTION.
 * @param out  size bytes; "": it names none */
void cbe_first_option(char *out, size_t size, const char *message);

#endif
