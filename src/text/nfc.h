/* nfc.h - Unicode's normalisation form C, which some tokenizers bring text to first. */
#ifndef CBE_TEXT_NFC_H
#define CBE_TEXT_NFC_H

#include <stddef.h>

#include "cbe/status.h"

/** text in form NFC. *out is to cbe_free; NULL when the text certainly is NFC as it stands.
 * @param text  length bytes of well-formed UTF-8
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_nfc(char **out, const char *text, size_t length, size_t *out_length, cbe_error *err);

#endif
