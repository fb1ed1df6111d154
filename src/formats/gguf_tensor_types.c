/*
 * gguf_tensor_types.c - types of tensors, by their number in a .gguf file.
 *
 * Numbers without a row are types that the format has dropped (4, 5, 31 to 33, 36 to 38).
 */
#include "formats/gguf_private.h"

static const cbe_gguf_tensor_type tensor_types[] = {
    [0] = {"f32", CBE_F32, 1, 4},
    [1] = {"f16", CBE_F16, 1, 2},
    [2] = {"q4_0", CBE_Q4_0, 32, 18},
    [3] = {"q4_1", CBE_Q4_1, 32, 20},
    [6] = {"q5_0", CBE_Q5_0, 32, 22},
    [7] = {"q5_1", CBE_Q5_1, 32, 24},
    [8] = {"q8_0", CBE_Q8_0, 32, 34},
    [9] = {"q8_1", CBE_N_DTYPES, 32, 36},
    [10] = {"q2_k", CBE_Q2_K, 256, 84},
    [11] = {"q3_k", CBE_Q3_K, 256, 110},
    [12] = {"q4_k", CBE_Q4_K, 256, 144},
    [13] = {"q5_k", CBE_Q5_K, 256, 176},
    [14] = {"q6_k", CBE_Q6_K, 256, 210},
    [15] = {"q8_k", CBE_N_DTYPES, 256, 292},
    [16] = {"iq2_xxs", CBE_IQ2_XXS, 256, 66},
    [17] = {"iq2_xs", CBE_IQ2_XS, 256, 74},
    [18] = {"iq3_xxs", CBE_IQ3_XXS, 256, 98},
    [19] = {"iq1_s", CBE_IQ1_S, 256, 50},
    [20] = {"iq4_nl", CBE_IQ4_NL, 32, 18},
    [21] = {"iq3_s", CBE_IQ3_S, 256, 110},
    [22] = {"iq2_s", CBE_IQ2_S, 256, 82},
    [23] = {"iq4_xs", CBE_IQ4_XS, 256, 136},
    [24] = {"i8", CBE_N_DTYPES, 1, 1},
    [25] = {"i16", CBE_N_DTYPES, 1, 2},
    [26] = {"i32", CBE_N_DTYPES, 1, 4},
    [27] = {"i64", CBE_I64, 1, 8},
    [28] = {"f64", CBE_F64, 1, 8},
    [29] = {"iq1_m", CBE_IQ1_M, 256, 56},
    [30] = {"bf16", CBE_BF16, 1, 2},
    [34] = {"tq1_0", CBE_TQ1_0, 256, 54},
    [35] = {"tq2_0", CBE_TQ2_0, 256, 66},
    [39] = {"mxfp4", CBE_MXFP4, 32, 17},
    [40] = {"nvfp4", CBE_NVFP4, 64, 36},
    [41] = {"q1_0", CBE_N_DTYPES, 128, 18},
};
_Static_assert(sizeof tensor_types / sizeof *tensor_types == 42, "rows up to number 41");

const cbe_gguf_tensor_type *cbe_gguf_tensor_type_get(uint32_t number)
{
    if (number >= sizeof tensor_types / sizeof *tensor_types) return NULL;
    return tensor_types[number].name ? &tensor_types[number] : NULL;
}
