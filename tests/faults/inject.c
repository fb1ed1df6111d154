/* inject.c - see inject.h. Linux and glibc: it looks at the callers' libraries, and passes calls on
 * by dlsym(RTLD_NEXT). */
#define _GNU_SOURCE
#include "faults/inject.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { MOST_RANGES = 64, TABLE = 1 << 13 };

static inject_fault fault;
static atomic_bool active;
static atomic_long counts[INJECT_N_KINDS];
static const char *failed = "";
void (*inject_renamed)(const char *path);

/* Which callers do not count. */

typedef struct {
    size_t n;
    struct {
        uintptr_t begin, end;
    } ranges[MOST_RANGES];
} code_ranges;

static code_ranges left_out, leaky, program;
static bool of_program;

static void note_ranges(code_ranges *out, const struct dl_phdr_info *info)
{
    for (int p = 0; p < info->dlpi_phnum && out->n < MOST_RANGES; p++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[p];
        if (part->p_type != PT_LOAD) continue;
        out->ranges[out->n].begin = info->dlpi_addr + part->p_vaddr;
        out->ranges[out->n++].end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
    }
}

static bool is_in(const code_ranges *code, const void *caller)
{
    const uintptr_t at = (uintptr_t)caller;
    for (size_t i = 0; i < code->n; i++)
        if (at >= code->ranges[i].begin && at < code->ranges[i].end) return true;
    return false;
}

static int note_library(struct dl_phdr_info *info, size_t size, void *unused)
{
    static const char *const names[] = {"libgomp", "libomp",   "libmpi",      "libopen-",
                                        "blas",    "lapack",   "libgfortran", "ld-linux",
                                        "libasan", "libubsan", "liblsan",     "libtsan"};
    (void)size, (void)unused;
    const char *slash = strrchr(info->dlpi_name, '/'), *name = slash ? slash + 1 : info->dlpi_name;
    bool out = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) out = out || strstr(name, names[i]);
    if (out) note_ranges(&left_out, info);
    if (strstr(name, "libzip")) note_ranges(&leaky, info);
    if (program.n == 0) note_ranges(&program, info); /* the first that is listed */
    return 0;
}

static bool counts_here(const void *caller)
{
    if (!atomic_load_explicit(&active, memory_order_relaxed)) return false;
    return of_program ? is_in(&program, caller) : !is_in(&left_out, caller);
}

/* Blocks held: a table by address with linear probing. */

static struct {
    const void *block, *caller;
} held[TABLE];
static size_t n_held;
static atomic_flag held_lock = ATOMIC_FLAG_INIT;

static void lock(void)
{
    while (atomic_flag_test_and_set_explicit(&held_lock, memory_order_acquire)) {
    }
}

static void unlock(void)
{
    atomic_flag_clear_explicit(&held_lock, memory_order_release);
}

static size_t place_of(const void *block)
{
    return (size_t)((uint64_t)(uintptr_t)block * 0x9e3779b97f4a7c15u >> 47) % TABLE;
}

static void hold(const void *block, const void *caller)
{
    if (!block || is_in(&leaky, caller)) return;
    lock();
    size_t at = place_of(block);
    if (n_held < TABLE / 2) {
        while (held[at].block) at = (at + 1) % TABLE;
        held[at].block = block;
        held[at].caller = caller;
        n_held++;
    }
    unlock();
}

/* Closes the gap, so that later blocks of the same run are still found. @return who held it, NULL
 * when it was not held */
static const void *release(const void *block)
{
    if (!block || n_held == 0) return NULL;
    const void *caller = NULL;
    lock();
    size_t at = place_of(block);
    while (held[at].block && held[at].block != block) at = (at + 1) % TABLE;
    if (held[at].block) {
        caller = held[at].caller;
        size_t gap = at;
        for (size_t next = (gap + 1) % TABLE; held[next].block; next = (next + 1) % TABLE) {
            const size_t home = place_of(held[next].block);
            if ((next + TABLE - home) % TABLE < (next + TABLE - gap) % TABLE) continue;
            held[gap] = held[next];
            gap = next;
        }
        held[gap].block = NULL;
        n_held--;
    }
    unlock();
    return caller;
}

