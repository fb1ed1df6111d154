/* mutants.c - see mutants.h. */
#include "mutate/mutants.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

/* SplitMix64. */
uint64_t mutant_random(uint64_t *state, uint64_t n)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return (x ^ (x >> 31)) % n;
}

static void *grown(void *old, size_t size)
{
    void *data = realloc(old, size ? size : 1);
    if (!data) abort();
    return data;
}

/* Puts n bytes (bytes NULL: none) in the place of `cut` bytes at `at`. */
static void splice(mutant *m, size_t at, size_t cut, const void *bytes, size_t n)
{
    unsigned char *data = grown(NULL, m->size - cut + n);
    memcpy(data, m->data, at);
    if (n) memcpy(data + at, bytes, n);
    memcpy(data + at + n, m->data + at + cut, m->size - at - cut);
    free(m->data);
    m->data = data;
    m->size += n - cut;
}

/* Most files have what matters at their beginning, some at their end. */
static size_t place(const mutant *m, uint64_t *state)
{
    const uint64_t how = mutant_random(state, 8);
    size_t reach = m->size;
    if (how >= 3) reach = (size_t)8 << mutant_random(state, 12);
    if (reach > m->size) reach = m->size;
    const size_t at = (size_t)mutant_random(state, reach);
    return how == 7 ? m->size - 1 - at : at;
}

/* Numbers at which arithmetic goes wrong. */
static uint64_t boundary(const mutant *m, uint64_t *state)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       2,
                                       0x7f,
                                       0x80,
                                       0xff,
                                       0x7fff,
                                       0xffff,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff,
                                       0x100000000,
                                       0x7fc00000, /* NaN in float32 */
                                       0x7f800000, /* infinity */
                                       (uint64_t)1 << 40,
                                       (uint64_t)1 << 61,
                                       INT64_MAX,
                                       (uint64_t)1 << 63,
                                       UINT64_MAX - 7,
                                       UINT64_MAX};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    const uint64_t i = mutant_random(state, COUNT + 3);
    return i < COUNT ? numbers[i] : m->size + (i - COUNT) - 1;
}

static void set_integer(mutant *m, size_t at, uint64_t *state)
{
    const size_t width = (size_t)1 << mutant_random(state, 4);
    const uint64_t x = boundary(m, state);
    for (size_t i = 0; i < width && at + i < m->size; i++)
        m->data[at + i] = (unsigned char)(x >> (8 * i));
}

/* The size of a part from `at` on: mostly small. */
static size_t part(const mutant *m, size_t at, uint64_t *state)
{
    const size_t most = (size_t)1 << mutant_random(state, 13);
    const size_t n = 1 + (size_t)mutant_random(state, most), left = m->size - at;
    return n < left ? n : left;
}

static void damage_bytes(mutant *m, size_t at, uint64_t *state)
{
    unsigned char bytes[16];
    const size_t n = part(m, at, state);
    switch (mutant_random(state, 9)) {
    case 0: m->data[at] ^= (unsigned char)(1u << mutant_random(state, 8)); break;
    case 1: m->data[at] = (unsigned char)mutant_random(state, 256); break;
    case 2:
    case 3: set_integer(m, at, state); break;
    case 4: m->data[at] += mutant_random(state, 2) ? 1 : 0xff; break;
    case 5: /* the file is cut */ m->size = at; break;
    case 6: /* a part is missing */ splice(m, at, n, NULL, 0); break;
    case 7: { /* a part is there twice */
        unsigned char *copy = grown(NULL, n);
        memcpy(copy, m->data + at, n);
        splice(m, at, 0, copy, n);
        free(copy);
        break;
    }
    default:
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (unsigned char)mutant_random(state, 256);
        splice(m, at, 0, bytes, 1 + (size_t)mutant_random(state, sizeof bytes));
    }
}

/* Values that a JSON file may have anywhere. */
static const char *const json_values[] = {"0",
                                          "-1",
                                          "1",
                                          "2147483648",
                                          "18446744073709551615",
                                          "99999999999999999999",
                                          "1e400",
                                          "-0.0",
                                          "0.5",
                                          "1e308",
                                          "1e-320",
                                          "NaN",
                                          "null",
                                          "true",
                                          "\"\"",
                                          "\"x\"",
                                          "\"\\u0000\"",
                                          "\"\\u202e\\u009b31m\"",
                                          "[]",
                                          "{}",
                                          "[[[[[[[[]]]]]]]]",
                                          "{\"a\": 1, \"a\": 2}"};

