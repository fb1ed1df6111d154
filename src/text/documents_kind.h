/*
 * documents_kind.h - what a document is in a text of which nobody has said it: what the text's name
 * says, and how the text begins.
 */
#ifndef CBE_TEXT_DOCUMENTS_KIND_H
#define CBE_TEXT_DOCUMENTS_KIND_H

#include <stdbool.h>
#include <stddef.h>

/** What a name's ending says, in any case, and before the ending of a compression (".jsonl.gz"). */
typedef enum {
    CBE_NAMED_OTHERWISE,
    CBE_NAMED_TEXT,  /* .txt, .text, .md */
    CBE_NAMED_TABLE, /* .csv, .tsv */
    CBE_NAMED_JSON,  /* .json: corpora have lines of objects in it, others one object or array */
    CBE_NAMED_JSON_LINES /* .jsonl, .jsonlines, .ndjson, .jl */
} cbe_documents_name;

cbe_documents_name cbe_documents_name_of(const char *path);

/** How a text begins. Blanks and empty lines before count for nothing. */
typedef enum {
    CBE_BEGINS_UNKNOWN, /* more of the text is needed */
    CBE_BEGINS_OTHERWISE,
    CBE_BEGINS_BRACE,   /* { with something else behind it than an object has */
    CBE_BEGINS_LINE,    /* an object, or the beginning of one, that its line does not carry on */
    CBE_BEGINS_OBJECT,  /* an object of several lines */
    CBE_BEGINS_BRACKET, /* [ */
    CBE_BEGINS_ARRAY    /* an array of objects */
} cbe_documents_beginning;

/** How far a text was looked at; begins as zeros. */
typedef struct {
    size_t at;   /* bytes looked at */
    char first;  /* the first that is no blank; 0: not found */
    size_t line; /* where it is */
} cbe_documents_look;

/** Looks at the text's first `size` bytes, which are all of it if ended; each byte once, when
 * called again with more.
 * @param length  [out] bytes of the line that begins at look->line, if CBE_BEGINS_LINE */
cbe_documents_beginning cbe_documents_look_at(cbe_documents_look *look, const char *text,
                                              size_t size, bool ended, size_t *length);

/** Whether a line of JSON lines begins as JSON that is laid out over several lines, or an array. */
bool cbe_documents_is_laid_out(const char *line, size_t length);

#endif
