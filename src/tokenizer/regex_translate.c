/*
 * regex_translate.c - see regex_translate.h.
 *
 * One pass over the pattern. The last atom (character, class, group) is remembered, because a
 * repeat of a repeat, X{1,3}+, means (?:X{1,3})+ in Oniguruma; PCRE2 would read it as possessive. A
 * class with intersections or negations inside becomes looks ahead at one character: [A&&[^B]] is
 * (?:(?=[A])(?=(?:(?!(?=[B]))(?s:.)))(?s:.)).
 */
#include "tokenizer/regex_translate.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/utf8.h"
#include "tokenizer/regex.h"

enum { MAX_DEPTH = 32, GROWTH = 256, SHOWN = 80 };
enum { LEFT_TO_RIGHT = 0x200e, RIGHT_TO_LEFT = 0x200f };

/* Members of the classes behind \w and \h, for use inside brackets. Outside of classes Oniguruma
 * counts the six superscripts and fractions of Latin-1 among the characters of words. */
#define WORDS   "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define OUTSIDE "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define WORD    "[" WORDS OUTSIDE "]"
#define HEX     "0-9a-fA-F"

/* Alphabetic, with the marks that have become so since PCRE2's version of Unicode. */
#define NEWLY_ALPHABETIC                                                                           \
    "\\x{363}-\\x{36f}\\x{c04}\\x{f82}\\x{f83}\\x{1dd3}-\\x{1de6}\\x{11080}\\x{11081}"
#define ALPHABETIC "\\p{Alphabetic}" NEWLY_ALPHABETIC

#define CASED "letters of one case where case does not count"

typedef struct {
    const char *pattern;
    size_t length, at;
    char *out;
    size_t n, capacity;
    size_t atom; /* place of the last atom in out; n if nothing can be repeated */
    size_t groups[MAX_DEPTH];
    int options[MAX_DEPTH + 1]; /* options without a group, each of which becomes one more group */
    bool caseless[MAX_DEPTH + 1], extended[MAX_DEPTH + 1];
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
static cbe_status put_property(translation *t, bool in_class)
{
    static const char *const words[][2] = {
        {"Letter", "L"},
        {"Number", "N"},
        {"Punctuation", "P"},
        {"Symbol", "S"},
        {"Mark", "M"},
        {"Separator", "Z"},
        {"Other", "C"},
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
    if ((length == 5 && memcmp(name, "Alpha", 5) == 0) ||
        (length == 10 && memcmp(name, "Alphabetic", 10) == 0)) {
        put_text(t, in_class  ? negated ? "\\P{Alphabetic}" : ALPHABETIC
                    : negated ? "[^" ALPHABETIC "]"
                              : "[" ALPHABETIC "]");
        return CBE_OK;
    }
    put_text(t, negated ? "\\P{" : "\\p{");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i][0]) == length && memcmp(words[i][0], name, length) == 0) {
            if (t->caseless[t->depth] && strchr("UL", *words[i][1]) && words[i][1][1] != 0)
                return unsupported(t, CASED);
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
    if (category && t->caseless[t->depth] && length == 2 && *name == 'L' && strchr("ult", name[1]))
        return unsupported(t, CASED);
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
        const char *in_class, *outside;
    } sets[] = {
        {'s', CBE_REGEX_SPACES, "[" CBE_REGEX_SPACES "]"},
        {'S', "\\P{White_Space}", "[^" CBE_REGEX_SPACES "]"},
        {'w', WORDS, "[" WORDS OUTSIDE "]"},
        {'W', "[^" WORDS "]", "[^" WORDS OUTSIDE "]"},
        {'d', "\\p{Nd}", "\\p{Nd}"},
        {'D', "\\P{Nd}", "\\P{Nd}"},
        {'h', HEX, "[" HEX "]"},
        {'H', "[^" HEX "]", "[^" HEX "]"},
    };
    const int letter = peek(t, 1);
    if (letter < 0) return unsupported(t, "a backslash at its end");
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (letter != sets[i].letter) continue;
        t->at += 2;
        put_text(t, in_class ? sets[i].in_class : sets[i].outside);
        return CBE_OK;
    }
    if (!in_class && (letter == 'b' || letter == 'B')) {
        t->at += 2;
        put_text(t, letter == 'b' ? "(?:(?<=" WORD ")(?!" WORD ")|(?<!" WORD ")(?=" WORD "))"
                                  : "(?:(?<=" WORD ")(?=" WORD ")|(?<!" WORD ")(?!" WORD "))");
        return CBE_OK;
    }
    if (letter == 'v') {
        t->at += 2;
        put_text(t, "\\x{b}");
        return CBE_OK;
    }
    if (letter == 'p' || letter == 'P')
        return peek(t, 2) == '{' ? put_property(t, in_class) : unsupported(t, "\\p without {");
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

