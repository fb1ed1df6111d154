/* smollm2.h - the path of SmolLM2, the real model that tests use if it is present. */
#ifndef CBE_TESTS_SMOLLM2_H
#define CBE_TESTS_SMOLLM2_H

/** Path of SmolLM2-135M-Instruct.Q4_1.gguf: $CBE_SMOLLM2 or, if that is not set, the file in
 * $XDG_CACHE_HOME/cbe or $HOME/.cache/cbe. NULL if it is absent: the test must skip(). Static. */
const char *cbe_test_smollm2_path(void);

#endif
