/* raw_ids.c - see raw_ids.h. */
#include "text/raw_ids.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/utf8.h"
#include "files/foreign_format.h"
#include "files/input_list.h"
#include "files/mapped_file.h"
#include "files/sha256.h"
#include "formats/npy.h"

enum {
    LOOKED_AT = 1 << 22, /* bytes by which the type is told */
    LLMC_INTS = 256,
    LLMC_HEAD = 4 * LLMC_INTS /* bytes */
};

typedef struct {
    const char *name;
    size_t size;
    bool is_signed;
} id_type;

/* The widest first. */
static const id_type types[] = {{"int64", 8, true}, {"uint32", 4, false}, {"uint16", 2, false}};
enum { N_TYPES = sizeof types / sizeof *types };

bool cbe_raw_ids_named(const char *path)
{
    const char *ending = strrchr(path, '.');
    unsigned char head[CBE_NPY_MAGIC_SIZE];
    if (!ending) return false;
    if (strcasecmp(ending, ".bin") == 0 || strcasecmp(ending, ".ds") == 0) return true;
    if (strcasecmp(ending, ".npy") != 0) return false;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    const ssize_t n = read(fd, head, sizeof head);
    close(fd);
    return n == (ssize_t)sizeof head && !cbe_npy_is(head, sizeof head);
}

static uint64_t number_at(const unsigned char *data, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | data[i];
    return value;
}

/* An id as int64; what int64 has no room for is the largest one, which no vocabulary has. */
static int64_t id_at(const unsigned char *data, const id_type *type)
{
    const uint64_t value = number_at(data, type->size);
    if (type->is_signed && type->size < sizeof value && value >> (8 * type->size - 1))
        return (int64_t)value - (INT64_C(1) << 8 * type->size);
    return value > INT64_MAX && !type->is_signed ? INT64_MAX : (int64_t)value;
}

/* Index of the first of n ids that is not below the size of the vocabulary; n: there is none. */
static size_t first_beyond(const unsigned char *data, size_t n, const id_type *type,
                           size_t vocab_size)
{
    for (size_t i = 0; i < n; i++)
        if (number_at(data + i * type->size, type->size) >= vocab_size) return i;
    return n;
}

/* Whether ids are rather parts of wider ids, whose further parts are small. */
static bool are_parts(const unsigned char *data, size_t size, size_t narrow, size_t wide)
{
    enum { SMALL = 16 };
    size_t upper = 0, lower = 0;
    const size_t n = size / wide;
    for (size_t i = 0; i < n; i++) {
        bool small = true;
        for (size_t k = narrow; k < wide; k += narrow)
            small &= number_at(data + wide * i + k, narrow) < SMALL;
        lower += number_at(data + wide * i, narrow) < SMALL;
        upper += small;
    }
    return n > 0 && upper >= n - n / 10 && lower < n / 2;
}

/* The width that ids of a narrower type seem to have; their own, if that is none. */
static size_t true_width(const unsigned char *data, size_t size, size_t narrow)
{
    for (size_t wide = 8; wide > narrow; wide /= 2)
        if (are_parts(data, size, narrow, wide)) return wide;
    return narrow;
}