/* Translates [:NAME:] in a class; t->at is at its bracket. */
static cbe_status put_posix(translation *t)
{
    static const struct {
        const char *name, *members, *others; /* others: members of the negation; NULL: not read */
    } sets[] = {
        {"alnum", ALPHABETIC "\\p{Nd}", NULL},
        {"alpha", ALPHABETIC, "\\P{Alphabetic}"},
        {"ascii", "\\x{0}-\\x{7f}", "\\x{80}-\\x{10ffff}"},
        {"blank", "\\p{Zs}\\t", NULL},
        {"cntrl", "\\p{Cc}", "\\P{Cc}"},
        {"digit", "\\p{Nd}", "\\P{Nd}"},
        {"lower", "\\p{Lowercase}", "\\P{Lowercase}"},
        {"punct", "\\p{P}\\p{S}", NULL},
        {"space", CBE_REGEX_SPACES, "\\P{White_Space}"},
        {"upper", "\\p{Uppercase}", "\\P{Uppercase}"},
        {"word", WORDS, NULL},
        {"xdigit", HEX, NULL},
    };
    const char *close = memchr(t->pattern + t->at + 2, ']', t->length - t->at - 2);
    if (!close) return unsupported(t, "a class without an end");
    const char *name = t->pattern + t->at + 2;
    size_t length = (size_t)(close - name);
    const bool negated = length > 0 && *name == '^';
    name += negated;
    length -= negated;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        const size_t n = strlen(sets[i].name);
        const char *members = negated ? sets[i].others : sets[i].members;
        if (length != n + 1 || memcmp(name, sets[i].name, n) != 0 || name[n] != ':' || !members)
            continue;
        if (t->caseless[t->depth] && (*members == '\\') && strstr(members, "case}"))
            return unsupported(t, CASED);
        put_text(t, members);
        t->at = (size_t)(close - t->pattern) + 1;
        return CBE_OK;
    }
    return unsupported(t, "a set [:...:] of another kind");
}

/* Whether the class at t->at can be written as one class: it has no intersection, negated class
 * or negated set of several ranges inside. */
static bool is_plain(const translation *t)
{
    int depth = 0;
    for (size_t i = 0; peek(t, i) >= 0; i++) {
        const int c = peek(t, i), next = peek(t, i + 1);
        if (c == '\\') {
            if (next == 'W' || next == 'H') return false;
            i++;
        } else if (c == '[' && next == ':' && depth > 0) {
            while (peek(t, i + 1) >= 0 && peek(t, i) != ']') i++;
        } else if (c == '[') {
            if (depth > 0 && next == '^') return false;
            depth++;
            if (next == '^') i++;
            if (peek(t, i + 1) == ']') i++; /* a ] at the beginning is a member */
        } else if (c == '&' && next == '&') {
            return false;
        } else if (c == ']' && --depth == 0) {
            break;
        }
    }
    return true;
}

