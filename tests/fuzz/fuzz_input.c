/* fuzz_input.c - see fuzz_input.h. */
#include "fuzz_input.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PATH_SPACE = 512,
    MOST_FILES = 8,
    PAGE_LIKE = 64 /* alignment of what is mapped: that of vectors */
};

static char folder[PATH_SPACE];

void fuzz_expect(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "fuzz: does not hold: %s\n", what);
    abort();
}

static void remove_folder(void)
{
    DIR *files = opendir(folder);
    for (const struct dirent *file; files && (file = readdir(files));) {
        char path[2 * PATH_SPACE];
        snprintf(path, sizeof path, "%s/%s", folder, file->d_name);
        unlink(path);
    }
    if (files) closedir(files);
    rmdir(folder);
}

const char *fuzz_folder(void)
{
    if (*folder) return folder;
    struct stat info;
    const char *where = getenv("TMPDIR");
    if (!where)
        where = stat("/dev/shm", &info) == 0 && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/cbe-fuzz-XXXXXX", where);
    fuzz_expect(mkdtemp(folder) != NULL, "a folder for inputs can be made");
    atexit(remove_folder);
    return folder;
}

const char *fuzz_file(const char *name, const void *data, size_t size)
{
    static char paths[MOST_FILES][PATH_SPACE + 64];
    static const char *names[MOST_FILES];
    static unsigned char *contents[MOST_FILES];
    static size_t sizes[MOST_FILES];
    size_t i = 0;
    while (i < MOST_FILES && names[i] && strcmp(names[i], name) != 0) i++;
    fuzz_expect(i < MOST_FILES, "there are few names of files");
    if (!names[i]) {
        names[i] = name;
        snprintf(paths[i], sizeof paths[i], "%s/%s", fuzz_folder(), name);
    }
    if (contents[i] && sizes[i] == size && (size == 0 || memcmp(contents[i], data, size) == 0))
        return paths[i]; /* as it was */
    free(contents[i]);
    contents[i] = malloc(size + 1);
    fuzz_expect(contents[i] != NULL, "there is memory for an input");
    if (size) memcpy(contents[i], data, size);
    sizes[i] = size;
    const int fd = open(paths[i], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fuzz_expect(fd >= 0 && write(fd, data, size) == (ssize_t)size, "an input can be written");
    close(fd);
    return paths[i];
}

void fuzz_split(const uint8_t *data, size_t size, fuzz_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *end = i + 1 < n && size ? memchr(data, 0, size) : NULL;
        const size_t length = end ? (size_t)(end - data) : size;
        parts[i] = (fuzz_part){data, length};
        data += length;
        size -= length;
        if (end) data++, size--;
    }
}

bool fuzz_succeeded(cbe_status st, const cbe_error *err)
{
    if (st == CBE_OK) return true;
    fuzz_expect(st == err->code, "the error has the status that was returned");
    fuzz_expect(memchr(err->message, 0, sizeof err->message) != NULL, "the message has an end");
    fuzz_expect(strlen(err->message) >= 10 && !strchr(err->message, '\n'),
                "the message is one line");
    if (st == CBE_ERR_NOMEM || st == CBE_ERR_INTERNAL) fprintf(stderr, "fuzz: %s\n", err->message);
    fuzz_expect(st != CBE_ERR_NOMEM, "a small file does not exhaust memory");
    fuzz_expect(st != CBE_ERR_INTERNAL, "a file is no mistake of ours");
    return false;
}

void fuzz_read_tensor(const cbe_tensor *tensor)
{
    const size_t n = tensor->n_elements, block = cbe_dtype_get(tensor->dtype)->block_items;
    float *all = malloc((n + 1) * sizeof *all), *last = malloc(block * sizeof *last);
    cbe_error err = {0};
    fuzz_expect(all && last, "there is memory for a tensor");
    if (fuzz_succeeded(cbe_tensor_to_float(tensor, 0, n, all, &err), &err) && n >= block) {
        fuzz_expect(cbe_tensor_to_float(tensor, n - block, block, last, &err) == CBE_OK,
                    "the last block can be read");
        fuzz_expect(memcmp(all + n - block, last, block * sizeof *last) == 0,
                    "blocks are independent");
    }
    free(last);
    free(all);
}

/* In place of mmap and munmap in the library: read-only, private, whole files. */
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *address, size_t size);

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    void *memory = NULL;
    fuzz_expect(!address && protection == PROT_READ && flags == MAP_PRIVATE && offset == 0,
                "files are mapped whole and read-only");
    if (posix_memalign(&memory, PAGE_LIKE, size) != 0) return MAP_FAILED;
    fuzz_expect(pread(fd, memory, size, 0) == (ssize_t)size, "the file can be read");
    return memory;
}

int __wrap_munmap(void *address, size_t size)
{
    (void)size;
    free(address);
    return 0;
}

/* Small quarantine and short stacks: a million executions allocate much. Used where ASAN_OPTIONS
 * says nothing else. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "quarantine_size_mb=16:malloc_context_size=8:allocator_may_return_null=1";
}
