/* token_decoder.c - see token_decoder.h. Each step makes a new list of texts from the one before
 * it. */
#include "tokenizer/token_decoder.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/byte_buffer.h"
#include "core/utf8.h"
#include "core/utf8_replace.h"
#include "tokenizer/byte_characters.h"

enum { MAX_STEPS = 16, BYTE_TOKEN_SIZE = 6 /* "<0x0A>" */ };

typedef enum { REPLACE, BYTE_FALLBACK, FUSE, STRIP, METASPACE, BYTE_LEVEL, WORDPIECE } step_kind;

typedef struct cbe_decoder_step {
    step_kind kind;
    /* from: for strip the character, for metaspace the replacement, for word pieces the prefix */
    char *from, *to;
    size_t from_length, to_length;
    size_t start, stop;
    bool prepended, cleanup;
} step;

/* A list of texts, stored one after the other; ends (n). */
typedef struct {
    cbe_byte_buffer text;
    size_t n, *ends;
} text_list;

void cbe_token_decoder_free(cbe_token_decoder *decoder)
{
    for (size_t i = 0; i < decoder->n_steps; i++) {
        cbe_free(decoder->steps[i].from);
        cbe_free(decoder->steps[i].to);
    }
    cbe_free(decoder->steps);
    cbe_free(decoder->not_read);
    *decoder = (cbe_token_decoder){0};
}

static cbe_status add(cbe_token_decoder *d, step made, cbe_span from, cbe_span to, cbe_error *err)
{
    if (d->n_steps == MAX_STEPS) return cbe_token_decoder_set_not_read(d, "of so many steps", err);
    if (!d->steps && !(d->steps = cbe_alloc(MAX_STEPS, sizeof *d->steps, "decoder", err)))
        return CBE_ERR_NOMEM;
    made.from = cbe_copy_string(from.length ? from.data : "", from.length, err);
    made.to = cbe_copy_string(to.length ? to.data : "", to.length, err);
    if (!made.from || !made.to) {
        cbe_free(made.from);
        cbe_free(made.to);
        return CBE_ERR_NOMEM;
    }
    made.from_length = from.length;
    made.to_length = to.length;
    d->steps[d->n_steps++] = made;
    d->joined = true;
    return CBE_OK;
}

static const cbe_span nothing = {"", 0};

cbe_status cbe_token_decoder_add_replace(cbe_token_decoder *decoder, cbe_span from, cbe_span to,
                                         cbe_error *err)
{
    return add(decoder, (step){.kind = REPLACE}, from, to, err);
}

cbe_status cbe_token_decoder_add_byte_fallback(cbe_token_decoder *decoder, cbe_error *err)
{
    return add(decoder, (step){.kind = BYTE_FALLBACK}, nothing, nothing, err);
}

cbe_status cbe_token_decoder_add_fuse(cbe_token_decoder *decoder, cbe_error *err)
{
    return add(decoder, (step){.kind = FUSE}, nothing, nothing, err);
}

cbe_status cbe_token_decoder_add_strip(cbe_token_decoder *decoder, cbe_span character, size_t start,
                                       size_t stop, cbe_error *err)
{
    return add(decoder, (step){.kind = STRIP, .start = start, .stop = stop}, character, nothing,
               err);
}

cbe_status cbe_token_decoder_add_metaspace(cbe_token_decoder *decoder, cbe_span replacement,
                                           bool prepended, cbe_error *err)
{
    return add(decoder, (step){.kind = METASPACE, .prepended = prepended}, replacement, nothing,
               err);
}

cbe_status cbe_token_decoder_add_byte_level(cbe_token_decoder *decoder, cbe_error *err)
{
    return add(decoder, (step){.kind = BYTE_LEVEL}, nothing, nothing, err);
}

cbe_status cbe_token_decoder_add_wordpiece(cbe_token_decoder *decoder, cbe_span prefix,
                                           bool cleanup, cbe_error *err)
{
    return add(decoder, (step){.kind = WORDPIECE, .cleanup = cleanup}, prefix, nothing, err);
}

cbe_status cbe_token_decoder_set_not_read(cbe_token_decoder *decoder, const char *kind,
                                          cbe_error *err)
{
    if (decoder->not_read) return CBE_OK;
    decoder->not_read = cbe_copy_string(kind, strlen(kind), err);
    return decoder->not_read ? CBE_OK : CBE_ERR_NOMEM;
}

static bool same(const char *text, size_t length, const char *other, size_t other_length)
{
    return length >= other_length && memcmp(text, other, other_length) == 0;
}

