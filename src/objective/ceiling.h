/*
 * ceiling.h - what it would cost to predict the same distribution for every token.
 *
 *   I = H(mean p) - mean H(p) = mean KL(p_n || mean p)      nats
 *
 * The best constant prediction is the mean of the clean distributions p, and I is its divergence:
 * the mutual information of place and prediction. A direction whose ablation has more energy does
 * more than take information away.
 */
#ifndef CBE_OBJECTIVE_CEILING_H
#define CBE_OBJECTIVE_CEILING_H

#include "lens/translate.h"
#include "math/kernels.h"
#include "model/decoder.h"
#include "processes/processes.h"

/** Hidden states of a sequence, which are added up together. */
typedef struct {
    size_t n;            /* tokens; 0 is allowed */
    const float *hidden; /* (n, d), borrowed */
} cbe_ceiling_block;

/** Computes I over the tokens of all blocks of all processes. Cost: one product N V d and N V
 * exponentials. The result has the same bits however sequences are divided over processes.
 * @param translator  through which the decoder reads hidden states
 * @param processes   over which the blocks are divided; NULL: one alone
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_ARG (no tokens). *out is NaN where logits are not
 * finite */
cbe_status cbe_ceiling(double *out, const cbe_decoder *decoder, cbe_translator translator,
                       const cbe_kernels *kernels, size_t n_blocks, const cbe_ceiling_block *blocks,
                       const cbe_processes *processes, cbe_error *err);

#endif
