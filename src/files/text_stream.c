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
#include "files/foreign_format.h"
#include "files/input_list.h"
#include "files/sha256.h"

enum {
    BUFFER = 1 << 16,
    PATIENCE = 200 /* milliseconds of one wait for a pipe */,
    LONGEST_HEAD = 18 /* bytes that say what a member is and what it needs */
};

/* What the bytes to be taken next are. */
typedef enum {
    BETWEEN, /* the beginning of a member, or the end */
    PLAIN,
    GZIP,
    ZSTANDARD,
    SKIPPED, /* a frame of zstd that holds no text */
    FOREIGN, /* bytes behind compressed data, of no format */
    END
} part;

struct cbe_text_stream {
    char *path;
    const char *name; /* name in messages */
    int fd;
    bool is_file; /* a regular file, for which reads never wait */
    bool digests;
    size_t memory; /* bytes that decompression may take; 0: not limited */
    cbe_file_identity identity;
    struct sha256_ctx digest; /* SHA-256 of the bytes read so far */
    uint64_t n_before;        /* bytes before the buffer */
    size_t n, used;           /* bytes in the buffer; bytes of it already taken */
    bool filled;              /* the buffer is full or holds the end, and bytes may be taken */
    bool at_end;              /* the file has no bytes after the buffer */
    bool ended;               /* the whole text was given out */
    part inside;
    const char *compression; /* name of the compression of the last member; NULL: none */
    bool gzip_begun;
    z_stream gzip;
    ZSTD_DStream *zstandard;
    uint64_t window;    /* bytes of the last zstd frame's window */
    uint64_t n_left;    /* bytes left of a skipped frame */
    uint64_t n_foreign; /* bytes passed over behind compressed data */
    bool known;         /* the text's first bytes were gathered and looked at */
    size_t n_head, head_used;
    unsigned char head[CBE_FOREIGN_HEAD]; /* the text's first bytes */
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

cbe_status cbe_text_stream_open(cbe_text_stream **out, const char *path, bool digest, size_t memory,
                                cbe_error *err)
{
    cbe_text_stream *made = cbe_alloc_zero(1, sizeof *made, "text", err);
    if (!made) return CBE_ERR_NOMEM;
    made->fd = -1;
    made->digests = digest;
    made->memory = memory;
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
    if (stream->gzip_begun) inflateEnd(&stream->gzip);
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

/* Has `least` bytes in the buffer that are to be taken, or all that are left. If `filled` is false
 * on return, a pipe has nothing yet. */
static cbe_status fill(cbe_text_stream *s, size_t least, cbe_error *err)
{
    if (s->filled && (s->n - s->used >= least || s->at_end)) return CBE_OK;
    if (s->filled) {
        s->n_before += s->used;
        s->n -= s->used;
        memmove(s->buffer, s->buffer + s->used, s->n);
        s->used = 0;
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

static cbe_status damaged(const cbe_text_stream *s, const char *what, cbe_error *err)
{
    const uint64_t at = s->n_before + s->used;
    return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)at,
                    "%s: damaged %s data at byte %llu: %s; make or download it again", s->name,
                    s->compression, (unsigned long long)at, what);
}

static cbe_status no_memory(const cbe_text_stream *s, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: decompression: out of memory", s->name);
}

static cbe_status begin_gzip(cbe_text_stream *s, cbe_error *err)
{
    enum { GZIP_WINDOW = 15 + 16 }; /* zlib's largest window, with gzip's header */
    s->compression = "gzip";
    s->inside = GZIP;
    if (s->gzip_begun)
        return inflateReset(&s->gzip) == Z_OK ? CBE_OK
                                              : damaged(s, "a further part cannot be begun", err);
    s->gzip.zalloc = zlib_alloc;
    s->gzip.zfree = zlib_free;
    s->gzip_begun = inflateInit2(&s->gzip, GZIP_WINDOW) == Z_OK;
    return s->gzip_begun ? CBE_OK : no_memory(s, err);
}

/* Bytes that a frame's window takes, from its header (RFC 8878, section 3.1.1.1); 0: the header
 * is not whole. The window is never longer than the frame's text, where its length is said. */
static uint64_t window_of(const unsigned char *frame, size_t n)
{
    if (n < 6) return 0;
    unsigned long long length = ZSTD_getFrameContentSize(frame, n);
    if (length == ZSTD_CONTENTSIZE_ERROR) length = ZSTD_CONTENTSIZE_UNKNOWN; /* or too large */
    if (frame[4] >> 5 & 1) /* a frame of a single segment */
        return length == ZSTD_CONTENTSIZE_UNKNOWN ? 0 : length;
    const unsigned exponent = frame[5] >> 3, eighths = frame[5] & 7;
    const uint64_t base = UINT64_C(1) << (10 + exponent), window = base + base / 8 * eighths;
    return length != ZSTD_CONTENTSIZE_UNKNOWN && length < window ? length : window;
}

/* Frames may have windows as large as zstd itself writes, 2 GB. Above those that zstd reads without
 * being asked, the memory must be there. */
static cbe_status begin_zstandard(cbe_text_stream *s, cbe_error *err)
{
    enum { USUAL_WINDOW = 128 << 20 };
    s->compression = "zstd";
    s->inside = ZSTANDARD;
    if (!s->zstandard) {
        if (!(s->zstandard = ZSTD_createDStream())) return no_memory(s, err);
        ZSTD_DCtx_setParameter(s->zstandard, ZSTD_d_windowLogMax,
                               ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound);
    }
    s->window = window_of(s->buffer + s->used, s->n - s->used);
    if (s->memory == 0 || s->window <= USUAL_WINDOW || s->window <= s->memory) return CBE_OK;
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "%s: decompression takes %.0f MB (the window of its zstd data), %.0f MB are "
                    "left; decompress it before: zstd -d --long=31 FILE",
                    s->name, 1e-6 * (double)s->window, 1e-6 * (double)s->memory);
}

/* Begins what comes next: a member of compressed data, a plain text, or nothing. Behind compressed
 * data zeros are padding, as they are for gzip. Other bytes there are passed over behind gzip data,
 * as gzip does, and an error behind zstd data, as for zstd. */
static cbe_status begin_member(cbe_text_stream *s, cbe_error *err)
{
    static const unsigned char gzip_magic[] = {0x1f, 0x8b}, zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd},
                               skipped_magic[] = {0x2a, 0x4d, 0x18}; /* behind 0x50 to 0x5f */
    enum { SKIPPED_HEAD = 8 };
    const unsigned char *next = s->buffer + s->used;
    const size_t left = s->n - s->used;
    if (left == 0) {
        s->inside = END;
    } else if (s->compression && *next == 0) {
        while (s->used < s->n && s->buffer[s->used] == 0) s->used++;
    } else if (left >= sizeof gzip_magic && memcmp(next, gzip_magic, sizeof gzip_magic) == 0) {
        return begin_gzip(s, err);
    } else if (left >= sizeof zstd_magic && memcmp(next, zstd_magic, sizeof zstd_magic) == 0) {
        return begin_zstandard(s, err);
    } else if (left >= SKIPPED_HEAD && *next >> 4 == 5 &&
               memcmp(next + 1, skipped_magic, sizeof skipped_magic) == 0) {
        s->compression = "zstd";
        s->inside = SKIPPED;
        s->n_left = 0;
        for (size_t i = SKIPPED_HEAD; i-- > SKIPPED_HEAD / 2;) s->n_left = s->n_left << 8 | next[i];
        s->used += SKIPPED_HEAD;
    } else if (!s->compression) {
        s->inside = PLAIN;
    } else if (strcmp(s->compression, "gzip") == 0) {
        s->inside = FOREIGN;
    } else {
        return damaged(s, "something else follows", err);
    }
    return CBE_OK;
}

