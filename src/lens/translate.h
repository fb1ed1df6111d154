/* translate.h - hidden states through a lens's translator. */
#ifndef CBE_LENS_TRANSLATE_H
#define CBE_LENS_TRANSLATE_H

#include <stddef.h>

#include "objective/objective.h"

/** x = h + A h + b for n hidden states; x = h where the translator is the logit lens's.
 * @param hidden (n, d)  @param x [out] (n, d), other memory than hidden */
void cbe_translate(cbe_translator translator, size_t n, size_t d, const float *hidden, float *x);

#endif
