/*
 * unembed_hash.c - the hash by which tuned-lens tells models apart: see cbe_unembed_hash in
 * lens/tuned_lens.h.
 *
 * It hashes numpy.array_str(W, precision=1), so the text must be NumPy's to the character
 * (numpy/_core/arrayprint.py, NumPy 2; older versions differ only for entries of a million and
 * more): - of more than 1000 elements, only the first and last 3 of each dimension longer than 6,
 * with "..." between them; - one digit after the point, none where no element has one; scientific
 * notation where, among the elements shown, the
 *   largest is 10^6 or more, the smallest but 0 below 10^-4, or their ratio above 1000;
 * - otherwise each element without a 0 behind its point, but as wide as the widest on both sides of
 * it;
 * - lines of at most 75 characters.
 */
#include <math.h>
#include <nettle/base16.h>
#include <nettle/sha2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lens/tuned_lens.h"

enum { THRESHOLD = 1000, EDGE = 3, LINE_WIDTH = 75, WORD = 64 };
_Static_assert(CBE_UNEMBED_HASH_SIZE == BASE16_ENCODE_LENGTH(SHA256_DIGEST_SIZE) + 1,
               "digits and a 0");

/* State of printing a matrix. */
typedef struct {
    const float *x;
    size_t rows, columns;
    bool summary;
    bool scientific;
    int digits;    /* digits after the point: 0 or 1 */
    size_t before; /* characters before the point */
    struct sha256_ctx hash;
} printer;

/* Number of indices shown of a dimension, and the i-th index shown. */
static size_t n_shown(const printer *p, size_t length)
{
    return p->summary && length > 2 * EDGE ? 2 * EDGE : length;
}

static size_t shown(const printer *p, size_t length, size_t i)
{
    return n_shown(p, length) == length || i < EDGE ? i : length - 2 * EDGE + i;
}

static float element(const printer *p, size_t i, size_t j)
{
    return p->x[shown(p, p->rows, i) * p->columns + shown(p, p->columns, j)];
}

/* Formats x with `digits` digits behind the point, which stays if there are none. Correctly
 * rounded, ties to even, as in NumPy. */
static void format(const printer *p, float x, int digits, char word[WORD])
{
    snprintf(word, WORD, p->scientific ? "%#.*e" : "%#.*f", digits, (double)x);
}

/* Number of digits after the point that an element needs, at most 1: none if the digit is 0, or if
 * fewer digits tell the element from its neighbours (the smallest subnormal numbers). */
static int digits_needed(const printer *p, float x)
{
    char word[WORD];
    if (p->scientific) {
        format(p, x, 0, word);
        if (strtof(word, NULL) == x) return 0;
    }
    format(p, x, 1, word);
    return strchr(word, '.')[1] == '0' ? 0 : 1;
}

static void choose_format(printer *p)
{
    float largest = 0, smallest = INFINITY;
    const size_t rows = n_shown(p, p->rows), columns = n_shown(p, p->columns);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            const float magnitude = fabsf(element(p, i, j));
            if (magnitude == 0) continue;
            largest = fmaxf(largest, magnitude);
            smallest = fminf(smallest, magnitude);
        }
    p->scientific =
        largest > 0 && (largest >= 1e6f || smallest < 1e-4f || largest / smallest > 1000.0f);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            char word[WORD];
            const int digits = digits_needed(p, element(p, i, j));
            if (digits > p->digits) p->digits = digits;
            format(p, element(p, i, j), 1, word);
            const size_t before = (size_t)(strchr(word, '.') - word);
            if (before > p->before) p->before = before;
        }
}

static void put(printer *p, const char *text, size_t length)
{
    sha256_update(&p->hash, length, (const uint8_t *)text);
}

static void put_text(printer *p, const char *text)
{
    put(p, text, strlen(text));
}

/* Adds a word to a line. If the word does not fit, the line ends without its trailing blanks, and
 * the next line is indented. */
static void add_word(printer *p, char *line, size_t *length, const char *word)
{
    /* leaves room for two brackets at the line's end */
    enum { INDENT = 2, WIDTH = LINE_WIDTH - 2 };
    const size_t n = strlen(word);
    if (*length + n > WIDTH && *length > INDENT) {
        while (*length > 0 && line[*length - 1] == ' ') --*length;
        put(p, line, *length);
        put_text(p, "\n");
        memset(line, ' ', INDENT);
        *length = INDENT;
    }
    memcpy(line + *length, word, n);
    *length += n;
}

static void put_row(printer *p, size_t i)
{
    char line[LINE_WIDTH + 2 * WORD] = {i == 0 ? '[' : ' ', '['}, word[WORD], padded[2 * WORD];
    size_t length = 2;
    const size_t columns = n_shown(p, p->columns);
    for (size_t j = 0; j < columns; j++) {
        if (columns < p->columns && j == EDGE) {
            add_word(p, line, &length, "...");
            line[length++] = ' ';
        }
        format(p, element(p, i, j), p->digits, word);
        const size_t before = (size_t)(strchr(word, '.') - word);
        if (!p->scientific && word[before + 1] == '0') word[before + 1] = ' ';
        snprintf(padded, sizeof padded, "%*s%s", (int)(p->before > before ? p->before - before : 0),
                 "", word);
        add_word(p, line, &length, padded);
        if (j + 1 < columns) line[length++] = ' ';
    }
    put(p, line, length);
    put_text(p, "]");
}

void cbe_unembed_hash(const cbe_decoder *decoder, char hash[CBE_UNEMBED_HASH_SIZE])
{
    printer p = {
        .x = decoder->unembedding, .rows = decoder->vocab_size, .columns = decoder->hidden_size};
    uint8_t digest[SHA256_DIGEST_SIZE];
    p.summary = p.rows * p.columns > THRESHOLD;
    choose_format(&p);
    sha256_init(&p.hash);
    const size_t rows = n_shown(&p, p.rows);
    for (size_t i = 0; i < rows; i++) {
        if (rows < p.rows && i == EDGE) put_text(&p, " ...\n");
        put_row(&p, i);
        if (i + 1 < rows) put_text(&p, "\n");
    }
    put_text(&p, "]");
    sha256_digest(&p.hash, sizeof digest, digest);
    base16_encode_update(hash, sizeof digest, digest);
    hash[CBE_UNEMBED_HASH_SIZE - 1] = 0;
}
