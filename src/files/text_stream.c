/*
 * text_stream.c - see text_stream.h. Compressed files may have several members, one after the
 * other.
 *
 * read(2) fills the whole buffer before bytes are taken from it, except at the end of the file. The
 * number of bytes read when a reader stops thus depends on the text alone, not on how a pipe
 * delivers it.
 */
#include "files/text_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/input_list.h"
#include "files/sha256.h"

enum { BUFFER = 1 << 16, PATIENCE = 200 /* milliseconds of one wait for a pipe */ };

typedef enum { UNKNOWN, PLAIN, GZIP, ZSTANDARD } compression;

struct cbe_text_stream {
    char *path;
    const char *name; /* name in messages */
    int fd;
    bool is_file; /* a regular file, for which reads never wait */
    bool digests;
    cbe_file_identity identity;
    struct sha256_ctx digest; /* SHA-256 of the bytes read so far */
    uint64_t n_before;        /* bytes before the buffer */
    size_t n, used;           /* bytes in the buffer; bytes of it already taken */
    bool filled;              /* the buffer is full or holds the end, and bytes may be taken */
    bool at_end;              /* the file has no bytes after the buffer */
    bool ended;               /* the whole text was given out */
    bool member_ended;        /* a member of a compressed text has ended, and no other has begun */
    compression kind;
    z_stream gzip;
    ZSTD_DStream *zstandard;
    unsigned char buffer[BUFFER];
};

static bool is_standard_input(const char *path)
{
    return strcmp(path, "-") == 0;
}

const char *cbe_text_name(const char *path)
{
    return is_standard_input(path) ? "standard input" : path;
}

cbe_status cbe_text_look(const char *path, cbe_error *err)
{
    struct stat info;
    if (is_standard_input(path) || stat(path, &info) == 0) return CBE_OK;
    return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be opened: %s", path,
                    strerror(errno));
}

bool cbe_text_is_file(const char *path)
{
    struct stat info;
    if (is_standard_input(path)) return false;
    return stat(path, &info) != 0 || S_ISREG(info.st_mode) || S_ISDIR(info.st_mode);
}

static voidpf zlib_alloc(voidpf unused, uInt items, uInt size)
{
    (void)unused;
    return cbe_alloc(items, size, "decompression", NULL);
}

static void zlib_free(voidpf unused, voidpf memory)
{
    (void)unused;
    cbe_free(memory);
}

static cbe_status open_file(cbe_text_stream *s, cbe_error *err)
{
    struct stat info;
    /* O_NONBLOCK: opening does not wait for the writer of a named pipe, since the wait could not be
     * cancelled here. Reading waits, and can be cancelled. */
    s->fd = is_standard_input(s->path) ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
                                       : open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s->fd < 0)
        return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be opened: %s", s->name,
                        strerror(errno));
    if (fstat(s->fd, &info) != 0)
        return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be examined: %s", s->name,
                        strerror(errno));
    if (S_ISDIR(info.st_mode))
        return cbe_fail(err, CBE_ERR_IO, -1, "%s: is a directory, a regular file is needed",
                        s->name);
    s->is_file = S_ISREG(info.st_mode);
    s->identity = cbe_file_identity_of(&info);
    return CBE_OK;
}

cbe_status cbe_text_stream_open(cbe_text_stream **out, const char *path, bool digest,
                                cbe_error *err)
{
    cbe_text_stream *made = cbe_alloc_zero(1, sizeof *made, "text", err);
    if (!made) return CBE_ERR_NOMEM;
    made->fd = -1;
    made->digests = digest;
    made->name = cbe_text_name(path);
    sha256_init(&made->digest);
    made->path = cbe_copy_string(path, strlen(path), err);
    const cbe_status st = made->path ? open_file(made, err) : CBE_ERR_NOMEM;
    if (st == CBE_OK)
        *out = made;
    else
        cbe_text_stream_close(made);
    return st;
}

void cbe_text_stream_close(cbe_text_stream *stream)
{
    if (!stream) return;
    if (stream->kind == GZIP) inflateEnd(&stream->gzip);
    ZSTD_freeDStream(stream->zstandard);
    if (stream->fd >= 0) close(stream->fd);
    cbe_free(stream->path);
    cbe_free(stream);
}

bool cbe_text_stream_ended(const cbe_text_stream *stream)
{
    return stream->ended;
}

cbe_status cbe_text_stream_note(const cbe_text_stream *s, cbe_inputs *inputs, cbe_error *err)
{
    char text[CBE_SHA256_TEXT] = "";
    struct sha256_ctx digest = s->digest;
    cbe_file_identity identity = s->identity;
    if (s->digests) cbe_sha256_end(&digest, text);
    /* Standard input has no path to look at again, and files of /proc have no size: neither has an
     * identity. */
    if (is_standard_input(s->path) || (identity.size == 0 && s->n_before + s->n > 0))
        identity.known = false;
    return cbe_inputs_add_read(inputs, CBE_INPUT_TEXT, s->path, &identity, s->n_before + s->n, text,
                               err);
}

/* Fills the buffer if all its bytes were taken. If `filled` is false on return, a pipe has nothing
 * yet. */
