/* normalise.c - see normalise.h. Each step makes a new text from the one before it. */
#include "tokenizer/normalise.h"

#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/byte_buffer.h"
#include "core/utf8.h"
#include "tokenizer/byte_characters.h"
#include "tokenizer/old_categories.h"

typedef enum {
    FORM,
    LOWERCASE,
    STRIP_ACCENTS,
    FILTER,
    BYTE_CHARACTERS,
    CHARSMAP,
    STRIP,
    PREPEND,
    REPLACE
} step_kind;

typedef struct cbe_normaliser_step {
    step_kind kind;
    cbe_normal_form form;
    cbe_character_filter filter;
    cbe_charsmap *map;
    bool left, right;
    char *bytes;
    size_t length;
    cbe_regex *regex;
} step;

void cbe_normaliser_free(cbe_normaliser *normaliser)
{
    for (size_t i = 0; i < normaliser->n_steps; i++) {
        cbe_free(normaliser->steps[i].bytes);
        cbe_regex_free(normaliser->steps[i].regex);
        cbe_charsmap_free(normaliser->steps[i].map);
    }
    cbe_free(normaliser->steps);
    *normaliser = (cbe_normaliser){0};
}

/* Adds a step and takes over its memory, also on failure. */
static cbe_status add(cbe_normaliser *n, step made, cbe_error *err)
{
    if (n->n_steps == n->capacity) {
        const size_t capacity = n->capacity ? 2 * n->capacity : 4;
        step *grown = cbe_alloc(capacity, sizeof *grown, "normaliser", err);
        if (!grown) {
            cbe_free(made.bytes);
            cbe_regex_free(made.regex);
            cbe_charsmap_free(made.map);
            return CBE_ERR_NOMEM;
        }
        if (n->n_steps) memcpy(grown, n->steps, n->n_steps * sizeof *grown);
        cbe_free(n->steps);
        n->steps = grown;
        n->capacity = capacity;
    }
    n->steps[n->n_steps++] = made;
    return CBE_OK;
}

cbe_status cbe_normaliser_add_form(cbe_normaliser *normaliser, cbe_normal_form form, cbe_error *err)
{
    return add(normaliser, (step){.kind = FORM, .form = form}, err);
}

cbe_status cbe_normaliser_add_lowercase(cbe_normaliser *normaliser, cbe_error *err)
{
    return add(normaliser, (step){.kind = LOWERCASE}, err);
}

cbe_status cbe_normaliser_add_strip_accents(cbe_normaliser *normaliser, cbe_error *err)
{
    return add(normaliser, (step){.kind = STRIP_ACCENTS}, err);
}

cbe_status cbe_normaliser_add_filter(cbe_normaliser *normaliser, cbe_character_filter filter,
                                     cbe_error *err)
{
    return add(normaliser, (step){.kind = FILTER, .filter = filter}, err);
}

cbe_status cbe_normaliser_add_byte_characters(cbe_normaliser *normaliser, cbe_error *err)
{
    return add(normaliser, (step){.kind = BYTE_CHARACTERS}, err);
}

cbe_status cbe_normaliser_add_charsmap(cbe_normaliser *normaliser, cbe_charsmap *map,
                                       cbe_error *err)
{
    return add(normaliser, (step){.kind = CHARSMAP, .map = map}, err);
}

cbe_status cbe_normaliser_add_strip(cbe_normaliser *normaliser, bool left, bool right,
                                    cbe_error *err)
{
    return add(normaliser, (step){.kind = STRIP, .left = left, .right = right}, err);
}

cbe_status cbe_normaliser_add_prepend(cbe_normaliser *normaliser, const char *bytes, size_t length,
                                      cbe_error *err)
{
    char *copy = cbe_copy_string(bytes, length, err);
    if (!copy) return CBE_ERR_NOMEM;
    return add(normaliser, (step){.kind = PREPEND, .bytes = copy, .length = length}, err);
}

