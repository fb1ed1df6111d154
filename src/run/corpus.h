/*
 * corpus.h - a model with a text to run it on: what the commands that have both share.
 */
#ifndef CBE_RUN_CORPUS_H
#define CBE_RUN_CORPUS_H

#include "model/model.h"
#include "text/tokens.h"
#include "run/options.h"
#include "run/watch.h"

/** Fields of options; a member of each command's struct. */
typedef struct {
    const char *model, *tokens;
    cbe_file_names text;
    int documents;
    const char *text_field;
    size_t context_length, max_tokens, threads, memory; /* memory: bytes; 0: not given */
    bool quiet, verbose;
    cbe_inputs *inputs; /* what is read is added to */
} cbe_corpus;

extern const char *const cbe_documents_choices[];

/* Rows of an options table; `member` is the cbe_corpus in the struct `type`. */
/* clang-format off */
/** What a document is in a text. */
#define CBE_DOCUMENT_OPTIONS(kind_offset, field_offset)                                                                \
    {"documents", 0, OPT_CHOICE, kind_offset, "auto", "KIND", "what a document is: file, blank-line (up to one), jsonl (a field of each line); auto: jsonl if the text is, else file", cbe_documents_choices, 0}, \
    {"text-field", 0, OPT_STRING, field_offset, "text", "NAME", "field of JSON lines that holds the text", NULL, 0}
/** A text or token ids; text_help is added to the help of --text. */
#define CBE_TEXT_OPTIONS(type, member, text_help)                                                                      \
    {"text", 0, OPT_FILES, offsetof(type, member.text), NULL, "FILE...", "texts, plain or .gz or .zst, - for standard input" text_help, NULL, 0}, \
    CBE_DOCUMENT_OPTIONS(offsetof(type, member.documents), offsetof(type, member.text_field)),                         \
    {"tokens", 0, OPT_STRING, offsetof(type, member.tokens), NULL, "FILE", "token ids instead of texts (safetensors, NumPy, raw .bin)", NULL, 0}
/** The sequences. */
#define CBE_SEQUENCE_OPTIONS(type, member)                                                                             \
    {"context-length", 0, OPT_COUNT, offsetof(type, member.context_length), "256", "S", "tokens in one sequence", NULL, CBE_RANGE(1, CBE_MOST_CONTEXT)}, \
    {"max-tokens", 0, OPT_COUNT, offsetof(type, member.max_tokens), "0", "N", "tokens used, in whole sequences; 0: all", NULL, CBE_RANGE(0, CBE_MOST_TOKENS)}
/** Threads, memory and messages; `what` and verbose_help are texts for --help. */
#define CBE_THREAD_OPTION(type, member)                                                                                \
    {"threads", 't', OPT_COUNT, offsetof(type, member.threads), "0", "T", "threads; 0: one for each core", NULL, CBE_RANGE(0, CBE_MOST_THREADS)}
#define CBE_MEMORY_OPTION(type, member, what)                                                                          \
    {"memory", 0, OPT_SIZE, offsetof(type, member.memory), NULL, "SIZE", what ", as in 500M or 4G; not given: 70% of what is free", NULL, 0}
#define CBE_TALK_OPTIONS(type, member, verbose_help)                                                                   \
    {"quiet", 'q', OPT_FLAG, offsetof(type, member.quiet), NULL, NULL, "no progress", NULL, 0},                        \
    {"verbose", 'v', OPT_FLAG, offsetof(type, member.verbose), NULL, NULL, verbose_help, NULL, 0}
/* clang-format on */

/** The number of OpenMP threads, 0: as it is, for which BLAS gets the room it needs.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_use_threads(size_t threads, cbe_error *err);
/** Bytes that the run may use: --memory, or 70% of what can be had; 0: not known, not limited. */
size_t cbe_corpus_memory(const cbe_corpus *corpus);
/** Opens the model: of that memory its float32 weights may take half, and what does not fit is
 * expanded block by block. */
cbe_status cbe_corpus_open_model(cbe_model **out, const cbe_corpus *corpus, cbe_watch *watch,
                                 cbe_error *err);
/** After the results of a command are in place: warns of files that are not any more what was read
 * of them. */
void cbe_warn_of_changes(cbe_watch *watch, const cbe_inputs *inputs);
/** Whether standard input is among the texts once at most, since it is at its end when it has been
 * read. @return CBE_OK, CBE_ERR_ARG */
cbe_status cbe_check_texts(const cbe_file_names *text, cbe_error *err);
/** Token sequences of the model's text or token file. */
/** @param used  of a text: tokens that are used of the corpus's max_tokens that are read; 0: all */
cbe_status cbe_corpus_read_tokens(cbe_tokens *tokens, const cbe_model *model,
                                  const cbe_corpus *corpus, size_t used, cbe_watch *watch,
                                  cbe_error *err);

#endif
