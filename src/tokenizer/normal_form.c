/*
 * normal_form.c - see normal_form.h.
 *
 * utf8proc decomposes and composes. The step between, sorting each run of combining marks by class,
 * is done here: utf8proc's is quadratic in the run, and a file may hold nothing but marks.
 */
#include "tokenizer/normal_form.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

#include "core/fail.h"
#include "core/memory.h"

enum {
    FIRST_MARK_BYTE = 0xcc,  /* U+0300, the first character that NFC may change, begins with it */
    FIRST_OTHER_BYTE = 0xc2, /* U+0080, below which no form changes a character */
    N_CLASSES = 256,
    BEFORE_FINALS = 0x11a7 /* the number before the first final consonant of Hangul */
};

static utf8proc_option_t options_of(cbe_normal_form form)
{
    const int compose = form == CBE_NFC || form == CBE_NFKC;
    const int compatible = form == CBE_NFKC || form == CBE_NFKD;
    return (utf8proc_option_t)(UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                               (compatible ? UTF8PROC_COMPAT : 0));
}

static unsigned combining_class(int32_t character)
{
    return (unsigned)utf8proc_get_property(character)->combining_class % N_CLASSES;
}

/* Sorts a run stably by class; spare has room for n characters. */
static void sort_run(int32_t *run, size_t n, int32_t *spare)
{
    size_t start[N_CLASSES + 1] = {0};
    for (size_t i = 0; i < n; i++) start[combining_class(run[i]) + 1]++;
    for (size_t i = 0; i < N_CLASSES; i++) start[i + 1] += start[i];
    for (size_t i = 0; i < n; i++) spare[start[combining_class(run[i])]++] = run[i];
    memcpy(run, spare, n * sizeof *run);
}

static void sort_marks(int32_t *characters, size_t n, int32_t *spare)
{
    for (size_t i = 0; i < n;) {
        size_t end = i;
        unsigned class, last = 0;
        bool sorted = true;
        for (; end < n && (class = combining_class(characters[end])) != 0; end++) {
            sorted = sorted && class >= last;
            last = class;
        }
        if (!sorted) sort_run(characters + i, end - i, spare);
        i = end == i ? i + 1 : end;
    }
}

/* Composes in place and returns how many characters are left. U+11A7 composes with nothing, but
 * utf8proc 2.8 takes it for a final consonant and drops it after a syllable: so a piece begins at
 * each U+11A7. */
static size_t compose(int32_t *characters, size_t n, utf8proc_option_t options)
{
    size_t kept = 0;
    for (size_t begin = 0, end; begin < n; begin = end) {
        end = begin + 1;
        while (end < n && characters[end] != BEFORE_FINALS) end++;
        const size_t length = (size_t)utf8proc_normalize_utf32(
            characters + begin, (utf8proc_ssize_t)(end - begin), options);
        memmove(characters + kept, characters + begin, length * sizeof *characters);
        kept += length;
    }
    return kept;
}

static bool certainly_has(cbe_normal_form form, const char *text, size_t length)
{
    const unsigned char first = form == CBE_NFC ? FIRST_MARK_BYTE : FIRST_OTHER_BYTE;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] >= first) return false;
    return true;
}

cbe_status cbe_normal_form_of(char **out, cbe_normal_form form, const char *text, size_t length,
                              size_t *out_length, cbe_error *err)
{
    cbe_status st = CBE_OK;
    int32_t *characters = NULL, *spare = NULL;
    const utf8proc_option_t options = options_of(form);
    if (certainly_has(form, text, length)) {
        *out = NULL;
        *out_length = length;
        return CBE_OK;
    }
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text;
    const utf8proc_ssize_t count =
        utf8proc_decompose(bytes, (utf8proc_ssize_t)length, NULL, 0, options);
    if (count < 0)
        return cbe_fail(err, CBE_ERR_INTERNAL, -1, "normalisation: %s", utf8proc_errmsg(count));
    /* One more, because utf8proc encodes in place and ends the bytes by a 0. */
    characters = cbe_alloc((size_t)count + 1, sizeof *characters, "normalised text", err);
    if (characters) spare = cbe_alloc((size_t)count, sizeof *spare, "normalised text", err);
    if (!spare) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    size_t n = 0;
    int last_boundary = 0;
    for (size_t i = 0; i < length;) {
        utf8proc_int32_t character;
        i += (size_t)utf8proc_iterate(bytes + i, (utf8proc_ssize_t)(length - i), &character);
        n += (size_t)utf8proc_decompose_char(character, characters + n, count - (utf8proc_ssize_t)n,
                                             options, &last_boundary);
    }
    sort_marks(characters, n, spare);
    if (options & UTF8PROC_COMPOSE) n = compose(characters, n, options);
    *out_length = (size_t)utf8proc_reencode(characters, (utf8proc_ssize_t)n, UTF8PROC_STABLE);
    *out = (char *)characters;
    characters = NULL;
done:
    cbe_free(characters);
    cbe_free(spare);
    return st;
}