/* Counting and failing. */

static bool hit(inject_kind kind)
{
    const long n = atomic_fetch_add(&counts[kind], 1) + 1;
    return kind == fault.kind && fault.n > 0 && (n == fault.n || (fault.on && n > fault.n));
}

/* A full disk lets these through. */
static bool takes_no_room(const char *name)
{
    static const char *const calls[] = {"close",  "unlink", "unlinkat", "remove",
                                        "rename", "fsync",  "flock"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strcmp(name, calls[i]) == 0) return true;
    return false;
}

/* Whether this call is to fail; errno is then set. */
static bool fails(inject_kind kind, const char *name, const void *caller)
{
    if (!counts_here(caller) || !hit(kind) || fault.way == INJECT_SHORT) return false;
    if (fault.error == ENOSPC && takes_no_room(name)) return false;
    failed = name;
    if (fault.way == INJECT_VANISH) {
        atomic_store(&active, false);
        fault.n = 0;
        fault.vanish();
        atomic_store(&active, true);
        return false;
    }
    errno = fault.error;
    return true;
}

/* Of a write: bytes to write, -1 when it fails. */
static long allowed(const char *name, const void *caller, size_t size)
{
    const bool counting = counts_here(caller);
    if (!counting) return (long)size;
    if (fault.way != INJECT_SHORT) return fails(INJECT_WRITE, name, caller) ? -1 : (long)size;
    if (!hit(INJECT_WRITE) || size < 2) return (long)size;
    failed = name;
    return (long)(size / 2);
}

static const struct {
    const char *name;
    int number;
} errors[] = {{"ENOMEM", ENOMEM}, {"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EACCES", EACCES},
              {"EROFS", EROFS},   {"EDQUOT", EDQUOT}, {"EMFILE", EMFILE}, {"EINTR", EINTR}};

const char *inject_kind_name(inject_kind kind)
{
    static const char *const names[INJECT_N_KINDS] = {"memory", "write", "read"};
    return names[kind];
}

bool inject_parse(inject_fault *out, const char *text)
{
    inject_fault made = {.way = INJECT_FAIL};
    char *end;
    int kind = 0;
    size_t length = 0;
    for (; kind < INJECT_N_KINDS; kind++) {
        length = strlen(inject_kind_name((inject_kind)kind));
        if (strncmp(text, inject_kind_name((inject_kind)kind), length) == 0 && text[length] == ':')
            break;
    }
    if (kind == INJECT_N_KINDS || text[length + 1] < '0' || text[length + 1] > '9') return false;
    made.kind = (inject_kind)kind;
    made.error = made.kind == INJECT_MEMORY ? ENOMEM : EIO;
    made.n = strtol(text + length + 1, &end, 10);
    if ((made.on = *end == '+')) end++;
    if (*end == ':') {
        bool known = strcmp(end + 1, "short") == 0;
        if (known) made.way = INJECT_SHORT;
        for (size_t i = 0; i < sizeof errors / sizeof *errors && !known; i++)
            if ((known = strcmp(end + 1, errors[i].name) == 0)) made.error = errors[i].number;
        if (!known) return false;
    } else if (*end) {
        return false;
    }
    *out = made;
    return true;
}

void inject_of_program(void)
{
    of_program = true;
}

void inject_begin(const inject_fault *wanted)
{
    inject_end();
    if (left_out.n == 0) dl_iterate_phdr(note_library, NULL);
    fault = *wanted;
    failed = "";
    for (int i = 0; i < INJECT_N_KINDS; i++) atomic_store(&counts[i], 0);
    lock();
    memset(held, 0, sizeof held);
    n_held = 0;
    unlock();
    atomic_store(&active, true);
}

void inject_end(void)
{
    atomic_store(&active, false);
}

