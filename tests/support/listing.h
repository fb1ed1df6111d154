/* listing.h - what files a folder holds, folders in it too, and what is in them. */
#ifndef CBE_TESTS_LISTING_H
#define CBE_TESTS_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LISTING_FILES = 256, LISTING_NAME = 96 };

typedef struct {
    char name
        [LISTING_NAME]; /* below the folder; the rest is zeros, as files are compared as bytes */
    uint64_t hash;      /* of the content; of a link that leads nowhere 0 */
} listed_file;

typedef struct {
    size_t n;
    listed_file files[LISTING_FILES]; /* by name */
} listing;

/** Fails the test where there are more files or longer names. A folder that is not there is empty.
 * */
void listing_read(listing *out, const char *folder);
/** NULL: there is none. */
const listed_file *listing_find(const listing *files, const char *name);
bool listing_same(const listing *a, const listing *b);

/** Hash of a file, 0 where it cannot be opened; and of bytes, going on from another hash or from
 * LISTING_BEGIN. */
#define LISTING_BEGIN 0xcbf29ce484222325u
uint64_t listing_hash_file(const char *path);
uint64_t listing_hash(uint64_t from, const void *data, size_t size);

#endif
