/* npy.c - see npy.h. The literal is read strictly: the keys descr, fortran_order and shape, each
 * once, in any order. */
#include "formats/npy.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

static const unsigned char magic[CBE_NPY_MAGIC_SIZE] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

enum { DESCR = 1, FORTRAN_ORDER = 2, SHAPE = 4, ALL_KEYS = 7, SHOWN = 40 };

typedef struct {
    const char *at, *end;
} literal;

bool cbe_npy_is(const unsigned char *data, size_t size)
{
    return size >= sizeof magic && memcmp(data, magic, sizeof magic) == 0;
}

static void skip_blanks(literal *l)
{
    while (l->at < l->end && (*l->at == ' ' || *l->at == '\n' || *l->at == '\t')) l->at++;
}

/* Takes the character c, after blanks. */
static bool take(literal *l, char c)
{
    skip_blanks(l);
    if (l->at == l->end || *l->at != c) return false;
    l->at++;
    return true;
}

static bool take_word(literal *l, const char *word)
{
    const size_t length = strlen(word);
    skip_blanks(l);
    if ((size_t)(l->end - l->at) < length || memcmp(l->at, word, length) != 0) return false;
    l->at += length;
    return true;
}

/* Takes a string in quotes, without escapes. */
static bool take_string(literal *l, const char **text, size_t *length)
{
    skip_blanks(l);
    if (l->at == l->end || (*l->at != '\'' && *l->at != '"')) return false;
    const char quote = *l->at++, *begin = l->at;
    while (l->at < l->end && *l->at != quote && *l->at != '\\') l->at++;
    if (l->at == l->end || *l->at != quote) return false;
    *text = begin;
    *length = (size_t)(l->at++ - begin);
    return true;
}

static bool take_size(literal *l, size_t *value)
{
    size_t digits = 0;
    skip_blanks(l);
    for (*value = 0; l->at < l->end && *l->at >= '0' && *l->at <= '9'; l->at++, digits++)
        if (!cbe_mul_size(*value, 10, value) ||
            !cbe_add_size(*value, (size_t)(*l->at - '0'), value))
            return false;
    return digits > 0;
}

/* Takes "(2, 3)", "(2,)" or "()". */
static bool take_shape(literal *l, cbe_tensor *out)
{
    if (!take(l, '(')) return false;
    for (out->n_dims = 0; !take(l, ')'); out->n_dims++) {
        if (out->n_dims == CBE_MAX_DIMS || !take_size(l, &out->dims[out->n_dims])) return false;
        if (!take(l, ',')) {
            out->n_dims++;
            return take(l, ')');
        }
    }
    return true;
}

static cbe_status read_type(const char *text, size_t length, const char *path, cbe_tensor *out,
                            cbe_error *err)
{
    static const struct {
        const char *descr;
        cbe_dtype dtype;
    } types[] = {{"<f4", CBE_F32}, {"<f8", CBE_F64}, {"<f2", CBE_F16}, {"<i8", CBE_I64},
                 {"<i4", CBE_I32}, {"|b1", CBE_U8},  {"|u1", CBE_U8},  {"<u2", CBE_U16},
                 {"<u4", CBE_U32}, {"<u8", CBE_U64}, {"<i2", CBE_I16}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (length == strlen(types[i].descr) && memcmp(text, types[i].descr, length) == 0) {
            out->dtype = types[i].dtype;
            out->is_bool = strcmp(types[i].descr, "|b1") == 0;
            return CBE_OK;
        }
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: arrays of type '%.*s' cannot be read; save it as float32, or ids as int64",
                    path, (int)(length < SHOWN ? length : SHOWN), text);
}

static cbe_status wrong(const char *path, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: damaged head of a NumPy array; save it again with numpy.save", path);
}

/* Reads the dictionary; *fortran: whether the order is Fortran's. */
static cbe_status read_dictionary(literal *l, const char *path, cbe_tensor *out, bool *fortran,
                                  cbe_error *err)
{
    int keys = 0;
    if (!take(l, '{')) return wrong(path, err);
    while (!take(l, '}')) {
        const char *name, *value;
        size_t length;
        if (!take_string(l, &name, &length) || !take(l, ':')) return wrong(path, err);
        int key = 0;
        if (length == 5 && memcmp(name, "descr", 5) == 0) {
            key = DESCR;
            if (!take_string(l, &value, &length)) return wrong(path, err);
            const cbe_status st = read_type(value, length, path, out, err);
            if (st != CBE_OK) return st;
        } else if (length == 13 && memcmp(name, "fortran_order", 13) == 0) {
            key = FORTRAN_ORDER;
            *fortran = take_word(l, "True");
            if (!*fortran && !take_word(l, "False")) return wrong(path, err);
        } else if (length == 5 && memcmp(name, "shape", 5) == 0) {
            key = SHAPE;
            if (!take_shape(l, out)) return wrong(path, err);
        }
        if (key == 0 || (keys & key)) return wrong(path, err);
        keys |= key;
        if (!take(l, ',')) {
            if (!take(l, '}')) return wrong(path, err);
            break;
        }
    }
    skip_blanks(l);
    return keys == ALL_KEYS && l->at == l->end ? CBE_OK : wrong(path, err);
}

cbe_status cbe_npy_read_head(const unsigned char *data, size_t size, size_t file_size,
                             const char *path, cbe_tensor *out, size_t *head_size, cbe_error *err)
{
    enum { SHORT_HEAD = CBE_NPY_MAGIC_SIZE + 2 + 2, LONG_HEAD = CBE_NPY_MAGIC_SIZE + 2 + 4 };
    if (!cbe_npy_is(data, size))
        return cbe_fail(err, CBE_ERR_FORMAT, 0, "%s: does not begin as a NumPy array", path);
    if (size < LONG_HEAD) return wrong(path, err);
    const unsigned major = data[CBE_NPY_MAGIC_SIZE];
    if (major < 1 || major > 3)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, CBE_NPY_MAGIC_SIZE,
                        "%s: version %u of NumPy's format cannot be read", path, major);
    const size_t begin = major == 1 ? SHORT_HEAD : LONG_HEAD;
    const unsigned char *l = data + CBE_NPY_MAGIC_SIZE + 2;
    size_t length = (size_t)l[0] | (size_t)l[1] << 8;
    if (major > 1) length |= (size_t)l[2] << 16 | (size_t)l[3] << 24;
    if (length > size - begin) return wrong(path, err);
    literal text = {(const char *)data + begin, (const char *)data + begin + length};
    cbe_tensor made = {.n_elements = 1};
    bool fortran = false;
    cbe_status st = read_dictionary(&text, path, &made, &fortran, err);
    if (st != CBE_OK) return st;
    if (fortran && made.n_dims > 1)
        return cbe_fail(
            err, CBE_ERR_UNSUPPORTED, -1,
            "%s: the array lies in Fortran's order; save it through numpy.ascontiguousarray", path);
    for (size_t i = 0; i < made.n_dims; i++)
        if (!cbe_mul_size(made.n_elements, made.dims[i], &made.n_elements)) return wrong(path, err);
    if (!cbe_mul_size(made.n_elements, cbe_dtype_get(made.dtype)->block_bytes, &made.n_bytes))
        return wrong(path, err);
    if (made.n_bytes > file_size - begin - length)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: truncated: %zu bytes of numbers are missing; make it again", path,
                        made.n_bytes - (file_size - begin - length));
    made.name = out->name;
    *out = made;
    *head_size = begin + length;
    return CBE_OK;
}