/* Copies one character, or translates an escape or a set, that is a member of a class. */
static cbe_status put_member(translation *t)
{
    const int c = peek(t, 0);
    if (c == '\\') return put_escape(t, true);
    if (c == '[' && peek(t, 1) == ':') return put_posix(t);
    if (c == ']' || c == '^' || c == '[') put_text(t, "\\");
    put(t, t->pattern + t->at, 1);
    t->at++;
    return CBE_OK;
}

/* Translates a class that can be written as one; t->at is at the bracket. */
static cbe_status put_plain_class(translation *t)
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
        if (c == '[' && peek(t, 1) != ':') {
            nested++;
            t->at++;
        } else if (c == ']' && !first) {
            t->at++;
            if (nested-- == 0) break;
        } else {
            st = put_member(t);
        }
        if (st != CBE_OK) return st;
    }
    put_text(t, "]");
    return CBE_OK;
}

/* Translates any class to looks ahead at one character; t->at is at the bracket. */
static cbe_status put_class_of_looks(translation *t, int depth)
{
    cbe_status st = CBE_OK;
    bool open = false, any = false; /* open: members are gathered in brackets */
    if (depth == MAX_DEPTH) return unsupported(t, "classes too deep in each other");
    put_text(t, "(?:");
    t->at++;
    const bool negated = peek(t, 0) == '^';
    if (negated) {
        put_text(t, "(?!");
        t->at++;
    }
    put_text(t, "(?=");
    for (bool first = true; st == CBE_OK; first = false) {
        const int c = peek(t, 0), next = peek(t, 1);
        if (c < 0) return unsupported(t, "a class without an end");
        const bool ends = c == ']' && !first, meets = c == '&' && next == '&';
        const bool nested =
            (c == '[' && next != ':') || (c == '\\' && (next == 'W' || next == 'H'));
        if (open && (ends || meets || nested)) put_text(t, "]");
        if (ends || meets) {
            if (!any) put_text(t, "(?!)"); /* no members */
            put_text(t, ")");
            t->at += ends ? 1 : 2;
            if (ends) break;
            put_text(t, "(?=");
            open = any = false;
            continue;
        }
        if (any && (nested || !open)) put_text(t, "|");
        if (!nested && !open) put_text(t, "[");
        open = !nested;
        any = true;
        st = c == '[' && nested ? put_class_of_looks(t, depth + 1)
             : nested           ? put_escape(t, true)
                                : put_member(t);
    }
    put_text(t, negated ? ")(?s:.))" : "(?s:.))");
    return st;
}

