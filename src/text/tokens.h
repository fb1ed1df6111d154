/*
 * tokens.h - the token ids of a run: B sequences of S tokens.
 */
#ifndef CBE_TEXT_TOKENS_H
#define CBE_TEXT_TOKENS_H

#include "files/inputs.h"
#include "cbe/status.h"
#include "tokenizer/tokenizer.h"

/** How a text file is cut into documents. */
typedef enum {
    CBE_DOCUMENTS_AUTO = 0,   /* JSONL by the file's name or by how the text begins, else FILE */
    CBE_DOCUMENTS_FILE,       /* the whole file, nothing trimmed */
    CBE_DOCUMENTS_BLANK_LINE, /* lines up to a blank line, without the end of the last line */
    CBE_DOCUMENTS_JSONL,      /* a field of the JSON object on each line; blank lines are skipped */
    CBE_N_DOCUMENTS_KINDS
} cbe_documents_kind;

/** What was found in texts, summed over all of them. */
typedef struct {
    size_t n_null;     /* lines of JSON whose field is null: they hold no document */
    size_t n_replaced; /* ill-formed parts of UTF-8 in lines of JSON, each now U+FFFD */
} cbe_documents_counts;

typedef struct {
    cbe_documents_kind kind;
    const char *field;            /* key of the text in JSON objects; NULL: "text" */
    cbe_documents_counts *counts; /* what is found is added; NULL: not wanted */
    cbe_inputs *inputs; /* files are added to this list as CBE_INPUT_TEXT; NULL skips it */
    /* Called after each part of a text that is read; done: bytes of this text so far; total: 0, not
     * known. false cancels; NULL: none. */
    bool (*progress)(void *context, size_t done, size_t total);
    /* Called with a line that the user must see, in the terms of core/terms.h: what was passed
     * over, or may have been meant otherwise. NULL: none. */
    void (*warn)(void *context, const char *line);
    void *context;
    size_t memory; /* bytes that decompression may take beyond the usual; 0: not limited */
} cbe_documents_options;

typedef struct {
    size_t n_sequences, context_length; /* B, S */
    int64_t *ids;                       /* (B, S), owned */
    int64_t *derangement;               /* (B S), owned; NULL: the file has none */
    /* Documents with tokens; their tokens, with the tokens put between documents. */
    size_t n_documents, n_tokens;
    size_t n_left_out; /* documents without a token, and those that are null in JSON */
    /* Tokens past the last whole sequence or max_tokens; ill-formed UTF-8 parts replaced. */
    size_t n_unused, n_replaced;
} cbe_tokens;

/** Reads texts, plain or compressed by gzip or zstd, a document at a time and each once, so that
 * pipes will do ("-": standard input); joins the tokens with the end-of-text token between
 * documents and cuts them into sequences of context_length. Documents without a token are left out.
 * Tokens left over at the end are counted in n_unused, unless there is less than one sequence: then
 * they are the only, shorter one. Nothing is read past the document that reaches max_tokens.
 * Memory: 8 bytes a token and one document.
 * @param documents   NULL: defaults
 * @param max_tokens  0: all tokens; else whole sequences up to max_tokens, or one shorter sequence
 * @return CBE_OK; CBE_ERR_IO (file named); CBE_ERR_FORMAT (damaged or not JSON: file and line
 * named); CBE_ERR_ARG if no document holds a token */
cbe_status cbe_tokens_from_texts(cbe_tokens *out, const cbe_tokenizer *tokenizer, size_t n_paths,
                                 const char *const *paths, const cbe_documents_options *documents,
                                 size_t context_length, size_t max_tokens, cbe_error *err);

/** Cuts the tokens of cbe_tokens_from_texts anew, without reading the texts again. */
void cbe_tokens_cut(cbe_tokens *tokens, size_t context_length, size_t max_tokens);

/** Reads `input_ids` (B, S) or (S), and `derangement` if present, from a .safetensors or .npz file,
 * or input_ids alone from a .npy file: integers of any width.
 * @param inputs  the file is added to this list; NULL skips it
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_SHAPE for other shapes; CBE_ERR_ARG for
 * negative ids or a derangement that is not a permutation of all B S tokens without fixed points;
 * CBE_ERR_UNSUPPORTED for a mask that leaves tokens out; CBE_ERR_NOMEM */
cbe_status cbe_tokens_load(cbe_tokens *out, const char *path, cbe_inputs *inputs, cbe_error *err);

/** Checks that ids are below vocab_size. @return CBE_OK; CBE_ERR_ARG (sequence and position
 * named) */
cbe_status cbe_tokens_check(const cbe_tokens *tokens, size_t vocab_size, cbe_error *err);

/** Frees the arrays and zeroes *tokens; a zeroed struct is allowed. */
void cbe_tokens_free(cbe_tokens *tokens);

#endif