/* The end of the number, word or string at `at`; at itself where none begins there. */
static size_t token_end(const unsigned char *data, size_t at, size_t end)
{
    size_t i = at;
    if (i < end && data[i] == '"') {
        for (i++; i < end && data[i] != '"'; i++) i += data[i] == '\\';
        return i < end ? i + 1 : at;
    }
    while (i < end && data[i] && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzEN", data[i])) i++;
    return i;
}

/* One value of the JSON text in from .. to becomes another. @return by how many bytes it grew */
static size_t damage_json(mutant *m, size_t from, size_t to, uint64_t *state)
{
    enum { TRIES = 200 };
    const size_t before = m->size;
    for (int i = 0; i < TRIES && to > from; i++) {
        size_t at = from + (size_t)mutant_random(state, to - from);
        while (at > from && !strchr(":,[{ \n", m->data[at - 1])) at--;
        const size_t end = token_end(m->data, at, to);
        if (end <= at) continue;
        const char *value =
            json_values[mutant_random(state, sizeof json_values / sizeof *json_values)];
        splice(m, at, end - at, value, strlen(value));
        break;
    }
    return m->size - before;
}

/* A little-endian number of `width` bytes. */
static size_t number_at(const unsigned char *data, size_t width)
{
    size_t x = 0;
    for (size_t i = width; i-- > 0;) x = x << 8 | data[i];
    return x;
}

static void write_number(unsigned char *data, uint64_t x, size_t width)
{
    for (size_t i = 0; i < width; i++) data[i] = (unsigned char)(x >> (8 * i));
}

static void damage_safetensors(mutant *m, uint64_t *state)
{
    const size_t length = m->size >= 8 ? number_at(m->data, 8) : 0;
    if (length == 0 || length > m->size - 8) {
        damage_bytes(m, place(m, state), state);
        return;
    }
    const size_t before = m->size;
    if (mutant_random(state, 2))
        damage_json(m, 8, 8 + length, state);
    else
        damage_bytes(m, 8 + (size_t)mutant_random(state, length), state);
    if (mutant_random(state, 8) != 0 && m->size >= 8)
        write_number(m->data, length + m->size - before, 8);
}

/* A record of a zip archive, by its signature: its place, or m->size where there is none. */
static size_t record(const mutant *m, uint64_t *state)
{
    const size_t from = m->size > 4 ? (size_t)mutant_random(state, m->size) : 0;
    for (size_t i = 0; i + 4 <= m->size; i++) {
        const size_t at = (from + i) % (m->size - 3);
        if (m->data[at] == 'P' && m->data[at + 1] == 'K' && m->data[at + 2] < 8) return at;
    }
    return m->size;
}

static void damage_zip(mutant *m, uint64_t *state)
{
    enum { HEADER = 60 };
    const size_t at = record(m, state);
    if (at == m->size || mutant_random(state, 4) == 0) {
        damage_bytes(m, place(m, state), state);
        return;
    }
    const size_t inside = at + (size_t)mutant_random(state, HEADER);
    damage_bytes(m, inside < m->size ? inside : at, state);
}

/* Where the archive's directory says that data.pkl is stored; false: nowhere. */
static bool find_pickle(const mutant *m, size_t *from, size_t *to)
{
    static const char name[] = "data.pkl";
    enum { CENTRAL = 46, LOCAL = 30, NAME = sizeof name - 1 };
    for (size_t i = 0; i + CENTRAL < m->size; i++) {
        const unsigned char *at = m->data + i;
        if (memcmp(at, "PK\1\2", 4) != 0) continue;
        const size_t length = number_at(at + 28, 2), size = number_at(at + 20, 4);
        const size_t local = number_at(at + 42, 4);
        if (length < NAME || i + CENTRAL + length > m->size || local + LOCAL > m->size) continue;
        if (memcmp(at + CENTRAL + length - NAME, name, NAME) != 0) continue;
        const unsigned char *header = m->data + local;
        *from = local + LOCAL + number_at(header + 26, 2) + number_at(header + 28, 2);
        *to = *from + size;
        return size > 0 && *to <= m->size;
    }
    return false;
}

/* Bytes of the pickle change without changing their number, and then its checksums, of which the
 * archive has one beside the data and one in its directory. */
static void damage_pickle(mutant *m, uint64_t *state)
{
    size_t from, to;
    if (!find_pickle(m, &from, &to)) return;
    mutant inner = {to - from, grown(NULL, to - from)};
    memcpy(inner.data, m->data + from, inner.size);
    unsigned char old[4], now[4];
    write_number(old, crc32(0, m->data + from, (uInt)(to - from)), 4);
    damage_bytes(&inner, place(&inner, state), state);
    memcpy(m->data + from, inner.data, inner.size < to - from ? inner.size : to - from);
    free(inner.data);
    write_number(now, crc32(0, m->data + from, (uInt)(to - from)), 4);
    for (size_t i = 0; i + 4 <= m->size; i++)
        if ((i < from || i >= to) && memcmp(m->data + i, old, 4) == 0) memcpy(m->data + i, now, 4);
}

void mutant_damage(mutant *m, mutant_kind kind, uint64_t *state)
{
    const uint64_t times = 1 + mutant_random(state, 3);
    for (uint64_t i = 0; i < times && m->size > 0; i++) {
        const uint64_t plain = mutant_random(state, 4);
        if (kind == MUTANT_PICKLE)
            damage_pickle(m, state);
        else if (kind == MUTANT_BINARY || plain == 0)
            damage_bytes(m, place(m, state), state);
        else if (kind == MUTANT_JSON)
            damage_json(m, 0, m->size, state);
        else if (kind == MUTANT_SAFETENSORS)
            damage_safetensors(m, state);
        else
            damage_zip(m, state);
    }
}

int mutant_read(mutant *m, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return -1;
    *m = (mutant){0, NULL};
    size_t room = 0, n;
    do {
        if (m->size == room) m->data = grown(m->data, room = room ? 2 * room : 65536);
        n = fread(m->data + m->size, 1, room - m->size, file);
        m->size += n;
    } while (n > 0);
    const int bad = ferror(file);
    fclose(file);
    if (bad) mutant_free(m);
    return bad ? -1 : 0;
}

int mutant_write(const mutant *m, const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file) return -1;
    const int bad = fwrite(m->data, 1, m->size, file) != m->size;
    return fclose(file) != 0 || bad ? -1 : 0;
}

void mutant_free(mutant *m)
{
    free(m->data);
    *m = (mutant){0, NULL};
}
