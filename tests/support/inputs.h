/* inputs.h - files as the inputs of a run, and their digests. */
#ifndef CBE_TESTS_INPUTS_H
#define CBE_TESTS_INPUTS_H

#include "files/inputs.h"

/** Adds a file, as whoever maps it does, or all that is read of a model. The list takes digests
 * from then on. */
void inputs_read(cbe_inputs *inputs, cbe_input_role role, const char *path);
void inputs_read_model(cbe_inputs *inputs, const char *path);

/** The SHA-256 of a file: static memory, valid until the fourth call from now. */
const char *file_sha256(const char *path);

#endif
