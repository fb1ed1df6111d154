/* listing.c - see listing.h. */
#include "support/listing.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/assert_close.h"

uint64_t listing_hash(uint64_t h, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) h = (h ^ bytes[i]) * 0x100000001b3u;
    return h;
}

uint64_t listing_hash_file(const char *path)
{
    char buffer[4096];
    uint64_t h = LISTING_BEGIN;
    ssize_t n;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return 0;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) h = listing_hash(h, buffer, (size_t)n);
    close(fd);
    return h;
}

static void list_folder(listing *out, const char *folder, const char *prefix)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[1200], name[LISTING_NAME];
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (snprintf(name, sizeof name, "%s%s", prefix, entry->d_name) >= LISTING_NAME - 1)
            fail_msg("%s: the name is too long", path);
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
            strcat(name, "/");
            list_folder(out, path, name);
            continue;
        }
        assert_true(out->n < LISTING_FILES);
        listed_file *file = &out->files[out->n++];
        memset(file, 0, sizeof *file); /* entries are compared as bytes */
        snprintf(file->name, LISTING_NAME, "%s", name);
        file->hash = listing_hash_file(path);
    }
    if (dir) closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const listed_file *)a)->name, ((const listed_file *)b)->name);
}

void listing_read(listing *out, const char *folder)
{
    out->n = 0;
    list_folder(out, folder, "");
    qsort(out->files, out->n, sizeof *out->files, by_name);
}

const listed_file *listing_find(const listing *files, const char *name)
{
    for (size_t i = 0; i < files->n; i++)
        if (strcmp(files->files[i].name, name) == 0) return &files->files[i];
    return NULL;
}

bool listing_same(const listing *a, const listing *b)
{
    return a->n == b->n && memcmp(a->files, b->files, a->n * sizeof *a->files) == 0;
}
