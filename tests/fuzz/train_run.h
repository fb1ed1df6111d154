/* train_run.h - the state of the small training whose checkpoints fuzz_train_checkpoint.c reads,
 * and make_seeds.c writes. */
#ifndef CBE_TESTS_TRAIN_RUN_H
#define CBE_TESTS_TRAIN_RUN_H

#include "lens/train_state.h"

enum {
    TRAIN_WIDTH = 2,
    TRAIN_LAYERS = 1,
    TRAIN_VOCABULARY = 3,
    TRAIN_CONTEXT = 2,
    TRAIN_POOL = 2,
    TRAIN_STEPS = 2
};

/** A state with room for all that a checkpoint holds; options->checkpoint is path. */
static inline cbe_status train_run_init(cbe_train_state *s, cbe_lens_train_options *options,
                                        const char *path, cbe_error *err)
{
    enum { D = TRAIN_WIDTH };
    static float unembedding[TRAIN_VOCABULARY * D] = {1, 0, 0, 1, 1, 1}, gamma[D] = {1, 1};
    static float rows[TRAIN_LAYERS + 1][TRAIN_POOL * D],
        *row_list[TRAIN_LAYERS + 1] = {rows[0], rows[1]};
    static int64_t ids[TRAIN_CONTEXT] = {0, 2}, labels[TRAIN_POOL];
    static double losses[TRAIN_STEPS * TRAIN_LAYERS], logit[TRAIN_LAYERS], start[TRAIN_LAYERS];
    static float weight[D * D], bias[D], *weights[TRAIN_LAYERS] = {weight},
                                         *biases[TRAIN_LAYERS] = {bias};
    static cbe_lens_optimizer optimizers[TRAIN_LAYERS];
    static cbe_tuned_lens lens = {TRAIN_LAYERS, D, weights, biases};
    static cbe_decoder decoder;
    decoder = (cbe_decoder){.hidden_size = D,
                            .vocab_size = TRAIN_VOCABULARY,
                            .unembedding = unembedding,
                            .gamma = gamma};
    cbe_lens_train_options_init(options);
    options->checkpoint = path;
    *s = (cbe_train_state){.options = options,
                           .decoder = &decoder,
                           .n_layers = TRAIN_LAYERS,
                           .hidden_size = D,
                           .context_length = TRAIN_CONTEXT,
                           .n_text = 1,
                           .ids = ids,
                           .n_sequences = 1,
                           .n_steps = TRAIN_STEPS,
                           .pool = TRAIN_POOL,
                           .rows = row_list,
                           .labels = labels,
                           .lens = &lens,
                           .optimizers = optimizers,
                           .losses = losses,
                           .logit = logit,
                           .start = start};
    return optimizers[0].momentum ? CBE_OK
                                  : cbe_lens_optimizer_create(&optimizers[0], options, D, err);
}

#endif
