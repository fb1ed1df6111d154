/* Formats that are no plain text, by their first bytes; and plain texts that begin like them. */
#include "files/foreign_format.h"

#include <stdio.h>
#include <string.h>

#include "support/assert_close.h"

#define BYTES(text) text, sizeof text - 1

static void format__is_told_by_the_first_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *name, *advice; /* a part of it */
    } cases[] = {
        {BYTES("BZh91AY&SY\x01\x02"), "bzip2 data", "bzip2 -dc FILE | cbe"},
        {BYTES("BZh11AY&SY\x01\x02"), "bzip2 data", "bzip2 -dc"},
        {BYTES("BZh9\x17rE8P\x90\0\0\0\0"), "bzip2 data", "bzip2 -dc"}, /* of nothing */
        {BYTES("\xfd"
               "7zXZ\0\0\x04"),
         "xz data", "xz -dc"},
        {BYTES("\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0"), "lzma data", "format=lzma"},
        {BYTES("\x5d\0\0\0\x04\x0b\0\0\0\0\0\0\0\0"), "lzma data", "format=lzma"},
        {BYTES("LZIP\x01\x0c"), "lzip data", "lzip -dc"},
        {BYTES("\x04\x22\x4d\x18\x64\x40"), "lz4 data", "lz4 -dc"},
        {BYTES("\x02\x21\x4c\x18\x0b\0\0\0"), "lz4 data of the old format", "lz4 -dc"},
        {BYTES("\x89LZO\0\r\n\x1a\n"), "lzop data", "lzop -dc"},
        {BYTES("\x1f\x9d\x90text"), "data of compress (.Z)", "gzip -dc"},
        {BYTES("\xff\x06\0\0sNaPpY"), "snappy data", "snzip"},
        {BYTES("\x1f\x8b\x08\0"), "gzip data", "gzip -dc"},
        {BYTES("\x28\xb5\x2f\xfd\x20"), "zstd data", "zstd -dc"},
        {BYTES("\x25\xb5\x2f\xfd\x20"), "data of zstd before version 0.8", "zstd -dc"},
        {BYTES("PK\x03\x04\x14\0"), "a zip archive", "unzip"},
        {BYTES("PK\x05\x06\0\0"), "an empty zip archive", "another file"},
        {BYTES("7z\xbc\xaf\x27\x1c\0\x04"), "a 7z archive", "7z x -so"},
        {BYTES("Rar!\x1a\x07\x01\0"), "a rar archive", "unrar"},
        {BYTES("PAR1\x15\x04\x15"), "a Parquet table", "read_parquet('FILE')"},
        {BYTES("PARE\x15\x04\x15"), "an encrypted Parquet table", "decrypt"},
        {BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "a PNG image", "holds text"},
        {BYTES("\xff\xd8\xff\xe0\0\x10JFIF"), "a JPEG image", "holds text"},
        {BYTES("\x7f"
               "ELF\2\1\1"),
         "a program", "holds text"},
        {BYTES("ARROW1\0\0\xff\xff"), "an Arrow table", "read_feather"},
        {BYTES("\xff\xff\xff\xff\x78\x02\0\0\x10\0\0\0\0\0\x0a\0"), "an Arrow table",
         "Dataset.from_file('FILE')"},
        {BYTES("FEA1\0\0\0\0"), "a Feather table", "read_feather"},
        {BYTES("ORC\x08\x03\x10"), "an ORC table", "read_orc"},
        {BYTES("Obj\x01\x04\x14"), "an Avro table", "avro-tools"},
        {BYTES("%PDF-1.7\n%\xe2\xe3"), "a PDF document", "pdftotext"},
        {BYTES("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0"), "a document of an old Office", "as a text"},
        {BYTES("\x89HDF\r\n\x1a\n\0"), "an HDF5 file", "JSON lines"},
        {BYTES("SQLite format 3\0\x10\0"), "an SQLite database", "sqlite3"},
        {BYTES("GGUF\x03\0\0\0"), "a GGUF model", "as the model"},
        {BYTES("\x93NUMPY\x01\0"), "an array of NumPy", "tokens"},
        {BYTES("MMIDIDX\0\0\x01"), "an index of token ids (Megatron)", ".bin"},
        {BYTES("\x40\0\0\0\0\0\0\0{\"__metadata__\""), "a safetensors file", "tokens"},
        {BYTES("\x80\x04\x95\x10\0"), "a pickle", "executed"},
        {BYTES("\x80\x02}q\0"), "a pickle", "executed"},
        {BYTES("\x04\0\0\0\0\0\0\0BER\x04text"), "a TFRecord file", "tfrecord"},
        {BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
         "a Git LFS pointer, not the text", "git lfs pull"},
        {BYTES("\xff\xfeO\0n\0e\0"), "a text in UTF-16", "-f UTF-16 "},
        {BYTES("\xfe\xff\0O\0n\0e"), "a text in UTF-16", "-f UTF-16 "},
        {BYTES("O\0n\0e\0.\0\n\0"), "a text in UTF-16", "-f UTF-16LE "},
        {BYTES("\0O\0n\0e\0.\0\n"), "a text in UTF-16", "-f UTF-16BE "},
        {BYTES("\x1f\x04@\x04"
               "8\x04\x32\x04 \0<\x04"),
         "a text in UTF-16", "-f UTF-16LE "}, /* Cyrillic */
        {BYTES("\xca\x4e\x29\x59\x29\x59\x14\x6c\x88\x5f\x7d\x59\x02\x30\n\0"), "a text in UTF-16",
         "-f UTF-16LE "}, /* Chinese */
        {BYTES("\xff\xfe\0\0O\0\0\0"), "a text in UTF-32", "-f UTF-32 "},
        {BYTES("\0\0\xfe\xff\0\0\0O"), "a text in UTF-32", "-f UTF-32 "},
        {BYTES("O\0\0\0n\0\0\0"), "a text in UTF-32", "-f UTF-32LE "},
        {BYTES("\0\0\0O\0\0\0n"), "a text in UTF-32", "-f UTF-32BE "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const cbe_foreign_format *got =
            cbe_foreign_format_of((const unsigned char *)cases[i].bytes, cases[i].size, true);
        if (!got) fail_msg("case %zu: not known, %s", i, cases[i].name);
        assert_string_equal(got->name, cases[i].name);
        if (!strstr(got->advice, cases[i].advice))
            fail_msg("%s: '%s' does not say '%s'", got->name, got->advice, cases[i].advice);
    }
}

