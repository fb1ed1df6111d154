/*
 * precision.h - how products with a model's weights are made.
 *
 * Products of bfloat16 are for CPUs that multiply it; math/bf16.h says what one and three parts
 * are.
 */
#ifndef CBE_OBJECTIVE_MODEL_PRECISION_H
#define CBE_OBJECTIVE_MODEL_PRECISION_H

typedef enum {
    CBE_PRECISION_FLOAT32 = 0,
    CBE_PRECISION_BF16X3, /* three parts: 16 bits of each factor */
    /* one part, 8 bits, in evaluations of a sample; three parts in evaluations of all tokens */
    CBE_PRECISION_BF16,
    CBE_N_PRECISIONS
} cbe_precision;

/** Name as on the command line: "float32", "bf16x3", "bf16". */
const char *cbe_precision_name(cbe_precision precision);

#endif