static cbe_status fill(cbe_text_stream *s, cbe_error *err)
{
    if (s->filled && (s->used < s->n || s->at_end)) return CBE_OK;
    if (s->filled) {
        s->n_before += s->n;
        s->n = s->used = 0;
        s->filled = false;
    }
    while (!s->at_end && s->n < BUFFER) {
        struct pollfd wait = {.fd = s->fd, .events = POLLIN};
        const int ready = s->is_file ? 1 : poll(&wait, 1, PATIENCE);
        if (ready == 0) return CBE_OK;
        const ssize_t got = ready < 0 ? -1 : read(s->fd, s->buffer + s->n, BUFFER - s->n);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return CBE_OK;
        if (got < 0)
            return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be read: %s", s->name,
                            strerror(errno));
        if (s->digests) sha256_update(&s->digest, (size_t)got, s->buffer + s->n);
        s->at_end = got == 0;
        s->n += (size_t)got;
    }
    s->filled = true;
    return CBE_OK;
}

/* Finds the compression from the first bytes of the text, which are in the buffer. */
static cbe_status recognise(cbe_text_stream *s, cbe_error *err)
{
    static const unsigned char gzip_magic[] = {0x1f, 0x8b}, zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    enum { GZIP_WINDOW = 15 + 16 }; /* zlib's largest window, with gzip's header */
    compression kind = PLAIN;
    bool room = true;
    if (s->n >= sizeof gzip_magic && memcmp(s->buffer, gzip_magic, sizeof gzip_magic) == 0) {
        s->gzip.zalloc = zlib_alloc;
        s->gzip.zfree = zlib_free;
        room = inflateInit2(&s->gzip, GZIP_WINDOW) == Z_OK;
        kind = GZIP;
    } else if (s->n >= sizeof zstd_magic && memcmp(s->buffer, zstd_magic, sizeof zstd_magic) == 0) {
        room = (s->zstandard = ZSTD_createDStream()) != NULL;
        kind = ZSTANDARD;
    }
    if (!room) return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: decompression: out of memory", s->name);
    s->kind = kind;
    return CBE_OK;
}

static cbe_status damaged(const cbe_text_stream *s, const char *what, cbe_error *err)
{
    const uint64_t at = s->n_before + s->used;
    return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)at,
                    "%s: damaged %s data at byte %llu: %s; make or download it again", s->name,
                    s->kind == GZIP ? "gzip" : "zstd", (unsigned long long)at, what);
}

static cbe_status read_gzip(cbe_text_stream *s, char *out, size_t size, size_t *n, cbe_error *err)
{
    enum { MOST = 1 << 30 }; /* zlib counts in unsigned int */
    z_stream *z = &s->gzip;
    if (s->member_ended && inflateReset(z) != Z_OK)
        return damaged(s, "a further part cannot be begun", err);
    s->member_ended = false;
    z->next_in = s->buffer + s->used;
    z->avail_in = (uInt)(s->n - s->used);
    z->next_out = (Bytef *)out;
    z->avail_out = (uInt)(size < MOST ? size : MOST);
    const uInt given = z->avail_in, room = z->avail_out;
    const int rc = inflate(z, Z_NO_FLUSH);
    s->used += given - z->avail_in;
    *n = room - z->avail_out;
    if (rc == Z_MEM_ERROR)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: decompression: out of memory", s->name);
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return damaged(s, z->msg ? z->msg : "it cannot be read", err);
    s->member_ended = rc == Z_STREAM_END;
    /* Without input zlib still gives out bytes that it has buffered. */
    return given == 0 && *n == 0 && !s->member_ended ? damaged(s, "it ends too early", err)
                                                     : CBE_OK;
}

static cbe_status read_zstandard(cbe_text_stream *s, char *out, size_t size, size_t *n,
                                 cbe_error *err)
{
    ZSTD_outBuffer to = {out, size, 0};
    ZSTD_inBuffer from = {s->buffer, s->n, s->used};
    const bool drained = s->used == s->n;
    const size_t rc = ZSTD_decompressStream(s->zstandard, &to, &from);
    const bool moved = from.pos > s->used || to.pos > 0;
    s->used = from.pos;
    *n = to.pos;
    if (ZSTD_isError(rc)) {
        if (ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation)
            return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: decompression: out of memory", s->name);
        return damaged(s, ZSTD_getErrorName(rc), err);
    }
    if (rc == 0)
        s->member_ended = true;
    else if (moved)
        s->member_ended = false;
    return drained && !moved && !s->member_ended ? damaged(s, "it ends too early", err) : CBE_OK;
}

static void read_plain(cbe_text_stream *s, char *out, size_t size, size_t *n)
{
    const size_t left = s->n - s->used;
    *n = left < size ? left : size;
    memcpy(out, s->buffer + s->used, *n);
    s->used += *n;
}

cbe_status cbe_text_stream_read(cbe_text_stream *s, char *out, size_t size, size_t *n,
                                cbe_error *err)
{
    *n = 0;
    while (*n == 0 && size > 0) {
        cbe_status st = fill(s, err);
        if (st == CBE_OK && s->filled && s->kind == UNKNOWN) st = recognise(s, err);
        if (st != CBE_OK || !s->filled) return st;
        if (s->used == s->n && (s->kind == PLAIN || s->member_ended)) {
            s->ended = true;
            return CBE_OK;
        }
        if (s->kind == GZIP)
            st = read_gzip(s, out, size, n, err);
        else if (s->kind == ZSTANDARD)
            st = read_zstandard(s, out, size, n, err);
        else
            read_plain(s, out, size, n);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}