/* The type of ids that no head and no index names. */
static cbe_status guess(const id_type **out, const char *path, const unsigned char *data,
                        size_t size, size_t vocab_size, cbe_error *err)
{
    const size_t part = size < LOOKED_AT ? size : LOOKED_AT;
    const id_type *narrowest = &types[vocab_size > UINT16_MAX + 1 ? 1 : 2], *found = NULL;
    for (const id_type *t = types; t <= narrowest && !found; t++)
        if (size % t->size == 0 &&
            first_beyond(data, part / t->size, t, vocab_size) == part / t->size)
            found = t;
    if (size % narrowest->size)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: %zu bytes are no whole number of ids of %s; make or copy it again",
                        path, size, narrowest->name);
    const size_t width = found ? true_width(data, part, found->size) : 0;
    if (found && width == found->size) {
        *out = found;
        return CBE_OK;
    }
    if (found && size % width)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: looks like ids of %s, but was cut off: %zu bytes are no whole number "
                        "of them; make or copy it again",
                        path, width == 8 ? "int64" : "uint32", size);
    if (found)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: looks like ids of %s, of which some are not below the size of the "
                        "vocabulary, %zu; were they made by another model's tokenizer?",
                        path, width == 8 ? "int64" : "uint32", vocab_size);
    const size_t i = first_beyond(data, part / narrowest->size, narrowest, vocab_size);
    return cbe_fail(
        err, CBE_ERR_ARG, -1,
        "%s: read as %s, id %zu is %llu, but the vocabulary has %zu tokens; ids of "
        "another type or of another model's tokenizer? A file of numpy.save (.npy) tells its type",
        path, narrowest->name, i,
        (unsigned long long)number_at(data + i * narrowest->size, narrowest->size), vocab_size);
}

/* The type that Megatron's index names, NAME.idx beside NAME.bin; *type stays where there is
 * none. */
static cbe_status read_index(const id_type **type, const char *path, cbe_error *err)
{
    static const id_type by_code[] = {
        {NULL, 0, false},   {"uint8", 1, false}, {"int8", 1, true},
        {"int16", 2, true}, {"int32", 4, true},  {"int64", 8, true},
        {NULL, 0, false},   {NULL, 0, false},    {"uint16", 2, false}};
    static const char magic[] = "MMIDIDX\0\0"; /* then the version, and the type's code */
    enum { MAGIC = sizeof magic - 1, CODE = MAGIC + 8 };
    unsigned char head[CODE + 1];
    const size_t length = strlen(path);
    char *index = cbe_copy_string(path, length, err);
    if (!index) return CBE_ERR_NOMEM;
    bool is_index = length > 4 && strcasecmp(path + length - 4, ".bin") == 0;
    if (is_index) {
        memcpy(index + length - 4, ".idx", 4);
        const int fd = open(index, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        is_index = fd >= 0 && read(fd, head, sizeof head) == (ssize_t)sizeof head &&
                   memcmp(head, magic, MAGIC) == 0;
        if (fd >= 0) close(fd);
    }
    cbe_status st = CBE_OK;
    if (is_index) {
        const size_t code = head[CODE];
        if (code < sizeof by_code / sizeof *by_code && by_code[code].name)
            *type = &by_code[code];
        else
            st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                          "%s: names type %zu of Megatron's, of which no ids are", index, code);
    }
    cbe_free(index);
    return st;
}

/* The head of llm.c; *type stays where there is none. */
static cbe_status read_head(const id_type **type, size_t *head_size, const char *path,
                            const unsigned char *data, size_t size, cbe_error *err)
{
    static const struct {
        uint32_t magic;
        const id_type *type; /* NULL: no list of ids */
    } heads[] = {{20240520, &types[2]}, {20240801, &types[1]}, {20240522, NULL}};
    if (size < LLMC_HEAD) return CBE_OK;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        if (number_at(data, 4) != heads[i].magic) continue;
        for (size_t k = 4; k < LLMC_INTS; k++)
            if (number_at(data + 4 * k, 4) != 0 && heads[i].type) return CBE_OK;
        if (!heads[i].type)
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, 0,
                            "%s: holds llm.c's examples of an evaluation, no list of ids", path);
        const uint64_t n = number_at(data + 8, 4), there = (size - LLMC_HEAD) / heads[i].type->size;
        if (n != there || (size - LLMC_HEAD) % heads[i].type->size)
            return cbe_fail(err, CBE_ERR_FORMAT, 8,
                            "%s: the head says %llu ids, %llu are there; make or copy it again",
                            path, (unsigned long long)n, (unsigned long long)there);
        *type = heads[i].type;
        *head_size = LLMC_HEAD;
    }
    return CBE_OK;
}

