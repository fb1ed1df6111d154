/* inputs.h - adding files to the inputs of a run, and digests of files. */
#ifndef CBE_TESTS_INPUTS_H
#define CBE_TESTS_INPUTS_H

#include "files/inputs.h"

/** Adds a mapped file, or all files read of a model. The list takes digests from then on. */
void inputs_read(cbe_inputs *inputs, cbe_input_role role, const char *path);
void inputs_read_model(cbe_inputs *inputs, const char *path);

/** The SHA-256 of a file, in static memory, valid until the fourth call from now. */
const char *file_sha256(const char *path);

#endif
