/* text_stream.c - see text_stream.h. Compressed files may have several members, which follow one another. */
#include "io/text_stream.h"

#include <stdbool.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "core/fail.h"
#include "core/memory.h"
#include "io/mapped_file.h"

typedef enum { PLAIN, GZIP, ZSTANDARD } compression;

struct cbe_text_stream {
    cbe_mapped_file file;
    size_t at; /* bytes of the file that have been read */
    compression kind;
    bool ended; /* a member of the compressed file has ended, and no other has begun */
    z_stream gzip;
    ZSTD_DStream *zstandard;
};

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

cbe_status cbe_text_stream_open(cbe_text_stream **out, const char *path, cbe_error *err)
{
    static const unsigned char gzip_magic[] = {0x1f, 0x8b}, zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    enum { GZIP_WINDOW = 15 + 16 }; /* the largest, and the header of gzip */
    cbe_text_stream *made = cbe_alloc_zero(1, sizeof *made, "text", err);
    if (!made) return CBE_ERR_NOMEM;
    cbe_status st = cbe_mapped_file_open(&made->file, path, err);
    if (st != CBE_OK) goto done;
    if (made->file.size >= sizeof gzip_magic &&
        memcmp(made->file.data, gzip_magic, sizeof gzip_magic) == 0) {
        made->gzip.zalloc = zlib_alloc;
        made->gzip.zfree = zlib_free;
        if (inflateInit2(&made->gzip, GZIP_WINDOW) != Z_OK) {
            st = cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: decompression: out of memory", path);
            goto done;
        }
        made->kind = GZIP;
    } else if (made->file.size >= sizeof zstd_magic &&
               memcmp(made->file.data, zstd_magic, sizeof zstd_magic) == 0) {
        made->kind = ZSTANDARD;
        if (!(made->zstandard = ZSTD_createDStream())) {
            st = cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: decompression: out of memory", path);
            goto done;
        }
    }
    *out = made;
    made = NULL;
done:
    cbe_text_stream_close(made);
    return st;
}

void cbe_text_stream_close(cbe_text_stream *stream)
{
    if (!stream) return;
    if (stream->kind == GZIP) inflateEnd(&stream->gzip);
    ZSTD_freeDStream(stream->zstandard);
    cbe_mapped_file_close(&stream->file);
    cbe_free(stream);
}

static cbe_status damaged(const cbe_text_stream *s, const char *what, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)s->at,
                    "%s: damaged %s data at byte %zu: %s; make or download it again", s->file.path,
                    s->kind == GZIP ? "gzip" : "zstd", s->at, what);
}

static cbe_status read_gzip(cbe_text_stream *s, char *out, size_t size, size_t *n, cbe_error *err)
{
    enum { MOST = 1 << 30 }; /* zlib counts in unsigned int */
    z_stream *z = &s->gzip;
    while (*n == 0 && s->at < s->file.size) {
        if (s->ended && inflateReset(z) != Z_OK)
            return damaged(s, "a further part cannot be begun", err);
        s->ended = false;
        const size_t left = s->file.size - s->at, room = size < MOST ? size : MOST;
        /* zlib takes a pointer to what may be written, though it writes nothing. */
        z->next_in = (Bytef *)(uintptr_t)(s->file.data + s->at);
        z->avail_in = (uInt)(left < MOST ? left : MOST);
        z->next_out = (Bytef *)out;
        z->avail_out = (uInt)room;
        const uInt given = z->avail_in;
        const int rc = inflate(z, Z_NO_FLUSH);
        s->at += given - z->avail_in;
        *n = room - z->avail_out;
        if (rc == Z_MEM_ERROR)
            return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: decompression: out of memory",
                            s->file.path);
        if (rc != Z_OK && rc != Z_STREAM_END) {
            if (rc == Z_BUF_ERROR && s->at == s->file.size)
                return damaged(s, "it ends too early", err);
            return damaged(s, z->msg ? z->msg : "it cannot be read", err);
        }
        s->ended = rc == Z_STREAM_END;
    }
    if (*n == 0 && !s->ended) {
        /* What zlib still holds back. */
        z->next_out = (Bytef *)out;
        z->avail_out = (uInt)(size < MOST ? size : MOST);
        const uInt room = z->avail_out;
        z->avail_in = 0;
        const int rc = inflate(z, Z_NO_FLUSH);
        *n = room - z->avail_out;
        s->ended = rc == Z_STREAM_END;
        if (*n == 0 && !s->ended) return damaged(s, "it ends too early", err);
    }
    return CBE_OK;
}

static cbe_status read_zstandard(cbe_text_stream *s, char *out, size_t size, size_t *n,
                                 cbe_error *err)
{
    ZSTD_outBuffer to = {out, size, 0};
    while (to.pos == 0) {
        ZSTD_inBuffer from = {s->file.data, s->file.size, s->at};
        const size_t rc = ZSTD_decompressStream(s->zstandard, &to, &from);
        const bool moved = from.pos > s->at || to.pos > 0;
        s->at = from.pos;
        if (ZSTD_isError(rc)) {
            if (ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation)
                return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: decompression: out of memory",
                                s->file.path);
            return damaged(s, ZSTD_getErrorName(rc), err);
        }
        if (rc == 0)
            s->ended = true;
        else if (moved)
            s->ended = false;
        if (s->at == s->file.size && to.pos == 0) {
            if (s->ended) break;
            if (!moved) return damaged(s, "it ends too early", err);
        }
    }
    *n = to.pos;
    return CBE_OK;
}

cbe_status cbe_text_stream_read(cbe_text_stream *stream, char *out, size_t size, size_t *n,
                                cbe_error *err)
{
    *n = 0;
    if (size == 0) return CBE_OK;
    if (stream->kind == GZIP) return read_gzip(stream, out, size, n, err);
    if (stream->kind == ZSTANDARD) return read_zstandard(stream, out, size, n, err);
    const size_t left = stream->file.size - stream->at;
    *n = left < size ? left : size;
    if (*n) memcpy(out, stream->file.data + stream->at, *n);
    stream->at += *n;
    return CBE_OK;
}