long inject_count(inject_kind kind)
{
    return atomic_load(&counts[kind]);
}

const char *inject_failed(void)
{
    return failed;
}

size_t inject_held(void)
{
    return n_held;
}

const void *inject_held_by(size_t i)
{
    for (size_t at = 0; at < TABLE; at++)
        if (held[at].block && i-- == 0) return held[at].caller;
    return NULL;
}

long inject_output(size_t size)
{
    return allowed("write", __builtin_return_address(0), size);
}

/* The functions themselves. NEXT(f): the one that is called in our place, found once. */

#define NEXT(function)                                                                             \
    static __typeof__(&function) next;                                                             \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #function)
#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
    NEXT(malloc);
    if (fails(INJECT_MEMORY, "malloc", CALLER)) return NULL;
    void *block = next(size);
    if (counts_here(CALLER)) hold(block, CALLER);
    return block;
}

void *calloc(size_t count, size_t size)
{
    NEXT(calloc);
    if (fails(INJECT_MEMORY, "calloc", CALLER)) return NULL;
    void *block = next(count, size);
    if (counts_here(CALLER)) hold(block, CALLER);
    return block;
}

static void *resize(void *old, size_t size, const char *name, const void *caller)
{
    NEXT(realloc);
    if (fails(INJECT_MEMORY, name, caller)) return NULL;
    const void *holder = release(old);
    void *block = next(old, size);
    if (!block && size > 0) {
        if (holder) hold(old, holder);
    } else if (counts_here(caller)) {
        hold(block, caller);
    }
    return block;
}

void *realloc(void *old, size_t size)
{
    return resize(old, size, "realloc", CALLER);
}

void *reallocarray(void *old, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    return resize(old, count * size, "reallocarray", CALLER);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    NEXT(aligned_alloc);
    if (fails(INJECT_MEMORY, "aligned_alloc", CALLER)) return NULL;
    void *block = next(alignment, size);
    if (counts_here(CALLER)) hold(block, CALLER);
    return block;
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    NEXT(posix_memalign);
    if (fails(INJECT_MEMORY, "posix_memalign", CALLER)) return ENOMEM;
    const int rc = next(out, alignment, size);
    if (rc == 0 && counts_here(CALLER)) hold(*out, CALLER);
    return rc;
}

void free(void *block)
{
    static void (*next)(void *);
    static bool asking;
    if (!next) {
        if (asking) return; /* dlsym's own block, of an earlier failure of it */
        asking = true;
        *(void **)&next = dlsym(RTLD_NEXT, "free");
    }
    release(block);
    next(block);
}

void *mmap(void *where, size_t size, int protection, int flags, int fd, off_t offset)
{
    NEXT(mmap);
    if (fails(INJECT_MEMORY, "mmap", CALLER)) return MAP_FAILED;
    void *block = next(where, size, protection, flags, fd, offset);
    if (block != MAP_FAILED && counts_here(CALLER)) hold(block, CALLER);
    return block;
}

int munmap(void *block, size_t size)
{
    NEXT(munmap);
    release(block);
    return next(block, size);
}

static bool writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
}

/* Whether open and openat have a mode behind the flags. */
static bool has_mode(int flags)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

