/*
 * regex_translate.c - see regex_translate.h.
 *
 * One pass over the pattern. The last atom (character, class, group) is remembered, because a
 * repeat of a repeat, X{1,3}+, means (?:X{1,3})+ in Oniguruma; PCRE2 would read it as possessive. A
 * class is gathered before it is written, as its members decide its form.
 */
#include "text/regex_translate.h"

#include <stdbool.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "text/regex.h"

enum { MAX_DEPTH = 32, GROWTH = 96, SHOWN = 80 };

/* Members of the classes behind \w and \h, for use inside brackets. Oniguruma counts the six
 * superscripts and fractions of Latin-1 among the characters of words. */
#define WORDS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define HEX   "0-9a-fA-F"

typedef struct {
    const char *pattern;
    size_t length, at;
    char *out;
    size_t n, capacity;
    size_t atom; /* place of the last atom in out; n if nothing can be repeated */
    size_t groups[MAX_DEPTH];
    int depth;
    const char *path;
    cbe_error *err;
} translation;

static cbe_status unsupported(const translation *t, const char *what)
{
    return cbe_fail(t->err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: regular expression '%.*s' has %s, which cannot be read; give token ids "
                    "with " CBE_OPTION("tokens") " "
                                                 "IDS.safetensors instead",
                    t->path, (int)(t->length < SHOWN ? t->length : SHOWN), t->pattern, what);
}

/* Appends to out, which has room for GROWTH bytes for each byte of the pattern. */
static void put(translation *t, const char *text, size_t length)
{
    memcpy(t->out + t->n, text, length);
    t->n += length;
}

static void put_text(translation *t, const char *text)
{
    put(t, text, strlen(text));
}

static int peek(const translation *t, size_t ahead)
{
    return ahead < t->length - t->at ? (unsigned char)t->pattern[t->at + ahead] : -1;
}

static bool is_hex(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool starts_with(const char *name, size_t length, const char *prefix)
{
    return length >= strlen(prefix) && memcmp(name, prefix, strlen(prefix)) == 0;
}

/* Translates \p{NAME} and \P{NAME}; t->at is at the backslash. A general category has one or two
 * letters; other names are scripts or binary properties, which PCRE2 tells apart by a prefix. */
static cbe_status put_property(translation *t)
{
    static const char *const words[][2] = {
        {"Letter", "L"},
        {"Number", "N"},
        {"Punctuation", "P"},
        {"Symbol", "S"},
        {"Mark", "M"},
        {"Separator", "Z"},
        {"Other", "C"},
        {"Alpha", "Alphabetic"},
        {"Alphabetic", "Alphabetic"},
        {"Upper", "Uppercase"},
        {"Uppercase", "Uppercase"},
        {"Lower", "Lowercase"},
        {"Lowercase", "Lowercase"},
        {"Emoji", "Emoji"},
        {"White_Space", "White_Space"},
        {"Space", "White_Space"},
        {"Digit", "Nd"},
        {"Punct", "P"},
        {"Any", "Any"},
        {"LC", "L&"},
    };
    const char *close = memchr(t->pattern + t->at, '}', t->length - t->at);
    if (!close) return unsupported(t, "\\p without }");
    const char *name = t->pattern + t->at + 3;
    size_t length = (size_t)(close - name);
    bool negated = peek(t, 1) == 'P';
    if (length > 0 && *name == '^') {
        negated = !negated;
        name++;
        length--;
    }
    t->at = (size_t)(close - t->pattern) + 1;
    put_text(t, negated ? "\\P{" : "\\p{");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i][0]) == length && memcmp(words[i][0], name, length) == 0) {
            put_text(t, words[i][1]);
            put_text(t, "}");
            return CBE_OK;
        }
    static const char *const prefixes[] = {"Script=", "sc=", "General_Category=", "gc="};
    bool category = length <= 2;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (starts_with(name, length, prefixes[i])) {
            name += strlen(prefixes[i]);
            length -= strlen(prefixes[i]);
            category = i >= 2;
            break;
        }
    if (!category) put_text(t, "sc:");
    put(t, name, length);
    put_text(t, "}");
    return CBE_OK;
}

/* Translates an escape; t->at is at the backslash. */
static cbe_status put_escape(translation *t, bool in_class)
{
    static const struct {
        char letter;
        const char *members;
        bool negated;
    } sets[] = {
        {'s', CBE_REGEX_SPACES, false},
        {'S', CBE_REGEX_SPACES, true},
        {'w', WORDS, false},
        {'W', WORDS, true},
        {'d', "\\p{Nd}", false},
        {'D', "\\p{Nd}", true},
        {'h', HEX, false},
        {'H', HEX, true},
    };
    const int letter = peek(t, 1);
    if (letter < 0) return unsupported(t, "a backslash at its end");
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (letter != sets[i].letter) continue;
        if (in_class && sets[i].negated && letter != 'S' && letter != 'D')
            return unsupported(t, "a negated set in a class");
        t->at += 2;
        if (in_class && letter == 'S') {
            put_text(t, "\\P{White_Space}");
        } else if (in_class && letter == 'D') {
            put_text(t, "\\P{Nd}");
        } else if (in_class) {
            put_text(t, sets[i].members);
        } else {
            put_text(t, sets[i].negated ? "[^" : "[");
            put_text(t, sets[i].members);
            put_text(t, "]");
        }
        return CBE_OK;
    }
    if ((letter == 'p' || letter == 'P') && peek(t, 2) == '{') return put_property(t);
    if (letter == 'u') {
        for (size_t i = 2; i < 6; i++)
            if (!is_hex(peek(t, i))) return unsupported(t, "\\u without four digits");
        put_text(t, "\\x{");
        put(t, t->pattern + t->at + 2, 4);
        put_text(t, "}");
        t->at += 6;
        return CBE_OK;
    }
    if (letter == 'Q' || letter == 'G' || letter == 'g' || letter == 'y' || letter == 'Y' ||
        letter == 'O')
        return unsupported(t, "an escape of another kind");
    put(t, t->pattern + t->at, 2);
    t->at += 2;
    return CBE_OK;
}

