/* translate.h - applying a lens's translator to hidden states. */
#ifndef CBE_LENS_TRANSLATE_H
#define CBE_LENS_TRANSLATE_H

#include <stddef.h>

/** The lens x_n = h_n + A h_n + b of a layer, read by the decoder. */
typedef struct {
    const float *weight; /* A (d, d), row-major; NULL: the logit lens, A = 0 and b = 0 */
    const float *bias;   /* b (d); NULL: 0 */
} cbe_translator;

/** x = h + A h + b for n hidden states; x = h for the logit lens's translator.
 * @param hidden (n, d)  @param x [out] (n, d), not hidden itself */
void cbe_translate(cbe_translator translator, size_t n, size_t d, const float *hidden, float *x);

#endif