/* Appends text to *out with each `from` replaced by `to`. */
static cbe_status replace(cbe_byte_buffer *out, cbe_span text, cbe_span from, cbe_span to,
                          cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < text.length && st == CBE_OK;) {
        const bool found =
            from.length && same(text.data + i, text.length - i, from.data, from.length);
        st = found ? cbe_byte_buffer_put(out, to.data, to.length, err)
                   : cbe_byte_buffer_put(out, text.data + i, 1, err);
        i += found ? from.length : 1;
    }
    return st;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The byte of a token "<0x0A>", else -1. */
static int byte_of(cbe_span token)
{
    if (token.length != BYTE_TOKEN_SIZE || memcmp(token.data, "<0x", 3) != 0 ||
        token.data[5] != '>')
        return -1;
    const int high = hex_digit(token.data[3]), low = hex_digit(token.data[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Appends the gathered bytes if they are UTF-8, else one U+FFFD for each byte. */
static cbe_status put_bytes(cbe_byte_buffer *out, cbe_byte_buffer *gathered, cbe_error *err)
{
    cbe_status st = CBE_OK;
    if (gathered->size && cbe_utf8_valid_length(gathered->bytes, gathered->size) == gathered->size)
        st = cbe_byte_buffer_put(out, gathered->bytes, gathered->size, err);
    else
        for (size_t i = 0; i < gathered->size && st == CBE_OK; i++)
            st = cbe_byte_buffer_put(out, "\xef\xbf\xbd", 3, err);
    gathered->size = 0;
    return st;
}

static cbe_span text_at(const text_list *list, size_t i)
{
    const size_t begin = i ? list->ends[i - 1] : 0;
    if (begin == list->ends[i]) return nothing;
    return (cbe_span){list->text.bytes + begin, list->ends[i] - begin};
}

/* Runs the byte-fallback step: neighbouring byte tokens become one text. */
static cbe_status byte_fallback(const text_list *from, text_list *to, cbe_error *err)
{
    cbe_byte_buffer gathered = {0};
    cbe_status st = CBE_OK;
    for (size_t i = 0; i <= from->n && st == CBE_OK; i++) {
        const cbe_span token = i < from->n ? text_at(from, i) : nothing;
        const int byte = byte_of(token);
        if (byte >= 0) {
            st = cbe_byte_buffer_put(&gathered, &(char){(char)byte}, 1, err);
            continue;
        }
        if (gathered.size) {
            st = put_bytes(&to->text, &gathered, err);
            to->ends[to->n++] = to->text.size;
        }
        if (st == CBE_OK) st = cbe_byte_buffer_put(&to->text, token.data, token.length, err);
        if (i < from->n) to->ends[to->n++] = to->text.size;
    }
    cbe_free(gathered.bytes);
    return st;
}

static cbe_span strip(const step *s, cbe_span text)
{
    for (size_t i = 0;
         i < s->start && s->from_length && same(text.data, text.length, s->from, s->from_length);
         i++) {
        text.data += s->from_length;
        text.length -= s->from_length;
    }
    for (size_t i = 0;
         i < s->stop && s->from_length && text.length >= s->from_length &&
         same(text.data + text.length - s->from_length, s->from_length, s->from, s->from_length);
         i++)
        text.length -= s->from_length;
    return text;
}

/* Runs the byte-level step: all tokens become one text. */
static cbe_status byte_level(const text_list *from, text_list *to, cbe_error *err)
{
    cbe_byte_buffer joined = {0};
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < from->n && st == CBE_OK; i++) {
        const cbe_span token = text_at(from, i);
        if (token.length == 0) continue; /* there may be no buffer yet */
        if ((st = cbe_byte_buffer_reserve(&joined, token.length, err)) != CBE_OK) break;
        size_t n = 0;
        if (cbe_bytes_of_characters(token, joined.bytes + joined.size, &n))
            joined.size += n;
        else
            st = cbe_byte_buffer_put(&joined, token.data, token.length, err);
    }
    if (st == CBE_OK && from->n > 0) {
        st = cbe_utf8_replace(&to->text.bytes, joined.bytes ? joined.bytes : "", joined.size,
                              &to->text.size, NULL, err);
        to->text.capacity = to->text.size;
        to->ends[to->n++] = to->text.size;
    }
    cbe_free(joined.bytes);
    return st;
}

/* Appends text to *out, with spaces dropped in front of punctuation and contractions: each rule
 * works on what the one before it made, as in the library tokenizers. */
static cbe_status clean_up(cbe_byte_buffer *out, cbe_span text, cbe_error *err)
{
    static const cbe_span rules[][2] = {
        {{" .", 2}, {".", 1}},     {{" ?", 2}, {"?", 1}},           {{" !", 2}, {"!", 1}},
        {{" ,", 2}, {",", 1}},     {{" ' ", 3}, {"'", 1}},          {{" n't", 4}, {"n't", 3}},
        {{" 'm", 3}, {"'m", 2}},   {{" do not", 7}, {" don't", 6}}, {{" 's", 3}, {"'s", 2}},
        {{" 've", 4}, {"'ve", 3}}, {{" 're", 4}, {"'re", 3}},
    };
    cbe_byte_buffer current = {0};
    cbe_status st = cbe_byte_buffer_put(&current, text.data, text.length, err);
    for (size_t i = 0; i < sizeof rules / sizeof *rules && st == CBE_OK; i++) {
        cbe_byte_buffer next = {0};
        st = replace(&next, (cbe_span){current.bytes, current.size}, rules[i][0], rules[i][1], err);
        cbe_free(current.bytes);
        current = next;
    }
    if (st == CBE_OK) st = cbe_byte_buffer_put(out, current.bytes, current.size, err);
    cbe_free(current.bytes);
    return st;
}

static cbe_status wordpiece(const step *s, const text_list *from, text_list *to, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < from->n && st == CBE_OK; i++) {
        cbe_span token = text_at(from, i);
        cbe_byte_buffer piece = {0};
        if (i > 0 && same(token.data, token.length, s->from, s->from_length)) {
            token.data += s->from_length;
            token.length -= s->from_length;
        } else if (i > 0) {
            st = cbe_byte_buffer_put(&piece, " ", 1, err);
        }
        if (st == CBE_OK) st = cbe_byte_buffer_put(&piece, token.data, token.length, err);
        const cbe_span made = piece.size ? (cbe_span){piece.bytes, piece.size} : nothing;
        if (st == CBE_OK)
            st = s->cleanup ? clean_up(&to->text, made, err)
                            : cbe_byte_buffer_put(&to->text, made.data, made.length, err);
        to->ends[to->n++] = to->text.size;
        cbe_free(piece.bytes);
    }
    return st;
}

/* Runs a step; to->ends has room for from->n ends, and the caller owns both lists. */
static cbe_status run(const step *s, const text_list *from, text_list *to, cbe_error *err)
{
    cbe_status st = CBE_OK;
    if (s->kind == BYTE_FALLBACK) return byte_fallback(from, to, err);
    if (s->kind == BYTE_LEVEL) return byte_level(from, to, err);
    if (s->kind == WORDPIECE) return wordpiece(s, from, to, err);
    for (size_t i = 0; i < from->n && st == CBE_OK; i++) {
        const cbe_span text = text_at(from, i), old = {s->from, s->from_length};
        if (s->kind == REPLACE) {
            st = replace(&to->text, text, old, (cbe_span){s->to, s->to_length}, err);
        } else if (s->kind == METASPACE) {
            st =
                replace(&to->text, text, old, (cbe_span){" ", i == 0 && s->prepended ? 0 : 1}, err);
        } else {
            const cbe_span left = s->kind == STRIP ? strip(s, text) : text;
            st = cbe_byte_buffer_put(&to->text, left.data, left.length, err);
        }
        if (s->kind == FUSE && i + 1 < from->n) continue;
        to->ends[to->n++] = to->text.size;
    }
    return st;
}

static void free_list(text_list *list)
{
    cbe_free(list->text.bytes);
    cbe_free(list->ends);
    *list = (text_list){0};
}

cbe_status cbe_token_decode(const cbe_token_decoder *decoder, size_t n, const cbe_span *tokens,
                            char **out, size_t *length, cbe_error *err)
{
    text_list list = {0};
    cbe_status st = CBE_OK;
    if (decoder->not_read)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "ids cannot be decoded: the tokenizer's decoder '%s' is not read",
                        decoder->not_read);
    if (!(list.ends = cbe_alloc(n, sizeof *list.ends, "text", err))) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        if (i > 0 && !decoder->joined) st = cbe_byte_buffer_put(&list.text, " ", 1, err);
        if (st == CBE_OK)
            st = cbe_byte_buffer_put(&list.text, tokens[i].data, tokens[i].length, err);
        list.ends[list.n++] = list.text.size;
    }
    for (size_t i = 0; i < decoder->n_steps && st == CBE_OK; i++) {
        text_list next = {0};
        st = CBE_ERR_NOMEM;
        if ((next.ends = cbe_alloc(n, sizeof *next.ends, "text", err)))
            st = run(&decoder->steps[i], &list, &next, err);
        free_list(&list);
        list = next;
    }
    if (st == CBE_OK)
        st = cbe_utf8_replace(out, list.text.bytes ? list.text.bytes : "", list.text.size, length,
                              NULL, err);
    free_list(&list);
    return st;
}
