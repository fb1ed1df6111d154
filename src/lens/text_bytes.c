/* text_bytes.c - bytes of the text on which a lens was measured, and figures a byte; see
 * lens/evaluate.h. */
#include <math.h>

#include "core/memory.h"
#include "lens/evaluate.h"

/* Bytes of n tokens, without tokens that begin or end a text; kept: scratch (n). */
static cbe_status decoded_bytes(size_t *bytes, const cbe_tokenizer *tokenizer, size_t n,
                                const int64_t *ids, int64_t *kept, cbe_error *err)
{
    char *text = NULL;
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (ids[i] != cbe_tokenizer_bos(tokenizer) && ids[i] != cbe_tokenizer_eos(tokenizer))
            kept[m++] = ids[i];
    *bytes = 0;
    const cbe_status st = m ? cbe_tokenizer_decode(tokenizer, kept, m, &text, bytes, err) : CBE_OK;
    cbe_tokenizer_free_text(text);
    return st;
}

cbe_status cbe_lens_eval_text_bytes(size_t *bytes, const cbe_tokenizer *tokenizer,
                                    const cbe_tokens *tokens, size_t skip_positions, cbe_error *err)
{
    const size_t length = tokens->context_length;
    cbe_status st = CBE_OK;
    size_t total = 0;
    if (length < 2 || skip_positions > length - 2) {
        *bytes = 0;
        return CBE_OK;
    }
    int64_t *kept = cbe_alloc(length, sizeof *kept, "tokens", err);
    if (!kept) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < tokens->n_sequences && st == CBE_OK; i++) {
        size_t all = 0, before = 0;
        st = decoded_bytes(&all, tokenizer, length, tokens->ids + i * length, kept, err);
        if (st == CBE_OK)
            st = decoded_bytes(&before, tokenizer, skip_positions + 1, tokens->ids + i * length,
                               kept, err);
        total += all > before ? all - before : 0;
    }
    cbe_free(kept);
    if (st == CBE_OK) *bytes = total;
    return st;
}

double cbe_lens_eval_bits_per_byte(const cbe_lens_eval *eval)
{
    if (!eval->text_bytes) return NAN;
    return (double)eval->n_labelled / ((double)eval->text_bytes * 0.6931471805599453);
}