cbe_status cbe_normaliser_add_replace(cbe_normaliser *normaliser, cbe_regex *regex,
                                      const char *bytes, size_t length, cbe_error *err)
{
    char *copy = cbe_copy_string(bytes, length, err);
    if (!copy) {
        cbe_regex_free(regex);
        return CBE_ERR_NOMEM;
    }
    return add(normaliser, (step){.kind = REPLACE, .regex = regex, .bytes = copy, .length = length},
               err);
}

/* The character at text[i], and its size through *size. */
static int32_t character_at(const char *text, size_t length, size_t i, size_t *size)
{
    utf8proc_int32_t character;
    *size = (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                     (utf8proc_ssize_t)(length - i), &character);
    return character;
}

static cbe_status put_character(cbe_byte_buffer *out, int32_t character, cbe_error *err)
{
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t n = utf8proc_encode_char(character, bytes);
    return cbe_byte_buffer_put(out, bytes, (size_t)n, err);
}

static cbe_status lowercase(cbe_byte_buffer *out, const char *text, size_t length, cbe_error *err)
{
    enum {
        CAPITAL_I_DOT = 0x130,
        DOT_ABOVE = 0x307
    }; /* the only letter that becomes two characters */
    cbe_status st = CBE_OK;
    for (size_t i = 0, size; i < length && st == CBE_OK; i += size) {
        const int32_t character = character_at(text, length, i, &size);
        st =
            put_character(out, character == CAPITAL_I_DOT ? 'i' : utf8proc_tolower(character), err);
        if (st == CBE_OK && character == CAPITAL_I_DOT) st = put_character(out, DOT_ABOVE, err);
    }
    return st;
}

static cbe_status strip_accents(cbe_byte_buffer *out, const char *text, size_t length,
                                cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0, size; i < length && st == CBE_OK; i += size) {
        if (cbe_old_category_is_mark(character_at(text, length, i, &size))) continue;
        st = cbe_byte_buffer_put(out, text + i, size, err);
    }
    return st;
}

static bool is_chinese(int32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

/* What a filter makes of a character: -1 drops it. */
static int32_t filtered(cbe_character_filter filter, int32_t c)
{
    switch (filter) {
    case CBE_FILTER_BERT_CLEAN:
        if (c == '\t' || c == '\n' || c == '\r') return ' ';
        if (c == 0 || c == 0xfffd || cbe_old_category_is_other(c)) return -1;
        return cbe_utf8_is_space(c) ? ' ' : c;
    case CBE_FILTER_BERT_ACCENTS: return cbe_old_category_is_nonspacing_mark(c) ? -1 : c;
    case CBE_FILTER_NMT:
        if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
            c == 0x9f)
            return -1;
        return c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                       (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xfeff || c == 0xfffd
                   ? ' '
                   : c;
    case CBE_FILTER_BERT_CHINESE: break;
    }
    return c;
}

static cbe_status filter(cbe_byte_buffer *out, const step *s, const char *text, size_t length,
                         cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0, size; i < length && st == CBE_OK; i += size) {
        const int32_t c = character_at(text, length, i, &size), to = filtered(s->filter, c);
        const bool around = s->filter == CBE_FILTER_BERT_CHINESE && is_chinese(c);
        if (around) st = cbe_byte_buffer_put(out, " ", 1, err);
        if (st == CBE_OK && to >= 0)
            st = to == c ? cbe_byte_buffer_put(out, text + i, size, err)
                         : put_character(out, to, err);
        if (st == CBE_OK && around) st = cbe_byte_buffer_put(out, " ", 1, err);
    }
    return st;
}

static cbe_status strip(cbe_byte_buffer *out, const step *s, const char *text, size_t length,
                        cbe_error *err)
{
    size_t begin = 0, end = length, size;
    while (s->left && begin < end && cbe_utf8_is_space(character_at(text, length, begin, &size)))
        begin += size;
    while (s->right && end > begin) {
        size_t last = end - 1;
        while (((unsigned char)text[last] & 0xc0) == 0x80) last--;
        if (!cbe_utf8_is_space(character_at(text, length, last, &size))) break;
        end = last;
    }
    return cbe_byte_buffer_put(out, text + begin, end - begin, err);
}

