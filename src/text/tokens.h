/*
 * tokens.h - the token ids that a run is made on: B sequences of S tokens.
 */
#ifndef CBE_TEXT_TOKENS_H
#define CBE_TEXT_TOKENS_H

#include "files/inputs.h"
#include "cbe/status.h"
#include "text/tokenizer.h"

/** What a document is in a text file. */
typedef enum {
    /* a file whose name says .jsonl or .ndjson has one a line; any other is one */
    CBE_DOCUMENTS_AUTO = 0,
    CBE_DOCUMENTS_FILE,       /* the whole file, nothing trimmed */
    CBE_DOCUMENTS_BLANK_LINE, /* lines up to a blank one, without the end of the last of them */
    CBE_DOCUMENTS_JSONL,      /* a field of the JSON object on each line; blank lines are skipped */
    CBE_N_DOCUMENTS_KINDS
} cbe_documents_kind;

typedef struct {
    cbe_documents_kind kind;
    const char *field;  /* of JSON objects; NULL: "text" */
    cbe_inputs *inputs; /* files are added to, as CBE_INPUT_TEXT; NULL: not wanted */
    /* Called after each part of a text that is read; done: bytes of this text so far; total: 0, not
     * known. false cancels; NULL: none. */
    bool (*progress)(void *context, size_t done, size_t total);
    void *context;
} cbe_documents_options;

typedef struct {
    size_t n_sequences, context_length; /* B, S */
    int64_t *ids;                       /* (B, S), owned */
    int64_t *derangement;               /* (B S), owned; NULL when the file has none */
    /* read: documents, and their tokens with those put between them */
    size_t n_documents, n_tokens;
    /* tokens past the last whole sequence or --max-tokens; invalid UTF-8 parts replaced */
    size_t n_unused, n_replaced;
} cbe_tokens;

/** Reads texts, plain or compressed by gzip or zstd, a document at a time, and each once, so that
 * pipes will do ("-": standard input); joins their tokens with the end-of-text token between
 * documents and cuts them into sequences of context_length. What is left over at the end is not
 * used (counted in n_unused), unless there is less than one sequence: then it is the only, shorter
 * one. Nothing is read past the document that reaches max_tokens. Memory: 8 bytes a token and one
 * document.
 * @param documents   NULL: defaults
 * @param max_tokens  0: all; otherwise whole sequences up to that many tokens, or one shorter
 * sequence
 * @return CBE_OK; CBE_ERR_IO (file named); CBE_ERR_FORMAT (damaged or not JSON: file and line
 * named); CBE_ERR_ARG when a document holds no token (file and line named) */
cbe_status cbe_tokens_from_texts(cbe_tokens *out, const cbe_tokenizer *tokenizer, size_t n_paths,
                                 const char *const *paths, const cbe_documents_options *documents,
                                 size_t context_length, size_t max_tokens, cbe_error *err);

/** Cuts the tokens of texts anew, as cbe_tokens_from_texts does of the first max_tokens: texts need
 * not be read again. */
void cbe_tokens_cut(cbe_tokens *tokens, size_t context_length, size_t max_tokens);

/** Reads `input_ids` (B, S) or (S), and `derangement` when present, from a .safetensors or .npz
 * file, or input_ids alone from a .npy file, int64 or int32, as they are. Error CBE_ERR_SHAPE for
 * other shapes, CBE_ERR_ARG for negative ids or a derangement that is not a permutation of all B S
 * tokens without fixed points.
 * @param inputs  the file is added to; NULL: not wanted */
cbe_status cbe_tokens_load(cbe_tokens *out, const char *path, cbe_inputs *inputs, cbe_error *err);

/** Error CBE_ERR_ARG, with sequence and position, when an id is not below vocab_size. */
cbe_status cbe_tokens_check(const cbe_tokens *tokens, size_t vocab_size, cbe_error *err);

/** Frees what it owns and zeroes it; a zeroed one is allowed. */
void cbe_tokens_free(cbe_tokens *tokens);

#endif
