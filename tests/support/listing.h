/* listing.h - names and contents of the files in a folder and its subfolders. */
#ifndef CBE_TESTS_LISTING_H
#define CBE_TESTS_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LISTING_FILES = 256, LISTING_NAME = 96 };

typedef struct {
    char name
        /* Path below the folder; the rest is zeros, as entries are compared as bytes. */
        [LISTING_NAME];
    uint64_t hash; /* hash of the content; 0 for a link that leads nowhere */
} listed_file;

typedef struct {
    size_t n;
    listed_file files[LISTING_FILES]; /* sorted by name */
} listing;

/** Lists a folder; a missing folder is empty. Fails the test if there are more files or longer
 * names. */
void listing_read(listing *out, const char *folder);
/** The file of a name; NULL: there is none. */
const listed_file *listing_find(const listing *files, const char *name);
bool listing_same(const listing *a, const listing *b);

/** Hash of a file, 0 if it cannot be opened; hash of bytes, continued from another hash or from
 * LISTING_BEGIN. */
#define LISTING_BEGIN 0xcbf29ce484222325u
uint64_t listing_hash_file(const char *path);
uint64_t listing_hash(uint64_t from, const void *data, size_t size);

#endif
