/*
 * quantised_blocks.h - conversion of GGUF's quantised types to float, block by block.
 *
 * Every function expands count elements, whole blocks, from data of any alignment. Products and
 * sums are rounded in the order of the format's reference implementation, so that results have its
 * bits.
 */
#ifndef CBE_FORMATS_QUANTISED_BLOCKS_H
#define CBE_FORMATS_QUANTISED_BLOCKS_H

#include <stddef.h>

/* Items of a block of the plain types, of nvfp4, and of the k-quants and all later types. */
enum { CBE_BLOCK_ITEMS = 32, CBE_NVFP4_ITEMS = 64, CBE_SUPER_ITEMS = 256 };

/* Bytes of one block. */
enum {
    CBE_Q4_0_BYTES = 2 + 16,
    CBE_Q4_1_BYTES = 4 + 16,
    CBE_Q5_0_BYTES = 2 + 4 + 16,
    CBE_Q5_1_BYTES = 4 + 4 + 16,
    CBE_Q8_0_BYTES = 2 + 32,
    CBE_IQ4_NL_BYTES = 2 + 16,
    CBE_Q2_K_BYTES = 16 + 64 + 4,
    CBE_Q3_K_BYTES = 32 + 64 + 12 + 2,
    CBE_Q4_K_BYTES = 4 + 12 + 128,
    CBE_Q5_K_BYTES = 4 + 12 + 32 + 128,
    CBE_Q6_K_BYTES = 128 + 64 + 16 + 2,
    CBE_IQ4_XS_BYTES = 2 + 2 + 4 + 128,
    CBE_TQ1_0_BYTES = 48 + 4 + 2,
    CBE_TQ2_0_BYTES = 64 + 2,
    CBE_MXFP4_BYTES = 1 + 16,
    CBE_NVFP4_BYTES = 4 + 32,
    CBE_IQ2_XXS_BYTES = 2 + 64,
    CBE_IQ2_XS_BYTES = 2 + 64 + 8,
    CBE_IQ2_S_BYTES = 2 + 32 + 32 + 8 + 8,
    CBE_IQ3_XXS_BYTES = 2 + 64 + 32,
    CBE_IQ3_S_BYTES = 2 + 64 + 8 + 32 + 4,
    CBE_IQ1_S_BYTES = 2 + 32 + 16,
    CBE_IQ1_M_BYTES = 32 + 16 + 8
};

typedef void cbe_convert_fn(const unsigned char *data, size_t count, float *out);

cbe_convert_fn cbe_convert_q4_0, cbe_convert_q4_1, cbe_convert_q5_0, cbe_convert_q5_1,
    cbe_convert_q8_0, cbe_convert_iq4_nl, cbe_convert_q2_k, cbe_convert_q3_k, cbe_convert_q4_k,
    cbe_convert_q5_k, cbe_convert_q6_k, cbe_convert_iq4_xs, cbe_convert_tq1_0, cbe_convert_tq2_0,
    cbe_convert_mxfp4, cbe_convert_nvfp4, cbe_convert_iq2_xxs, cbe_convert_iq2_xs,
    cbe_convert_iq2_s, cbe_convert_iq3_xxs, cbe_convert_iq3_s, cbe_convert_iq1_s, cbe_convert_iq1_m;

#endif
