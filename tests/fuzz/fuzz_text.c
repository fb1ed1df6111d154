/* Text files: plain, gzip or zstd, a document or many, tokenised. The first byte says how they are
 * read. */
#include <stdlib.h>
#include <string.h>

#include "text/tokens.h"
#include "fuzz_input.h"
#include "fuzz_tokenizer.h"
#include "text/documents.h"

enum {
    /* Bytes; longer ones, which compressed files can hold, are not tokenised: they are slow, not
     * new. */
    LONG_DOCUMENT = 1 << 14,
    MEMORY = 128 << 20 /* for windows of zstd */
};

static cbe_tokenizer *tokenizer;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    cbe_error err = {0};
    (void)argc, (void)argv;
    fuzz_expect(cbe_tokenizer_from_json(
                    &tokenizer, CBE_TEST_DATA "/golden/tokenizers/made-smollm/tokenizer.json", NULL,
                    NULL, &err) == CBE_OK,
                "the tokenizer can be loaded");
    return 0;
}

typedef struct {
    size_t longest, n;
} visited;

static cbe_status visit(void *user, const char *where, const char *text, size_t length, bool *stop,
                        cbe_error *err)
{
    visited *v = user;
    (void)err, (void)stop;
    fuzz_expect(where && *where, "a document has a name");
    fuzz_expect(text || length == 0, "a document has a text");
    if (length > v->longest) v->longest = length;
    v->n++;
    return CBE_OK;
}

static void hear(void *context, const char *line)
{
    (void)context;
    fuzz_expect(*line && !strchr(line, '\n'), "a warning is one line");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const unsigned how = data[0];
    const char *name = how & 4 ? "x.jsonl" : how & 32 ? "x.json" : "x.txt";
    const char *path = fuzz_file(name, data + 1, size - 1);
    cbe_documents_counts counts = {0};
    const cbe_documents_options options = {.kind =
                                               (cbe_documents_kind)(how % CBE_N_DOCUMENTS_KINDS),
                                           .field = how & 8 ? "b" : NULL,
                                           .counts = &counts,
                                           .warn = hear,
                                           .memory = MEMORY};
    cbe_error err = {0};
    visited v = {0};
    bool stop = false;
    const bool read =
        fuzz_succeeded(cbe_documents_visit(path, &options, visit, &v, &stop, &err), &err);
    if (v.longest > LONG_DOCUMENT) return 0;
    cbe_tokens tokens = {0};
    const size_t context = 1 + (how >> 5), most = how & 16 ? 5 : 0;
    if (!fuzz_succeeded(
            cbe_tokens_from_texts(&tokens, tokenizer, 1, &path, &options, context, most, &err),
            &err))
        return 0;
    fuzz_expect(read || most,
                "what cannot be read to its end is not tokenised, unless less is asked for");
    fuzz_expect(most || tokens.n_documents + tokens.n_left_out == v.n + counts.n_null,
                "every document is tokenised or left out");
    fuzz_expect(most || tokens.n_replaced >= counts.n_replaced, "what is replaced is counted");
    fuzz_expect(cbe_tokens_check(&tokens, cbe_tokenizer_vocab_size(tokenizer), &err) == CBE_OK,
                "ids are of the vocabulary");
    cbe_tokens_free(&tokens);
    return 0;
}
