/*
 * documents.h - the documents of a text file, one after the other; see cbe_documents_options in
 * text/tokens.h.
 */
#ifndef CBE_TEXT_DOCUMENTS_H
#define CBE_TEXT_DOCUMENTS_H

#include <stdbool.h>

#include "text/tokens.h"

/** Called with each document; `where` names it in messages ("a.jsonl: line 3"). Setting *stop ends
 * the visit; so does any status but CBE_OK, which cbe_documents_visit returns. */
typedef cbe_status cbe_document_fn(void *user, const char *where, const char *text, size_t length,
                                   bool *stop, cbe_error *err);

/** Visits the documents of a file. Memory: the longest document or line.
 * @param options  NULL: defaults
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT (file and line named); CBE_ERR_NOMEM; the visitor's
 * status */
cbe_status cbe_documents_visit(const char *path, const cbe_documents_options *options,
                               cbe_document_fn *visit, void *user, bool *stop, cbe_error *err);

#endif