static cbe_status read_gzip(cbe_text_stream *s, char *out, size_t size, size_t *n, cbe_error *err)
{
    enum { MOST = 1 << 30 }; /* zlib counts in unsigned int */
    z_stream *z = &s->gzip;
    z->next_in = s->buffer + s->used;
    z->avail_in = (uInt)(s->n - s->used);
    z->next_out = (Bytef *)out;
    z->avail_out = (uInt)(size < MOST ? size : MOST);
    const uInt given = z->avail_in, room = z->avail_out;
    const int rc = inflate(z, Z_NO_FLUSH);
    s->used += given - z->avail_in;
    *n = room - z->avail_out;
    if (rc == Z_MEM_ERROR) return no_memory(s, err);
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return damaged(s, z->msg ? z->msg : "it cannot be read", err);
    if (rc == Z_STREAM_END) s->inside = BETWEEN;
    /* Without input zlib still gives out bytes that it has buffered. */
    return given == 0 && *n == 0 && s->inside == GZIP ? damaged(s, "it ends too early", err)
                                                      : CBE_OK;
}

static cbe_status zstandard_failed(const cbe_text_stream *s, size_t code, cbe_error *err)
{
    const double megabytes = 1e-6 * (double)s->window;
    switch (ZSTD_getErrorCode(code)) {
    case ZSTD_error_memory_allocation:
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "%s: decompression of zstd data whose window is %.0f MB: out of memory",
                        s->name, megabytes);
    case ZSTD_error_frameParameter_windowTooLarge:
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: the window of its zstd data, %.0f MB, is larger than zstd itself "
                        "reads (2 GB); compress it again with zstd --long=31 or less",
                        s->name, megabytes);
    case ZSTD_error_dictionary_wrong:
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: was compressed by zstd with a dictionary, which is not in the file; "
                        "decompress it before: zstd -d -D DICTIONARY FILE",
                        s->name);
    default: return damaged(s, ZSTD_getErrorName(code), err);
    }
}

