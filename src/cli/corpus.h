/*
 * corpus.h - a model with a text to run it on: what the commands that have both share.
 */
#ifndef CBE_CLI_CORPUS_H
#define CBE_CLI_CORPUS_H

#include "model/model.h"
#include "text/tokens.h"
#include "cli/options.h"
#include "cli/progress.h"

/** Fields of options; a member of each command's struct. */
typedef struct {
    const char *model, *tokens;
    cli_files text;
    int documents;
    const char *text_field;
    size_t context_length, max_tokens, threads, memory; /* memory: bytes; 0: not given */
    bool quiet, verbose;
    cbe_inputs *inputs; /* what is read is added to */
} cli_corpus;

extern const char *const cli_documents[];

/* Rows of an options table; `member` is the cli_corpus in the struct `type`. */
/* clang-format off */
/** What a document is in a text. */
#define CLI_DOCUMENT_OPTIONS(kind_offset, field_offset)                                                                \
    {"documents", 0, OPT_CHOICE, kind_offset, "auto", "KIND", "what a document is: file, blank-line (up to one), jsonl (a field of each line); auto: jsonl for .jsonl, else file", cli_documents, 0}, \
    {"text-field", 0, OPT_STRING, field_offset, "text", "NAME", "field of JSON lines that holds the text", NULL, 0}
/** A text or token ids; text_help is added to the help of --text. */
#define CLI_TEXT_OPTIONS(type, member, text_help)                                                                      \
    {"text", 0, OPT_FILES, offsetof(type, member.text), NULL, "FILE...", "texts, plain or .gz or .zst, - for standard input" text_help, NULL, 0}, \
    CLI_DOCUMENT_OPTIONS(offsetof(type, member.documents), offsetof(type, member.text_field)),                         \
    {"tokens", 0, OPT_STRING, offsetof(type, member.tokens), NULL, "FILE", "token ids instead of texts (input_ids, safetensors)", NULL, 0}
/** The sequences. */
#define CLI_SEQUENCE_OPTIONS(type, member)                                                                             \
    {"context-length", 0, OPT_COUNT, offsetof(type, member.context_length), "256", "S", "tokens in one sequence", NULL, CLI_RANGE(1, CLI_MOST_CONTEXT)}, \
    {"max-tokens", 0, OPT_COUNT, offsetof(type, member.max_tokens), "0", "N", "tokens used, in whole sequences; 0: all", NULL, CLI_RANGE(0, CLI_MOST_TOKENS)}
/** Threads, memory and messages; `what` and verbose_help are texts for --help. */
#define CLI_THREAD_OPTION(type, member)                                                                                \
    {"threads", 't', OPT_COUNT, offsetof(type, member.threads), "0", "T", "threads; 0: one for each core", NULL, CLI_RANGE(0, CLI_MOST_THREADS)}
#define CLI_MEMORY_OPTION(type, member, what)                                                                          \
    {"memory", 0, OPT_SIZE, offsetof(type, member.memory), NULL, "SIZE", what ", as in 500M or 4G; not given: 70% of what is free", NULL, 0}
#define CLI_TALK_OPTIONS(type, member, verbose_help)                                                                   \
    {"quiet", 'q', OPT_FLAG, offsetof(type, member.quiet), NULL, NULL, "no progress", NULL, 0},                        \
    {"verbose", 'v', OPT_FLAG, offsetof(type, member.verbose), NULL, NULL, verbose_help, NULL, 0}
/* clang-format on */

/** Begins a command: how much is said, and its threads. @return what cli_use_threads returns */
cbe_status cli_corpus_begin(const cli_corpus *corpus, cli_progress *progress, cbe_error *err);
/** The number of OpenMP threads, 0: as it is, for which BLAS gets the room it needs.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cli_use_threads(size_t threads, cbe_error *err);
/** Bytes that the run may use: --memory, or 70% of what can be had; 0: not known, not limited. */
size_t cli_corpus_memory(const cli_corpus *corpus);
/** Opens the model: of that memory its float32 weights may take half, and what does not fit is
 * expanded block by block. */
cbe_status cli_open_model(cbe_model **out, const cli_corpus *corpus, cbe_error *err);
/** After the results of a command are in place: warns of files that are not any more what was read
 * of them. */
void cli_warn_of_changes(cli_progress *progress, const cbe_inputs *inputs);
/** Whether standard input is among the texts once at most, since it is at its end when it has been
 * read. @return CBE_OK, CBE_ERR_ARG */
cbe_status cli_check_texts(const cli_files *text, cbe_error *err);
/** Token sequences of the model's text or token file. */
/** @param used  of a text: tokens that are used of the corpus's max_tokens that are read; 0: all */
cbe_status cli_read_tokens(cbe_tokens *tokens, const cbe_model *model, const cli_corpus *corpus,
                           size_t used, cli_progress *progress, cbe_error *err);

#endif
