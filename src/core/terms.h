/*
 * terms.h - terms that the program and the library word differently: the program's user types
 * --memory, a caller of cbe_run_set gives "memory".
 *
 * A message holds both wordings between marks until cbe_choose_terms picks one.
 */
#ifndef CBE_CORE_TERMS_H
#define CBE_CORE_TERMS_H

#include <stdbool.h>
#include <stddef.h>

/** A term in both wordings: CBE_TERM("-k", "vectors"). */
#define CBE_TERM(program, library) "\x01\x02" program "\x01\x03" library "\x01\x04"
/** An option by its long name: "give more " CBE_OPTION("memory"). */
#define CBE_OPTION(name) CBE_TERM("--", "") name

typedef enum { CBE_IN_PROGRAM, CBE_IN_LIBRARY } cbe_side;

/** Copies a message with one side's wording.
 * @param out  size bytes, ended by a 0
 * @param all  [out] whether the whole message fitted
 * @return whether the message has a term */
bool cbe_choose_terms(char *out, size_t size, const char *message, cbe_side side, bool *all);
/** Finds the first option that a message names: the library's wording of a term, or the name in
 * CBE_OPTION.
 * @param out  size bytes; "" if the message names no option */
void cbe_first_option(char *out, size_t size, const char *message);

#endif