static cbe_status read_zstandard(cbe_text_stream *s, char *out, size_t size, size_t *n,
                                 cbe_error *err)
{
    ZSTD_outBuffer to = {out, size, 0};
    ZSTD_inBuffer from = {s->buffer, s->n, s->used};
    const bool drained = s->used == s->n;
    const size_t rc = ZSTD_decompressStream(s->zstandard, &to, &from);
    const bool moved = from.pos > s->used || to.pos > 0;
    if (ZSTD_isError(rc)) return zstandard_failed(s, rc, err);
    s->used = from.pos;
    *n = to.pos;
    if (rc == 0) s->inside = BETWEEN;
    return drained && !moved && s->inside == ZSTANDARD ? damaged(s, "it ends too early", err)
                                                       : CBE_OK;
}

static cbe_status skip(cbe_text_stream *s, cbe_error *err)
{
    const size_t there = s->n - s->used, n = s->n_left < there ? (size_t)s->n_left : there;
    s->used += n;
    s->n_left -= n;
    if (s->n_left == 0) s->inside = BETWEEN;
    return s->n_left > 0 && there == 0 ? damaged(s, "it ends too early", err) : CBE_OK;
}

static void read_plain(cbe_text_stream *s, char *out, size_t size, size_t *n)
{
    const size_t left = s->n - s->used;
    *n = left < size ? left : size;
    memcpy(out, s->buffer + s->used, *n);
    s->used += *n;
    if (left == 0) s->inside = END;
}

static void pass_over(cbe_text_stream *s)
{
    const size_t left = s->n - s->used;
    s->n_foreign += left;
    s->used = s->n;
    if (left == 0) s->inside = END;
}

/* Decompresses up to size bytes, at least 1 (*n = 0: the end, or a pipe that has nothing yet). */
static cbe_status decompress(cbe_text_stream *s, char *out, size_t size, size_t *n, cbe_error *err)
{
    for (*n = 0; *n == 0 && s->inside != END;) {
        cbe_status st = fill(s, s->inside == BETWEEN ? LONGEST_HEAD : 1, err);
        if (st != CBE_OK || !s->filled) return st;
        switch (s->inside) {
        case BETWEEN: st = begin_member(s, err); break;
        case PLAIN: read_plain(s, out, size, n); break;
        case GZIP: st = read_gzip(s, out, size, n, err); break;
        case ZSTANDARD: st = read_zstandard(s, out, size, n, err); break;
        case SKIPPED: st = skip(s, err); break;
        case FOREIGN: pass_over(s); break;
        case END: break;
        }
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Gathers the text's first bytes and looks at them. A byte order mark is no part of the text. */
static cbe_status look(cbe_text_stream *s, cbe_error *err)
{
    static const unsigned char mark[] = {0xef, 0xbb, 0xbf};
    size_t n = 1;
    while (s->n_head < sizeof s->head && s->inside != END && n > 0) {
        const cbe_status st =
            decompress(s, (char *)s->head + s->n_head, sizeof s->head - s->n_head, &n, err);
        if (st != CBE_OK) return st;
        s->n_head += n;
    }
    if (s->n_head < sizeof s->head && s->inside != END) return CBE_OK;
    s->known = true;
    if (s->n_head >= sizeof mark && memcmp(s->head, mark, sizeof mark) == 0)
        s->head_used = sizeof mark;
    const cbe_foreign_format *format =
        cbe_foreign_format_of(s->head + s->head_used, s->n_head - s->head_used, s->inside == END);
    if (!format) return CBE_OK;
    if (!s->compression)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, 0, "%s: is %s; %s", s->name, format->name,
                        format->advice);
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, 0,
                    "%s: is %s, compressed by %s; decompress it first (%s -dc FILE >NEW), then %s",
                    s->name, format->name, s->compression, s->compression, format->advice);
}

cbe_status cbe_text_stream_read(cbe_text_stream *s, char *out, size_t size, size_t *n,
                                cbe_error *err)
{
    *n = 0;
    if (!s->known) {
        const cbe_status st = look(s, err);
        if (st != CBE_OK || !s->known) return st;
    }
    const size_t left = s->n_head - s->head_used;
    if (left > 0) {
        *n = left < size ? left : size;
        memcpy(out, s->head + s->head_used, *n);
        s->head_used += *n;
        return CBE_OK;
    }
    const cbe_status st = size ? decompress(s, out, size, n, err) : CBE_OK;
    s->ended = st == CBE_OK && s->inside == END;
    return st;
}

uint64_t cbe_text_stream_passed_over(const cbe_text_stream *stream)
{
    return stream->n_foreign;
}