/* Refuses files of other formats, and texts. By chance ids begin like a shorter magic number. */
static cbe_status refuse_others(const char *path, const unsigned char *data, size_t size,
                                cbe_error *err)
{
    enum { LEAST_TEXT = 16 };
    const size_t n = size < CBE_FOREIGN_HEAD ? size : CBE_FOREIGN_HEAD;
    const cbe_foreign_format *other = cbe_foreign_format_by_magic(data, n);
    size_t controls = 0;
    if (other)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, 0, "%s: is %s, no list of token ids", path,
                        other->name);
    for (size_t i = 0; i < n; i++)
        controls += data[i] < 0x20 && data[i] != '\t' && data[i] != '\n' && data[i] != '\r';
    if (n >= LEAST_TEXT && controls == 0 && cbe_utf8_valid_length((const char *)data, n) + 4 > n)
        return cbe_fail(err, CBE_ERR_FORMAT, 0,
                        "%s: is a text, no list of token ids; give it with " CBE_OPTION("text"),
                        path);
    return CBE_OK;
}

static cbe_status note(const cbe_mapped_file *file, size_t used, cbe_inputs *inputs, cbe_error *err)
{
    char digest[CBE_SHA256_TEXT] = "";
    if (!inputs) return CBE_OK;
    if (inputs->digests) cbe_sha256_bytes(file->data, used, digest);
    return cbe_inputs_add_read(inputs, CBE_INPUT_TOKENS, file->path, &file->identity, used, digest,
                               err);
}

cbe_status cbe_raw_ids_read(cbe_raw_ids *out, const char *path, size_t vocab_size, size_t most,
                            size_t memory, cbe_inputs *inputs, cbe_error *err)
{
    cbe_mapped_file file = {0};
    const id_type *type = NULL;
    size_t head = 0;
    int64_t *ids = NULL;
    cbe_status st = cbe_mapped_file_open(&file, path, err);
    if (st != CBE_OK) return st;
    if (file.size == 0) {
        st = cbe_fail(err, CBE_ERR_SHAPE, -1, "%s: is empty, and holds no token", path);
        goto done;
    }
    if ((st = read_index(&type, path, err)) != CBE_OK) goto done;
    if (!type && (st = read_head(&type, &head, path, file.data, file.size, err)) != CBE_OK)
        goto done;
    if (!type && (st = refuse_others(path, file.data, file.size, err)) != CBE_OK) goto done;
    if (!type && (st = guess(&type, path, file.data, file.size, vocab_size, err)) != CBE_OK)
        goto done;
    const size_t all = (file.size - head) / type->size, n = most && most < all ? most : all;
    if (file.size == head) {
        st = cbe_fail(err, CBE_ERR_SHAPE, -1, "%s: holds no token behind its head", path);
        goto done;
    }
    if ((file.size - head) % type->size || all == 0) {
        st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                      "%s: %zu bytes are no whole number of ids of %s; make or copy it again", path,
                      file.size - head, type->name);
        goto done;
    }
    if (memory && n > memory / sizeof *ids) {
        st = cbe_fail(
            err, CBE_ERR_ARG, -1,
            "%s: %zu ids take %.1f GB, %.1f GB are left; give fewer with " CBE_OPTION("max-tokens"),
            path, n, 1e-9 * sizeof *ids * (double)n, 1e-9 * (double)memory);
        goto done;
    }
    if (!(ids = cbe_alloc(n, sizeof *ids, "token ids", err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    for (size_t i = 0; i < n; i++) ids[i] = id_at(file.data + head + i * type->size, type);
    if ((st = note(&file, head + n * type->size, inputs, err)) != CBE_OK) goto done;
    *out = (cbe_raw_ids){ids, n, all - n, type->name};
    ids = NULL;
done:
    cbe_free(ids);
    cbe_mapped_file_close(&file);
    return st;
}
