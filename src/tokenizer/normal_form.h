/* normal_form.h - Unicode's normalisation forms, which some tokenizers apply to a text first. */
#ifndef CBE_TOKENIZER_NORMAL_FORM_H
#define CBE_TOKENIZER_NORMAL_FORM_H

#include <stddef.h>

#include "cbe/status.h"

typedef enum { CBE_NFC = 0, CBE_NFD, CBE_NFKC, CBE_NFKD } cbe_normal_form;

/** Brings a text to a form. The caller frees *out with cbe_free; *out is NULL if a quick check
 * shows that the text has the form already.
 * @param text  length bytes of well-formed UTF-8
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_normal_form_of(char **out, cbe_normal_form form, const char *text, size_t length,
                              size_t *out_length, cbe_error *err);

#endif
