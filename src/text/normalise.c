/* normalise.c - see normalise.h. Each step makes a new text from the one before it. */
#include "text/normalise.h"

#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/byte_buffer.h"
#include "core/utf8.h"

typedef enum { FORM, LOWERCASE, STRIP_ACCENTS, STRIP, PREPEND, REPLACE } step_kind;

typedef struct cbe_normaliser_step {
    step_kind kind;
    cbe_normal_form form;
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
        const utf8proc_category_t category =
            utf8proc_category(character_at(text, length, i, &size));
        if (category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
            category == UTF8PROC_CATEGORY_ME)
            continue;
        st = cbe_byte_buffer_put(out, text + i, size, err);
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
    cbe_status st = cbe_regex_search_create(&search, s->regex, length, err);
    for (size_t at = 0, begin, end; at < length && st == CBE_OK; at = end) {
        st = cbe_regex_find(search, text, length, at, &begin, &end, err);
        if (st == CBE_OK) st = cbe_byte_buffer_put(out, text + at, begin - at, err);
        if (st == CBE_OK && end > begin) st = cbe_byte_buffer_put(out, s->bytes, s->length, err);
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
    case STRIP: return strip(out, s, text, length, err);
    case PREPEND: {
        const cbe_status st = cbe_byte_buffer_put(out, s->bytes, length ? s->length : 0, err);
        return st == CBE_OK ? cbe_byte_buffer_put(out, text, length, err) : st;
    }
    case REPLACE: return replace(out, s, text, length, err);
    }
    return CBE_ERR_INTERNAL;
}

cbe_status cbe_normalise(const cbe_normaliser *normaliser, const char *text, size_t length,
                         char **out, size_t *out_length, cbe_error *err)
{
    char *current = NULL;
    for (size_t i = 0; i < normaliser->n_steps; i++) {
        cbe_byte_buffer next = {0};
        cbe_status st = run(&normaliser->steps[i], current ? current : text, length, &next, err);
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
