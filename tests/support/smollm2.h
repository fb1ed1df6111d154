/* smollm2.h - where the one real model lies that tests use when it is there. */
#ifndef CBE_TESTS_SMOLLM2_H
#define CBE_TESTS_SMOLLM2_H

/** Path of SmolLM2-135M-Instruct.Q4_1.gguf: $CBE_SMOLLM2 or, where that is not set, the file in
 * $XDG_CACHE_HOME/cbe or $HOME/.cache/cbe. NULL when it is absent: the test must skip(). Static. */
const char *cbe_test_smollm2_path(void);

#endif