static void tar__is_told_by_the_sum_of_its_header(void **state)
{
    (void)state;
    unsigned char header[512] = "notes.txt";
    unsigned sum = 8 * ' ';
    memcpy(header + 100, "0000644", 8);
    memcpy(header + 124, "00000000005", 12);
    for (size_t i = 0; i < sizeof header; i++) sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
    const cbe_foreign_format *got = cbe_foreign_format_of(header, sizeof header, false);
    assert_non_null(got);
    assert_string_equal(got->name, "a tar archive");
    header[0]++;
    assert_null(cbe_foreign_format_of(header, sizeof header, false));
}

/* Texts that begin with the letters of a magic number, or hold zeros. */
static void text__is_of_no_foreign_format(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {BYTES("")},
        {BYTES("\0")},
        {BYTES("\0\0\0\0")},
        {BYTES("a\0")},
        {BYTES("One line.\n")},
        {BYTES("GGUF is a format.")},
        {BYTES("GGUF")},
        {BYTES("PAR1 is a parameter")},
        {BYTES("ORCs and elves")},
        {BYTES("LZIP, a program")},
        {BYTES("BZh9 is how it begins")},
        {BYTES("FEA1\n")},
        {BYTES("%PDF- stands first")},
        {BYTES("version https://git-lfs.github.com/ is where")},
        {BYTES("one\0two\0three\0four\0")},
        {BYTES("abc\0abc\0abc\0abc\0")},
        {BYTES("caf\xe9 au lait\n")}, /* Latin-1 */
        {BYTES("\xe4\xbd\xa0\xe5\xa5\xbd")},
        {BYTES("]\0\0 an array")},
        {BYTES("\x80 sign")},
        {BYTES("some words \xff\xfe and some more\0")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const cbe_foreign_format *got =
            cbe_foreign_format_of((const unsigned char *)cases[i].bytes, cases[i].size, true);
        if (got) fail_msg("case %zu is taken for %s", i, got->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format__is_told_by_the_first_bytes),
        cmocka_unit_test(tar__is_told_by_the_sum_of_its_header),
        cmocka_unit_test(text__is_of_no_foreign_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
