/* fuzz_tokenizer.c - see fuzz_tokenizer.h. */
#include "fuzz_tokenizer.h"

#include "fuzz_input.h"

static void decode(const cbe_tokenizer *tokenizer, const int64_t *ids, size_t n)
{
    cbe_error err = {0};
    char *text = NULL;
    size_t length;
    if (!fuzz_succeeded(cbe_tokenizer_decode(tokenizer, ids, n, &text, &length, &err), &err))
        return;
    fuzz_expect(text[length] == 0, "a decoded text ends with 0");
    cbe_tokenizer_free_text(text);
}

void fuzz_encode(const cbe_tokenizer *tokenizer, const char *text, size_t length)
{
    cbe_error err = {0};
    int64_t *ids = NULL;
    size_t n = 0, replaced;
    if (!fuzz_succeeded(
            cbe_tokenizer_encode(tokenizer, text, length, true, &ids, &n, &replaced, &err), &err))
        return;
    for (size_t i = 0; i < n; i++)
        fuzz_expect(ids[i] >= 0 && (size_t)ids[i] < cbe_tokenizer_vocab_size(tokenizer),
                    "ids are of the vocabulary");
    decode(tokenizer, ids, n);
    cbe_tokenizer_free_ids(ids);
}

void fuzz_use_tokenizer(cbe_tokenizer *tokenizer)
{
    static const char text[] =
        "It's a  test, 12345 <s>ab\xc3\xa9 e\xcc\x81\n\xe4\xbd\xa0\xf0\x9f\x99\x82\xff";
    enum { FIRST = 8 };
    int64_t ids[FIRST];
    for (int i = 0; i < FIRST; i++) ids[i] = i;
    fuzz_encode(tokenizer, text, sizeof text); /* with its 0 */
    fuzz_encode(tokenizer, "", 0);
    decode(tokenizer, ids, FIRST);
    decode(tokenizer, &(int64_t){cbe_tokenizer_bos(tokenizer)}, 1);
    cbe_tokenizer_free(tokenizer);
}