static cbe_status replace(cbe_byte_buffer *out, const step *s, const char *text, size_t length,
                          cbe_error *err)
{
    cbe_regex_search *search = NULL;
    cbe_regex_place place = {0};
    cbe_status st = cbe_regex_search_create(&search, s->regex, length, err);
    bool found = length > 0;
    for (size_t at = 0, begin, end; found && st == CBE_OK; at = end) {
        st = cbe_regex_find(search, text, length, &place, &found, &begin, &end, err);
        if (st == CBE_OK) st = cbe_byte_buffer_put(out, text + at, begin - at, err);
        if (st == CBE_OK && found) st = cbe_byte_buffer_put(out, s->bytes, s->length, err);
        if (st != CBE_OK) break;
    }
    cbe_regex_search_free(search);
    return st;
}

/* Runs one step and writes the new text to *out; out->bytes stays NULL if the text has the form
 * already. */
static cbe_status run(const step *s, const char *text, size_t length, cbe_byte_buffer *out,
                      cbe_error *err)
{
    switch (s->kind) {
    case FORM: {
        const cbe_status st =
            cbe_normal_form_of(&out->bytes, s->form, text, length, &out->size, err);
        out->capacity = out->size;
        return st;
    }
    case LOWERCASE: return lowercase(out, text, length, err);
    case STRIP_ACCENTS: return strip_accents(out, text, length, err);
    case FILTER: return filter(out, s, text, length, err);
    case BYTE_CHARACTERS: return cbe_put_byte_characters(out, text, length, err);
    case CHARSMAP: return cbe_charsmap_apply(s->map, text, length, out, err);
    case STRIP: return strip(out, s, text, length, err);
    case PREPEND: {
        const cbe_status st = cbe_byte_buffer_put(out, s->bytes, length ? s->length : 0, err);
        return st == CBE_OK ? cbe_byte_buffer_put(out, text, length, err) : st;
    }
    case REPLACE: return replace(out, s, text, length, err);
    }
    return CBE_ERR_INTERNAL;
}

/* Whether something of the first character is left by a step: what it makes of this character
 * alone is not empty. */
static cbe_status keeps_first(const step *s, const char *text, size_t length, bool *first,
                              cbe_error *err)
{
    cbe_byte_buffer alone = {0};
    const size_t size = length ? cbe_utf8_size(text[0]) : 0;
    const cbe_status st = run(s, text, size, &alone, err);
    /* A step that changes nothing may leave no bytes, but its size is that of the text. */
    if (alone.size == 0) *first = false;
    cbe_free(alone.bytes);
    return st;
}

cbe_status cbe_normalise(const cbe_normaliser *normaliser, const char *text, size_t length,
                         char **out, size_t *out_length, bool *first, cbe_error *err)
{
    char *current = NULL;
    if (first) *first = length > 0;
    for (size_t i = 0; i < normaliser->n_steps; i++) {
        cbe_byte_buffer next = {0};
        const char *from = current ? current : text;
        const step *s = &normaliser->steps[i];
        cbe_status st = first && *first ? keeps_first(s, from, length, first, err) : CBE_OK;
        if (st == CBE_OK) st = run(s, from, length, &next, err);
        /* An empty result needs bytes too, since NULL means unchanged. */
        if (st == CBE_OK && !next.bytes && next.size < length)
            st = cbe_byte_buffer_reserve(&next, 1, err);
        if (st != CBE_OK) {
            cbe_free(next.bytes);
            cbe_free(current);
            return st;
        }
        if (!next.bytes) continue;
        cbe_free(current);
        current = next.bytes;
        length = next.size;
    }
    *out = current;
    *out_length = length;
    return CBE_OK;
}
