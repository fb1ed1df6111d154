/* checkpoint_run.h - the small run whose checkpoints fuzz_checkpoint.c reads, and make_seeds.c
 * writes. */
#ifndef CBE_TESTS_CHECKPOINT_RUN_H
#define CBE_TESTS_CHECKPOINT_RUN_H

#include "extract/checkpoint.h"

enum { RUN_WIDTH = 3, RUN_LAYERS = 2, RUN_VECTORS = 2 };

static const size_t run_layers[RUN_LAYERS] = {0, 4};

static inline cbe_status run_create(cbe_checkpoint **out, const char *path, cbe_error *err)
{
    static const cbe_run_option options[] = {{"objective", "kl"}};
    static const cbe_run_record record = {.n_options = 1,
                                          .options = options,
                                          .kernels = "ref",
                                          .logits = "float32",
                                          .n_tokens = 8,
                                          .hidden_size = RUN_WIDTH};
    return cbe_checkpoint_create(out, path, &record, RUN_LAYERS, run_layers, RUN_VECTORS, NULL,
                                 err);
}

#endif
