/*
 * foreign_format.h - formats that are no plain text, known by their first bytes: archives,
 * compressed data, tables, documents of other programs, texts in other encodings than UTF-8.
 */
#ifndef CBE_FILES_FOREIGN_FORMAT_H
#define CBE_FILES_FOREIGN_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

/** Bytes by which every known format is told; more do not harm. */
enum { CBE_FOREIGN_HEAD = 4096 };

typedef struct {
    const char *name;   /* "bzip2 data": what the file is */
    const char *advice; /* how to make a text of it, with the terms of core/terms.h */
} cbe_foreign_format;

/** The format of a text that begins with n bytes; NULL: it is none that is known.
 * @param whole  whether the n bytes are all of the text
 * @return borrowed, static */
const cbe_foreign_format *cbe_foreign_format_of(const unsigned char *bytes, size_t n, bool whole);

/** As cbe_foreign_format_of, but by magic numbers of 4 bytes or more alone, which numbers in a file
 * do not begin with by chance. */
const cbe_foreign_format *cbe_foreign_format_by_magic(const unsigned char *bytes, size_t n);

/** Whether a text begins as a page of HTML, behind blanks. */
bool cbe_is_web_page(const unsigned char *bytes, size_t n);

#endif