/* Translates a class; t->at is at the bracket. */
static cbe_status put_class(translation *t)
{
    int nested = 0;
    bool first = true;
    put_text(t, "[");
    t->at++;
    if (peek(t, 0) == '^') {
        put_text(t, "^");
        t->at++;
    }
    for (;; first = false) {
        const int c = peek(t, 0);
        cbe_status st = CBE_OK;
        if (c < 0) return unsupported(t, "a class without an end");
        if (c == '\\') {
            st = put_escape(t, true);
        } else if (c == '[' && peek(t, 1) == ':') {
            const char *close = memchr(t->pattern + t->at + 2, ']', t->length - t->at - 2);
            if (!close) return unsupported(t, "a class without an end");
            const size_t size = (size_t)(close - t->pattern) + 1 - t->at;
            put(t, t->pattern + t->at, size);
            t->at += size;
        } else if (c == '[') {
            if (peek(t, 1) == '^') return unsupported(t, "a negated class in a class");
            nested++;
            t->at++;
        } else if (c == '&' && peek(t, 1) == '&') {
            return unsupported(t, "an intersection of classes");
        } else if (c == ']' && !first) {
            t->at++;
            if (nested-- == 0) break;
        } else {
            if (c == ']') put_text(t, "\\");
            put(t, t->pattern + t->at, 1);
            t->at++;
        }
        if (st != CBE_OK) return st;
    }
    put_text(t, "]");
    return CBE_OK;
}

/* Size of "{2}", "{1,3}", "{,3}" or "{2,}" at t->at; 0 if there is none. */
static size_t braces(const translation *t)
{
    size_t i = 1, digits = 0;
    for (; peek(t, i) >= '0' && peek(t, i) <= '9'; i++) digits++;
    if (peek(t, i) == ',')
        for (i++; peek(t, i) >= '0' && peek(t, i) <= '9'; i++) digits++;
    return peek(t, i) == '}' && digits ? i + 1 : 0;
}

/* Translates a repeat in braces and the +, * or ? behind it. */
static void put_braces(translation *t, size_t size)
{
    const bool open = t->pattern[t->at + 1] == ','; /* {,3} is {0,3} */
    const bool exact = !memchr(t->pattern + t->at, ',', size);
    put_text(t, open ? "{0" : "{");
    put(t, t->pattern + t->at + 1, size - 1);
    t->at += size;
    const int next = peek(t, 0);
    if (next == '+' || next == '*' || (next == '?' && exact)) { /* repeats the repeat */
        memmove(t->out + t->atom + 3, t->out + t->atom, t->n - t->atom);
        memcpy(t->out + t->atom, "(?:", 3);
        t->n += 3;
        put_text(t, ")");
    } else if (next == '?') {
        put_text(t, "?");
        t->at++;
    }
}

static cbe_status put_atom(translation *t)
{
    const int c = peek(t, 0);
    const size_t begin = t->n;
    cbe_status st = CBE_OK;
    size_t size;
    if (c == '\\') {
        st = put_escape(t, false);
    } else if (c == '[') {
        st = put_class(t);
    } else if (c == '(') {
        if (t->depth == MAX_DEPTH) return unsupported(t, "groups too deep in each other");
        t->groups[t->depth++] = t->n;
        put_text(t, "(");
        t->at++;
        if (peek(t, 0) == '?') { /* the kind of group is copied */
            put_text(t, "?");
            t->at++;
        }
        t->atom = t->n;
        return CBE_OK;
    } else if (c == ')') {
        if (t->depth == 0) return unsupported(t, "a ) without a (");
        put_text(t, ")");
        t->at++;
        t->atom = t->groups[--t->depth];
        return CBE_OK;
    } else if (c == '{' && t->atom < t->n && (size = braces(t)) > 0) {
        put_braces(t, size);
        return CBE_OK;
    } else if ((c == '*' || c == '+' || c == '?') && t->atom < t->n) {
        put(t, t->pattern + t->at, 1);
        t->at++;
        return CBE_OK;
    } else {
        /* Copies one character with all of its bytes. */
        put(t, t->pattern + t->at, 1);
        t->at++;
        while (peek(t, 0) >= 0x80 && peek(t, 0) < 0xc0) {
            put(t, t->pattern + t->at, 1);
            t->at++;
        }
    }
    t->atom = begin;
    return st;
}

cbe_status cbe_regex_translate(char **out, size_t *out_length, const char *pattern, size_t length,
                               const char *path, cbe_error *err)
{
    translation t = {.pattern = pattern, .length = length, .path = path, .err = err};
    if (!cbe_mul_size(length, GROWTH, &t.capacity) ||
        !cbe_add_size(t.capacity, GROWTH, &t.capacity))
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "regular expression: too long");
    if (!(t.out = cbe_alloc(t.capacity, 1, "regular expression", err))) return CBE_ERR_NOMEM;
    cbe_status st = CBE_OK;
    while (st == CBE_OK && t.at < length) st = put_atom(&t);
    if (st != CBE_OK) {
        cbe_free(t.out);
        return st;
    }
    t.out[t.n] = 0;
    *out = t.out;
    *out_length = t.n;
    return CBE_OK;
}
