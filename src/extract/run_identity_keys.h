/*
 * run_identity_keys.h - the keys of an identity, for the files that make and compare identities.
 *
 * "--NAME" is an option, "options" the list of their names, "inputs" the number of inputs, and
 * "input 1", "input 2" ... are inputs with values "ROLE SHA256 NAME". Any other key is what it
 * says.
 */
#ifndef CBE_EXTRACT_RUN_IDENTITY_KEYS_H
#define CBE_EXTRACT_RUN_IDENTITY_KEYS_H

#define CBE_RUN_OPTIONS "options"
#define CBE_RUN_INPUTS  "inputs"
#define CBE_RUN_INPUT   "input " /* and a number from 1 on */

enum { CBE_RUN_COUNT = 32 /* bytes of a number, or of the key of an input */ };

#endif
