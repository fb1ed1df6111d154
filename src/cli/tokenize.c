/* tokenize.c - cbe tokenize: turns text into token ids, and ids into text. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "tokenizer/tokenizer.h"
#include "cli/commands.h"
#include "run/corpus.h"
#include "run/inputs.h"
#include "cli/arguments.h"
#include "run/options.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "core/memory.h"
#include "text/documents.h"

typedef struct {
    const char *model, *text;
    cbe_file_names files;
    int documents;
    const char *text_field;
    bool decode, special;
} tokenize_options;

#define AT(field) offsetof(tokenize_options, field)
/* clang-format off */
static const cbe_option options[] = {
    {"text", 0, OPT_FILES, AT(files), NULL, "FILE...", "texts, plain or .gz or .zst; - for standard input", NULL, 0},
    CBE_DOCUMENT_OPTIONS(AT(documents), AT(text_field)),
    {"special", 0, OPT_FLAG, AT(special), NULL, NULL, "add what the tokenizer puts at the ends", NULL, 0},
    {"decode", 0, OPT_FLAG, AT(decode), NULL, NULL, "the reverse: ids separated by spaces, a document a line, to text", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

const cli_command cli_tokenize_command = {
    "tokenize",
    "MODEL (--text FILE... | TEXT) [--special] [--decode]",
    "text to token ids, and back",
    "Prints the ids of each document on a line of its own, separated by spaces. What --decode "
    "prints is exact in a file or a\n"
    "pipe; on a terminal control characters and marks of direction become '?'.",
    options,
    2,
    {AT(model), AT(text)},
};

/* @param n_replaced  parts that are not UTF-8 are added */
static cbe_status encode(const cbe_tokenizer *tokenizer, const char *text, size_t length,
                         bool special, size_t *n_replaced, cbe_error *err)
{
    int64_t *ids = NULL;
    size_t n = 0, replaced = 0;
    const cbe_status st =
        cbe_tokenizer_encode(tokenizer, text, length, special, &ids, &n, &replaced, err);
    if (st != CBE_OK) return st;
    bool written = true;
    for (size_t i = 0; i < n && written; i++)
        written = printf("%s%lld", i ? " " : "", (long long)ids[i]) > 0;
    if (!written || printf("\n") < 0) cli_flush_output(); /* keeps the reason of the failure */
    *n_replaced += replaced;
    cbe_tokenizer_free_ids(ids);
    return CBE_OK;
}

/* Decodes a line of ids. Anything but digits and blanks is an error. */
static cbe_status decode_line(const cbe_tokenizer *tokenizer, const char *line, size_t length,
                              cbe_error *err)
{
    enum { MOST_DIGITS = 18 }; /* most digits that always fit int64_t */
    cbe_status st = CBE_OK;
    char *text = NULL;
    size_t n = 0, text_length = 0;
    int64_t *ids = cbe_alloc(length / 2 + 1, sizeof *ids, "ids", err);
    if (!ids) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < length && st == CBE_OK;) {
        if (line[i] == ' ' || line[i] == '\t' || line[i] == '\r') {
            i++;
            continue;
        }
        int64_t id = 0;
        size_t digits = 0;
        const size_t start = i;
        for (; i < length && line[i] >= '0' && line[i] <= '9'; i++, digits++)
            if (digits < MOST_DIGITS) id = 10 * id + (line[i] - '0');
        if (digits == 0)
            st = cbe_fail(err, CBE_ERR_ARG, (int64_t)i,
                          "'%c' is no id; --decode takes ids separated by spaces", line[i]);
        else if (digits > MOST_DIGITS)
            st = cbe_fail(err, CBE_ERR_ARG, (int64_t)start, "'%.*s' is no id: it has %zu digits",
                          digits < 40 ? (int)digits : 40, line + start, digits);
        else
            ids[n++] = id;
    }
    if (st == CBE_OK) st = cbe_tokenizer_decode(tokenizer, ids, n, &text, &text_length, err);
    if (st == CBE_OK) {
        if (isatty(STDOUT_FILENO) == 1)
            cli_text(stdout, text, text_length);
        else
            fwrite(text, 1, text_length, stdout);
        printf("\n");
    }
    cbe_tokenizer_free_text(text);
    cbe_free(ids);
    return st;
}

/* @param where  names the text in messages */
static cbe_status decode(const cbe_tokenizer *tokenizer, const char *where, const char *text,
                         size_t length, cbe_error *err)
{
    for (size_t start = 0, number = 1; start < length && !ferror(stdout); number++) {
        const char *end = memchr(text + start, '\n', length - start);
        const size_t line = end ? (size_t)(end - text) - start : length - start;
        cbe_error why = {0};
        const cbe_status st = decode_line(tokenizer, text + start, line, &why);
        if (st != CBE_OK) return cbe_fail_as(err, &why, "%s: line %zu: ", where, number);
        start += line + 1;
    }
    return CBE_OK;
}

/* What the visitors of documents need. */
typedef struct {
    const cbe_tokenizer *tokenizer;
    bool special;
    cbe_documents_counts counts;
} encoding;

static cbe_status encode_document(void *user, const char *where, const char *text, size_t length,
                                  bool *stop, cbe_error *err)
{
    encoding *e = user;
    (void)where;
    const cbe_status st =
        encode(e->tokenizer, text ? text : "", length, e->special, &e->counts.n_replaced, err);
    *stop = ferror(stdout); /* Nobody reads the rest; cli_finish_output says so. */
    return st;
}

/* Decodes a file of ids, each line a document. */
static cbe_status decode_file(void *user, const char *where, const char *text, size_t length,
                              bool *stop, cbe_error *err)
{
    const encoding *e = user;
    (void)stop;
    return decode(e->tokenizer, where, text ? text : "", length, err);
}

static void warn_of_text(void *context, const char *line)
{
    cbe_warn(context, "%s", line);
}

int cli_tokenize(int argc, char **argv)
{
    tokenize_options given = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help;
    cli_progress progress;
    cbe_tokenizer *tokenizer = NULL;
    cbe_remarks remarks = {0};

    if ((st = cli_parse(&cli_tokenize_command, argc, argv, &given, &help, &err)) != CBE_OK)
        goto done;
    if (help) {
        cli_print_help(&cli_tokenize_command);
        return cli_finish_output();
    }
    cli_progress_init(&progress, false, false);
    if (!given.model || (given.text != NULL) == (given.files.n > 0)) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "usage: cbe tokenize %s", cli_tokenize_command.usage);
        goto done;
    }
    if ((st = cbe_check_texts(&given.files, &err)) != CBE_OK) goto done;
    if ((st = cbe_tokenizer_read(&tokenizer, given.model, NULL, &remarks, &err)) != CBE_OK)
        goto done;
    cbe_warn_of_remarks(&progress.watch, &remarks);
    encoding run = {.tokenizer = tokenizer, .special = given.special};
    if (given.text) {
        const size_t length = strlen(given.text);
        st = given.decode ? decode(tokenizer, "TEXT", given.text, length, &err)
                          : encode(tokenizer, given.text, length, given.special,
                                   &run.counts.n_replaced, &err);
    }
    const cbe_documents_options documents = {
        .kind = given.decode ? CBE_DOCUMENTS_FILE : (cbe_documents_kind)given.documents,
        .field = given.text_field,
        .counts = &run.counts,
        .warn = warn_of_text,
        .context = &progress.watch};
    bool stop = false;
    for (size_t i = 0; i < given.files.n && st == CBE_OK && !stop; i++)
        st = cbe_documents_visit(given.files.paths[i], &documents,
                                 given.decode ? decode_file : encode_document, &run, &stop, &err);
    if (run.counts.n_replaced)
        cli_warn(&progress, "%zu parts of the text are not UTF-8 and were replaced by U+FFFD",
                 run.counts.n_replaced);
    if (run.counts.n_null)
        cli_warn(&progress, "%zu lines have null in the place of a text and were left out",
                 run.counts.n_null);
done:
    cbe_remarks_free(&remarks);
    cbe_tokenizer_free(tokenizer);
    cli_free(&cli_tokenize_command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