int open(const char *path, int flags, ...)
{
    NEXT(open);
    va_list args;
    va_start(args, flags);
    const mode_t mode = has_mode(flags) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (fails(writes(flags) ? INJECT_WRITE : INJECT_READ, "open", CALLER)) return -1;
    return next(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    NEXT(openat);
    va_list args;
    va_start(args, flags);
    const mode_t mode = has_mode(flags) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (fails(writes(flags) ? INJECT_WRITE : INJECT_READ, "openat", CALLER)) return -1;
    return next(folder, path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    NEXT(fopen);
    if (fails(mode[0] == 'r' && !strchr(mode, '+') ? INJECT_READ : INJECT_WRITE, "fopen", CALLER))
        return NULL;
    return next(path, mode);
}

ssize_t write(int fd, const void *data, size_t size)
{
    NEXT(write);
    const long n = allowed("write", CALLER, size);
    return n < 0 ? -1 : next(fd, data, (size_t)n);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    NEXT(pwrite);
    const long n = allowed("pwrite", CALLER, size);
    return n < 0 ? -1 : next(fd, data, (size_t)n, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    NEXT(writev);
    return fails(INJECT_WRITE, "writev", CALLER) ? -1 : next(fd, parts, n);
}

/* Nothing is synced: no test cuts the power, and thousands of runs are much faster. */
int fsync(int fd)
{
    (void)fd;
    return fails(INJECT_WRITE, "fsync", CALLER) ? -1 : 0;
}

/* As in Linux, a file is closed even where that fails. */
int close(int fd)
{
    NEXT(close);
    const bool wrong = fails(INJECT_WRITE, "close", CALLER);
    const int error = errno, rc = next(fd);
    if (!wrong) return rc;
    errno = error;
    return -1;
}

int rename(const char *from, const char *to)
{
    NEXT(rename);
    if (fails(INJECT_WRITE, "rename", CALLER)) return -1;
    const int rc = next(from, to);
    if (rc == 0 && inject_renamed && counts_here(CALLER)) inject_renamed(to);
    return rc;
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    NEXT(linkat);
    return fails(INJECT_WRITE, "linkat", CALLER) ? -1
                                                 : next(from_folder, from, to_folder, to, flags);
}

int flock(int fd, int operation)
{
    NEXT(flock);
    return fails(INJECT_WRITE, "flock", CALLER) ? -1 : next(fd, operation);
}

int mkdir(const char *path, mode_t mode)
{
    NEXT(mkdir);
    return fails(INJECT_WRITE, "mkdir", CALLER) ? -1 : next(path, mode);
}

int ftruncate(int fd, off_t size)
{
    NEXT(ftruncate);
    return fails(INJECT_WRITE, "ftruncate", CALLER) ? -1 : next(fd, size);
}

int unlink(const char *path)
{
    NEXT(unlink);
    return fails(INJECT_WRITE, "unlink", CALLER) ? -1 : next(path);
}

int unlinkat(int folder, const char *path, int flags)
{
    NEXT(unlinkat);
    return fails(INJECT_WRITE, "unlinkat", CALLER) ? -1 : next(folder, path, flags);
}

int remove(const char *path)
{
    NEXT(remove);
    return fails(INJECT_WRITE, "remove", CALLER) ? -1 : next(path);
}

ssize_t read(int fd, void *data, size_t size)
{
    NEXT(read);
    return fails(INJECT_READ, "read", CALLER) ? -1 : next(fd, data, size);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    NEXT(pread);
    return fails(INJECT_READ, "pread", CALLER) ? -1 : next(fd, data, size, offset);
}

size_t fread(void *data, size_t size, size_t count, FILE *file)
{
    NEXT(fread);
    if (!fails(INJECT_READ, "fread", CALLER)) return next(data, size, count, file);
    file->_flags |= 0x20; /* what ferror looks at */
    return 0;
}

int stat(const char *path, struct stat *info)
{
    NEXT(stat);
    return fails(INJECT_READ, "stat", CALLER) ? -1 : next(path, info);
}

int fstat(int fd, struct stat *info)
{
    NEXT(fstat);
    return fails(INJECT_READ, "fstat", CALLER) ? -1 : next(fd, info);
}

int lstat(const char *path, struct stat *info)
{
    NEXT(lstat);
    return fails(INJECT_READ, "lstat", CALLER) ? -1 : next(path, info);
}

int statfs(const char *path, struct statfs *info)
{
    NEXT(statfs);
    return fails(INJECT_READ, "statfs", CALLER) ? -1 : next(path, info);
}

ssize_t readlink(const char *path, char *out, size_t size)
{
    NEXT(readlink);
    return fails(INJECT_READ, "readlink", CALLER) ? -1 : next(path, out, size);
}