static cbe_status put_class(translation *t)
{
    return is_plain(t) ? put_plain_class(t) : put_class_of_looks(t, 0);
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

/* Translates the options of a group, (?i), (?mi-x: ...: Oniguruma's m is PCRE2's s, and options
 * without a colon hold up to the end of the group that they stand in, past any |. */
static cbe_status put_options(translation *t)
{
    size_t n = 0;
    bool on = true, caseless = t->caseless[t->depth], extended = t->extended[t->depth];
    for (; peek(t, n) != ':' && peek(t, n) != ')'; n++) {
        const int c = peek(t, n);
        if (c != 'i' && c != 'm' && c != 'x' && c != '-')
            return unsupported(t, "a group with an option of another kind");
        if (c == '-') on = false;
        if (c == 'i') caseless = on;
        if (c == 'x') extended = on;
        put(t, c == 'm' ? "s" : t->pattern + t->at + n, 1);
    }
    put_text(t, ":");
    if (peek(t, n) == ')') {
        if (t->options[t->depth] == MAX_DEPTH) return unsupported(t, "too many options");
        t->options[t->depth]++;
    } else if (t->depth == MAX_DEPTH) {
        return unsupported(t, "groups too deep in each other");
    } else {
        t->groups[t->depth++] = t->atom;
    }
    t->caseless[t->depth] = caseless;
    t->extended[t->depth] = extended;
    t->at += n + 1;
    t->atom = t->n;
    return CBE_OK;
}

/* Translates the beginning of a group; t->at is at the bracket. The kind of group is copied. */
static cbe_status put_group(translation *t)
{
    const bool kind = peek(t, 1) == '?';
    const int c = kind ? peek(t, 2) : 0;
    t->atom = t->n;
    put_text(t, kind ? "(?" : "(");
    t->at += kind ? 2 : 1;
    if (c == 'i' || c == 'm' || c == 'x' || c == '-') return put_options(t);
    if (kind && c != ':' && c != '=' && c != '!' && c != '>' && c != '<' && c != '#')
        return unsupported(t, "a group of another kind");
    if (c == '#') { /* a comment, up to the bracket */
        const char *close = memchr(t->pattern + t->at, ')', t->length - t->at);
        if (!close) return unsupported(t, "a comment without an end");
        t->n = t->atom;
        t->at = (size_t)(close - t->pattern) + 1;
        return CBE_OK;
    }
    if (t->depth == MAX_DEPTH) return unsupported(t, "groups too deep in each other");
    t->groups[t->depth++] = t->atom;
    t->caseless[t->depth] = t->caseless[t->depth - 1];
    t->extended[t->depth] = t->extended[t->depth - 1];
    if (kind) {
        put(t, t->pattern + t->at, 1);
        t->at++;
    }
    t->atom = t->n;
    return CBE_OK;
}

/* Size of the character at t->at, which is whole if the pattern is well-formed. */
static size_t character_size(const translation *t)
{
    size_t size = 1;
    while (peek(t, size) >= 0x80 && peek(t, size) < 0xc0) size++;
    return size;
}

/* Where white space and comments count for nothing, translates one of them, if it is there, to a
 * blank. PCRE2 takes fewer characters for white space, and ends comments at other line ends. */
static bool put_blank(translation *t)
{
    const char *at = t->pattern + t->at;
    size_t size = character_size(t);
    utf8proc_int32_t character = -1;
    if (!t->extended[t->depth]) return false;
    utf8proc_iterate((const utf8proc_uint8_t *)at, (utf8proc_ssize_t)size, &character);
    if (character == LEFT_TO_RIGHT || character == RIGHT_TO_LEFT) {
        t->atom = t->n; /* to PCRE2 these are white space, too */
        put_text(t, character == LEFT_TO_RIGHT ? "\\x{200e}" : "\\x{200f}");
        t->at += size;
        return true;
    }
    if (*at == '#') {
        const char *end = memchr(at, '\n', t->length - t->at);
        size = end ? (size_t)(end - at) + 1 : t->length - t->at;
    } else if (!cbe_utf8_is_space(character)) {
        return false;
    }
    put_text(t, " ");
    t->at += size;
    return true;
}

static cbe_status put_atom(translation *t)
{
    const int c = peek(t, 0);
    const size_t begin = t->n;
    cbe_status st = CBE_OK;
    size_t size;
    if (put_blank(t)) return CBE_OK;
    if (c == '\\') {
        st = put_escape(t, false);
    } else if (c == '[') {
        st = put_class(t);
    } else if (c == '(') {
        return put_group(t);
    } else if (c == ')') {
        if (t->depth == 0) return unsupported(t, "a ) without a (");
        for (int i = 0; i <= t->options[t->depth]; i++) put_text(t, ")");
        t->options[t->depth] = 0;
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
        size = character_size(t);
        put(t, t->pattern + t->at, size);
        t->at += size;
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
    if (st == CBE_OK && t.depth > 0) st = unsupported(&t, "a ( without a )");
    for (int i = 0; st == CBE_OK && i < t.options[0]; i++) put_text(&t, ")");
    if (st != CBE_OK) {
        cbe_free(t.out);
        return st;
    }
    t.out[t.n] = 0;
    *out = t.out;
    *out_length = t.n;
    return CBE_OK;
}
