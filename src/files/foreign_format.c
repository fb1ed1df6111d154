/*
 * foreign_format.c - see foreign_format.h.
 *
 * A plain text may begin with the letters of a magic number ("GGUF is a format"), so a magic number
 * of letters alone counts only where a byte behind it is none of a text.
 */
#include "files/foreign_format.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "core/terms.h"
#include "core/utf8.h"

#define THROUGH(command) "give what is in it: " command " FILE | cbe ... " CBE_OPTION("text") " -"
#define TO_LINES(python) "write it as JSON lines: python -c \"" python "\""
#define ICONV(encoding)  "convert it to UTF-8: iconv -f " encoding " -t UTF-8 FILE >NEW"

/* A format's magic number, which stands at the beginning. */
typedef struct {
    const char *magic;
    size_t size;
    bool letters; /* a byte that no text has must follow within the next 4 */
    cbe_foreign_format format;
} magic_number;

#define MAGIC(bytes) bytes, sizeof bytes - 1

#define PANDAS(read)                                                                               \
    TO_LINES("import pandas; pandas." read                                                         \
             "('FILE').to_json('NEW.jsonl', orient='records', lines=True)")

/* clang-format off */
static const magic_number magic_numbers[] = {
    {MAGIC("\xfd" "7zXZ\0"), false, {"xz data", THROUGH("xz -dc")}},
    {MAGIC("LZIP"), true, {"lzip data", THROUGH("lzip -dc")}},
    {MAGIC("\x04\x22\x4d\x18"), false, {"lz4 data", THROUGH("lz4 -dc")}},
    {MAGIC("\x02\x21\x4c\x18"), false, {"lz4 data of the old format", THROUGH("lz4 -dc")}},
    {MAGIC("\x89LZO\0"), false, {"lzop data", THROUGH("lzop -dc")}},
    {MAGIC("\x1f\x9d"), false, {"data of compress (.Z)", THROUGH("gzip -dc")}},
    {MAGIC("\xff\x06\0\0sNaPpY"), false, {"snappy data", THROUGH("snzip -dc")}},
    {MAGIC("\x1f\x8b"), false, {"gzip data", THROUGH("gzip -dc")}},
    {MAGIC("\x28\xb5\x2f\xfd"), false, {"zstd data", THROUGH("zstd -dc --long=31")}},
    {MAGIC("PK\x03\x04"), false, {"a zip archive", "take the texts out of it with unzip; save an Office document or an e-book as a text; "
                                  "give arrays of NumPy with " CBE_OPTION("tokens") " or " CBE_OPTION("hidden-states")}},
    {MAGIC("PK\x05\x06"), false, {"an empty zip archive", "give another file"}},
    {MAGIC("7z\xbc\xaf\x27\x1c"), false, {"a 7z archive", THROUGH("7z x -so")}},
    {MAGIC("Rar!\x1a\x07"), false, {"a rar archive", "take the texts out of it with unrar"}},
    {MAGIC("PAR1"), true, {"a Parquet table", PANDAS("read_parquet")}},
    {MAGIC("PARE"), true, {"an encrypted Parquet table", "decrypt it, and write it as JSON lines"}},
    {MAGIC("ARROW1\0"), false, {"an Arrow table", PANDAS("read_feather")}},
    {MAGIC("FEA1"), true, {"a Feather table", PANDAS("read_feather")}},
    {MAGIC("ORC"), true, {"an ORC table", PANDAS("read_orc")}},
    {MAGIC("Obj\x01"), false, {"an Avro table", "write it as JSON lines: avro-tools tojson FILE"}},
    {MAGIC("%PDF-1."), false, {"a PDF document", "make a text of it: pdftotext FILE NEW.txt"}},
    {MAGIC("%PDF-2."), false, {"a PDF document", "make a text of it: pdftotext FILE NEW.txt"}},
    {MAGIC("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), false, {"a document of an old Office", "save it as a text"}},
    {MAGIC("\x89HDF\r\n\x1a\n"), false, {"an HDF5 file", "write its texts as JSON lines"}},
    {MAGIC("SQLite format 3\0"), false, {"an SQLite database", "write its texts as JSON lines: sqlite3 FILE \"select json_object('text', COLUMN) from TABLE\""}},
    {MAGIC("\x89PNG\r\n\x1a\n"), false, {"a PNG image", "give a file that holds text"}},
    {MAGIC("\xff\xd8\xff"), false, {"a JPEG image", "give a file that holds text"}},
    {MAGIC("\x7f" "ELF"), false, {"a program", "give a file that holds text"}},
    {MAGIC("GGUF"), true, {"a GGUF model", "give it as the model, and a text beside it"}},
    {MAGIC("\x93NUMPY"), false, {"an array of NumPy", "give ids with " CBE_OPTION("tokens") ", hidden states with " CBE_OPTION("hidden-states")}},
    {MAGIC("MMIDIDX\0"), false, {"an index of token ids (Megatron)", "give the .bin file beside it with " CBE_OPTION("tokens")}},
};
/* clang-format on */

static bool is_control(unsigned char c)
{
    return c < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f';
}

/* By magic numbers of `least` bytes or more. */
static const cbe_foreign_format *find_magic(const unsigned char *bytes, size_t n, size_t least)
{
    for (size_t i = 0; i < sizeof magic_numbers / sizeof *magic_numbers; i++) {
        const magic_number *m = &magic_numbers[i];
        if (m->size < least || n < m->size || memcmp(bytes, m->magic, m->size) != 0) continue;
        bool is_text = m->letters;
        for (size_t k = m->size; k < n && k < m->size + 4; k++)
            if (is_control(bytes[k]) || bytes[k] >= 0x80) is_text = false;
        if (!is_text) return &m->format;
    }
    return NULL;
}

static uint64_t read_number(const unsigned char *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | bytes[i];
    return value;
}

/* The level as a digit, then the mark of a block or of the end. */
static bool is_bzip2(const unsigned char *bytes, size_t n)
{
    return n >= 10 && memcmp(bytes, "BZh", 3) == 0 && bytes[3] >= '1' && bytes[3] <= '9' &&
           (memcmp(bytes + 4, "1AY&SY", 6) == 0 || memcmp(bytes + 4, "\x17rE8P\x90", 6) == 0);
}

/* Frames of zstd before version 0.8, in which the format was settled. */
static bool is_old_zstd(const unsigned char *bytes, size_t n)
{
    return n >= 4 && memcmp(bytes + 1, "\xb5\x2f\xfd", 3) == 0 &&
           (bytes[0] == 0x1e || (bytes[0] >= 0x22 && bytes[0] <= 0x27));
}

/* A .lzma file: no magic number, but properties 0x5d, a dictionary of 2^n or 3 2^n bytes, and the
 * length of the text, which may be unknown. */
static bool is_lzma(const unsigned char *bytes, size_t n)
{
    enum { HEAD = 13, LEAST_DICTIONARY = 1 << 12 };
    if (n < HEAD || bytes[0] != 0x5d) return false;
    uint64_t dictionary = read_number(bytes + 1, 4);
    const uint64_t length = read_number(bytes + 5, 8);
    if (dictionary < LEAST_DICTIONARY) return false;
    while (dictionary % 2 == 0) dictionary /= 2;
    return (dictionary == 1 || dictionary == 3) &&
           (length == UINT64_MAX || length < UINT64_C(1) << 40);
}

/* The first header of a tar archive, by the sum of its bytes, in which the sum itself counts as
 * blanks. */
static bool is_tar(const unsigned char *bytes, size_t n)
{
    enum { HEADER = 512, SUM = 148, SUM_SIZE = 8 };
    unsigned long sum = 0, stored = 0;
    if (n < HEADER) return false;
    for (size_t i = 0; i < HEADER; i++) sum += i - SUM < SUM_SIZE ? ' ' : bytes[i];
    size_t i = SUM;
    while (i < SUM + SUM_SIZE && bytes[i] == ' ') i++;
    const size_t digits = i;
    for (; i < SUM + SUM_SIZE && bytes[i] >= '0' && bytes[i] <= '7'; i++)
        stored = 8 * stored + (unsigned long)(bytes[i] - '0');
    return i > digits && stored == sum;
}

/* zlib's own stream, as of Python's zlib.compress: method and window, then the level with the sum
 * of the two. "x^2" begins alike, so the rest must be no text. */
static bool is_zlib(const unsigned char *bytes, size_t n)
{
    static const unsigned char levels[] = {0x01, 0x5e, 0x9c, 0xda};
    enum { LEAST = 8 }; /* of nothing: head, end and checksum */
    if (n < LEAST || bytes[0] != 0x78 || !memchr(levels, bytes[1], sizeof levels)) return false;
    bool control = false;
    for (size_t i = 1; i < n; i++) control = control || is_control(bytes[i]);
    return control || cbe_utf8_valid_length((const char *)bytes, n) + 4 <= n;
}

/* A TFRecord: the length of a record, and the masked CRC-32C of that length. */
static bool is_tfrecord(const unsigned char *bytes, size_t n)
{
    enum { HEAD = 12 };
    if (n < HEAD) return false;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < 8; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    crc = ~crc;
    return read_number(bytes + 8, 4) == (uint32_t)((crc >> 15 | crc << 17) + UINT32_C(0xa282ead8));
}

static bool is_safetensors(const unsigned char *bytes, size_t n)
{
    const uint64_t header = n >= 10 ? read_number(bytes, 8) : 0;
    return header >= 2 && header < UINT64_C(1) << 32 && bytes[8] == '{' &&
           (bytes[9] == '"' || bytes[9] == '}' || bytes[9] == ' ');
}

/* Messages of a stream: a continuation mark, then the length of the metadata. */
static bool is_arrow_stream(const unsigned char *bytes, size_t n)
{
    return n >= 16 && read_number(bytes, 4) == UINT32_MAX && read_number(bytes + 4, 4) % 8 == 0 &&
           bytes[7] == 0;
}

/* Protocols 2 to 5. No UTF-8 begins with 0x80. */
static bool is_pickle(const unsigned char *bytes, size_t n)
{
    return n >= 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5;
}

static bool is_lfs_pointer(const unsigned char *bytes, size_t n, bool whole)
{
    static const char start[] = "version https://git-lfs.github.com/spec/";
    enum { MOST = 1024 };
    return whole && n < MOST && n >= sizeof start - 1 &&
           memcmp(bytes, start, sizeof start - 1) == 0;
}

/* Code units of 16 or 32 bits.
 * @return the unit at byte i */
static uint32_t unit(const unsigned char *bytes, size_t i, size_t size, bool big)
{
    uint32_t value = 0;
    for (size_t k = 0; k < size; k++)
        value |= (uint32_t)bytes[i + k] << 8 * (big ? size - 1 - k : k);
    return value;
}

/* Whether a text in units of 16 bits, without a mark, is UTF-16: units form characters, none of
 * them a control character or a noncharacter, and some of ASCII. What as bytes may be a text with
 * zeros in it must also look like a script of small code points, whose upper bytes are nearly all
 * below 0x20, or hold many bytes that are neither ASCII nor blanks. */
static bool is_utf16(const unsigned char *bytes, size_t n, bool big)
{
    size_t n_small = 0, n_ascii = 0, n_odd = 0;
    const size_t n_units = n / 2;
    bool pair = false; /* the unit before was the first of a surrogate pair */
    if (n_units < 2) return false;
    for (size_t i = 0; i < n_units; i++) {
        const uint32_t c = unit(bytes, 2 * i, 2, big);
        const bool second = c >= 0xdc00 && c <= 0xdfff;
        if (pair != second) return false;
        pair = c >= 0xd800 && c <= 0xdbff;
        if (c >= 0xfffe || (c < 0x80 && (c == 0x7f || is_control((unsigned char)c)))) return false;
        n_small += c >> 8 < 0x20;
        n_ascii += c < 0x80;
        for (size_t k = 2 * i; k < 2 * i + 2; k++)
            n_odd += bytes[k] >= 0x80 || (bytes[k] != 0 && is_control(bytes[k]));
    }
    return n_ascii > 0 && (n_small >= n_units - n_units / 10 || n_odd >= n_units / 2);
}

static bool is_utf32(const unsigned char *bytes, size_t n, bool big)
{
    const size_t n_units = n / 4;
    if (n_units < 2) return false;
    for (size_t i = 0; i < n_units; i++) {
        const uint32_t c = unit(bytes, 4 * i, 4, big);
        if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return false;
        if (c < 0x80 && (c == 0x7f || is_control((unsigned char)c))) return false;
    }
    return true;
}

static const cbe_foreign_format *find_encoding(const unsigned char *bytes, size_t n)
{
    static const cbe_foreign_format utf16 = {"a text in UTF-16", ICONV("UTF-16")},
                                    utf16_little = {"a text in UTF-16", ICONV("UTF-16LE")},
                                    utf16_big = {"a text in UTF-16", ICONV("UTF-16BE")},
                                    utf32 = {"a text in UTF-32", ICONV("UTF-32")},
                                    utf32_little = {"a text in UTF-32", ICONV("UTF-32LE")},
                                    utf32_big = {"a text in UTF-32", ICONV("UTF-32BE")};
    static const unsigned char little32[] = {0xff, 0xfe, 0, 0}, big32[] = {0, 0, 0xfe, 0xff};
    if (n >= 4 && (memcmp(bytes, little32, 4) == 0 || memcmp(bytes, big32, 4) == 0)) return &utf32;
    if (n >= 2 &&
        ((bytes[0] == 0xff && bytes[1] == 0xfe) || (bytes[0] == 0xfe && bytes[1] == 0xff)))
        return &utf16;
    if (n == 0 || !memchr(bytes, 0, n)) return NULL;
    return is_utf32(bytes, n, false)   ? &utf32_little
           : is_utf32(bytes, n, true)  ? &utf32_big
           : is_utf16(bytes, n, false) ? &utf16_little
           : is_utf16(bytes, n, true)  ? &utf16_big
                                       : NULL;
}

/* Formats without a magic number of their own. */
static const struct {
    bool (*is)(const unsigned char *bytes, size_t n);
    cbe_foreign_format format;
} told_otherwise[] = {
    /* clang-format off */
    {is_bzip2, {"bzip2 data", THROUGH("bzip2 -dc")}},
    {is_old_zstd, {"data of zstd before version 0.8", THROUGH("zstd -dc")}},
    {is_lzma, {"lzma data", THROUGH("xz --format=lzma -dc")}},
    {is_zlib, {"zlib data", THROUGH("python -c \"import sys, zlib; sys.stdout.buffer.write(zlib.decompress(open(sys.argv[1], 'rb').read()))\"")}},
    {is_tar, {"a tar archive", "give the texts in it: tar -xOf FILE | cbe ... " CBE_OPTION("text") " -, or take them out"}},
    {is_safetensors, {"a safetensors file", "give ids with " CBE_OPTION("tokens") ", hidden states with " CBE_OPTION("hidden-states")}},
    {is_arrow_stream, {"an Arrow table", TO_LINES("import datasets; datasets.Dataset.from_file('FILE').to_json('NEW.jsonl')")}},
    {is_tfrecord, {"a TFRecord file", "write its texts as JSON lines, with the package tfrecord"}},
    {is_pickle, {"a pickle", "nothing in it is executed here: write its texts as JSON lines"}},
    /* clang-format on */
};

const cbe_foreign_format *cbe_foreign_format_of(const unsigned char *bytes, size_t n, bool whole)
{
    static const cbe_foreign_format pointer = {"a Git LFS pointer, not the text",
                                               "run 'git lfs pull' in its folder"};
    const cbe_foreign_format *found = find_magic(bytes, n, 0);
    if (!found && is_lfs_pointer(bytes, n, whole)) found = &pointer;
    for (size_t i = 0; !found && i < sizeof told_otherwise / sizeof *told_otherwise; i++)
        if (told_otherwise[i].is(bytes, n)) found = &told_otherwise[i].format;
    return found ? found : find_encoding(bytes, n);
}

const cbe_foreign_format *cbe_foreign_format_by_magic(const unsigned char *bytes, size_t n)
{
    enum { LEAST = 4 };
    return find_magic(bytes, n, LEAST);
}

bool cbe_is_web_page(const unsigned char *bytes, size_t n)
{
    static const char *const beginnings[] = {"<!doctype html", "<html"};
    size_t at = 0;
    while (at < n && bytes[at] && strchr(" \t\r\n", bytes[at])) at++;
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        const size_t length = strlen(beginnings[i]);
        if (n - at > length && strncasecmp((const char *)bytes + at, beginnings[i], length) == 0)
            return true;
    }
    return false;
}
