/*
 * pickle_tensors.c - see pickle_tensors.h. Opcodes: Python's Lib/pickletools.py.
 *
 * Values are records in one array and refer to each other by index, so that nothing is copied,
 * nothing is walked recursively, and what is used twice takes room once. An opcode is at least one
 * byte, makes at most one value and puts it on the stack at most once, and takes at most what is
 * there: arrays with one place for each byte of the pickle cannot overflow.
 */
#include "formats/pickle_tensors.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

enum { LOWEST_PROTOCOL = 2, HIGHEST_PROTOCOL = 5, MOST_TEXT = 256, MOST_LONG = 8 };

typedef uint32_t value_index;
static const value_index NO_VALUE = UINT32_MAX;

typedef enum {
    V_NONE,
    V_BOOL,
    V_INTEGER,
    V_TEXT,
    V_TUPLE,
    V_DICT,
    V_GLOBAL,
    V_STORAGE,
    V_TENSOR
} value_kind;
static const char *const kind_names[] = {"None",   "a boolean", "an integer", "a string", "a tuple",
                                         "a dict", "a global",  "a storage",  "a tensor"};
_Static_assert(sizeof kind_names / sizeof *kind_names == V_TENSOR + 1, "one name for each kind");

typedef enum { G_ORDERED_DICT, G_REBUILD_TENSOR, G_REBUILD_PARAMETER, G_STORAGE } global_role;

/* All that a state dict may name. dtype CBE_N_DTYPES: a storage that is known, but not read. */
static const struct {
    const char *module, *name;
    global_role role;
    cbe_dtype dtype;
} globals[] = {
    {"collections", "OrderedDict", G_ORDERED_DICT, CBE_N_DTYPES},
    {"torch._utils", "_rebuild_tensor_v2", G_REBUILD_TENSOR, CBE_N_DTYPES},
    {"torch._utils", "_rebuild_parameter", G_REBUILD_PARAMETER, CBE_N_DTYPES},
    {"torch", "FloatStorage", G_STORAGE, CBE_F32},
    {"torch", "DoubleStorage", G_STORAGE, CBE_F64},
    {"torch", "HalfStorage", G_STORAGE, CBE_F16},
    {"torch", "BFloat16Storage", G_STORAGE, CBE_BF16},
    {"torch", "LongStorage", G_STORAGE, CBE_N_DTYPES},
    {"torch", "IntStorage", G_STORAGE, CBE_N_DTYPES},
    {"torch", "ShortStorage", G_STORAGE, CBE_N_DTYPES},
    {"torch", "CharStorage", G_STORAGE, CBE_N_DTYPES},
    {"torch", "ByteStorage", G_STORAGE, CBE_N_DTYPES},
    {"torch", "BoolStorage", G_STORAGE, CBE_N_DTYPES},
    {"torch", "ComplexFloatStorage", G_STORAGE, CBE_N_DTYPES},
    {"torch", "ComplexDoubleStorage", G_STORAGE, CBE_N_DTYPES},
    {"torch.storage", "UntypedStorage", G_STORAGE, CBE_N_DTYPES},
};
enum { N_GLOBALS = sizeof globals / sizeof *globals };

typedef struct {
    const char *start; /* in the pickle; no 0 at its end */
    size_t length;
} text;

typedef struct {
    value_kind kind;
    union {
        int64_t integer; /* booleans too */
        text text;
        struct {
            uint32_t first, count; /* in items */
        } tuple;
        struct {
            uint32_t first, last; /* in pairs, a chain; NO_VALUE: empty */
            bool ordered;
        } dict;
        size_t global;
        struct {
            cbe_dtype dtype;
            uint32_t global;
            value_index key;
            int64_t n_elements;
        } storage;
        struct {
            value_index storage, dims, strides;
            int64_t offset;
        } tensor;
    } as;
} value;

typedef struct {
    value_index key, value;
    uint32_t next;
} pair;

typedef struct {
    const char *path;
    const unsigned char *data;
    size_t size, at, opcode; /* opcode: where the one in work began */
    value *values;
    value_index *stack, *items, *memo; /* memo: NO_VALUE where there is nothing */
    size_t *marks;                     /* heights of the stack */
    pair *pairs;
    size_t n_values, height, n_items, n_marks, n_pairs, n_memo;
    cbe_error *err;
} machine;

/* Names of all opcodes, for the message of those that are refused. */
static const char *opcode_name(unsigned char code)
{
    static const struct {
        unsigned char code;
        const char *name;
    } names[] = {
        {'(', "MARK"},
        {'.', "STOP"},
        {'0', "POP"},
        {'1', "POP_MARK"},
        {'2', "DUP"},
        {'F', "FLOAT"},
        {'I', "INT"},
        {'J', "BININT"},
        {'K', "BININT1"},
        {'L', "LONG"},
        {'M', "BININT2"},
        {'N', "NONE"},
        {'P', "PERSID"},
        {'Q', "BINPERSID"},
        {'R', "REDUCE"},
        {'S', "STRING"},
        {'T', "BINSTRING"},
        {'U', "SHORT_BINSTRING"},
        {'V', "UNICODE"},
        {'X', "BINUNICODE"},
        {'a', "APPEND"},
        {'b', "BUILD"},
        {'c', "GLOBAL"},
        {'d', "DICT"},
        {'}', "EMPTY_DICT"},
        {'e', "APPENDS"},
        {'g', "GET"},
        {'h', "BINGET"},
        {'i', "INST"},
        {'j', "LONG_BINGET"},
        {'l', "LIST"},
        {']', "EMPTY_LIST"},
        {'o', "OBJ"},
        {'p', "PUT"},
        {'q', "BINPUT"},
        {'r', "LONG_BINPUT"},
        {'s', "SETITEM"},
        {'t', "TUPLE"},
        {')', "EMPTY_TUPLE"},
        {'u', "SETITEMS"},
        {'G', "BINFLOAT"},
        {0x80, "PROTO"},
        {0x81, "NEWOBJ"},
        {0x82, "EXT1"},
        {0x83, "EXT2"},
        {0x84, "EXT4"},
        {0x85, "TUPLE1"},
        {0x86, "TUPLE2"},
        {0x87, "TUPLE3"},
        {0x88, "NEWTRUE"},
        {0x89, "NEWFALSE"},
        {0x8a, "LONG1"},
        {0x8b, "LONG4"},
        {'B', "BINBYTES"},
        {'C', "SHORT_BINBYTES"},
        {0x8c, "SHORT_BINUNICODE"},
        {0x8d, "BINUNICODE8"},
        {0x8e, "BINBYTES8"},
        {0x8f, "EMPTY_SET"},
        {0x90, "ADDITEMS"},
        {0x91, "FROZENSET"},
        {0x92, "NEWOBJ_EX"},
        {0x93, "STACK_GLOBAL"},
        {0x94, "MEMOIZE"},
        {0x95, "FRAME"},
        {0x96, "BYTEARRAY8"},
        {0x97, "NEXT_BUFFER"},
        {0x98, "READONLY_BUFFER"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code) return names[i].name;
    return NULL;
}

static cbe_status fail(const machine *m, const char *what)
{
    return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode, "%s: %s (byte %zu of its pickle)",
                    m->path, what, m->opcode);
}

static cbe_status fail_opcode(const machine *m, unsigned char code)
{
    const char *name = opcode_name(code);
    if (!name)
        return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                        "%s: 0x%02x is no opcode of a pickle (byte %zu of its pickle)", m->path,
                        code, m->opcode);
    return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                    "%s: refused: opcode %s (byte %zu of its pickle) has no place in a state dict; "
                    "only tensors are "
                    "read, nothing is executed",
                    m->path, name, m->opcode);
}

/* n bytes at the cursor, which moves behind them; NULL when there are fewer. */
static const unsigned char *take(machine *m, size_t n)
{
    if (n > m->size - m->at) {
        fail(m, "truncated: the pickle ends inside an opcode");
        return NULL;
    }
    m->at += n;
    return m->data + m->at - n;
}

/* A little-endian number of n bytes. */
static bool take_number(machine *m, size_t n, uint64_t *out)
{
    const unsigned char *bytes = take(m, n);
    if (!bytes) return false;
    *out = 0;
    for (size_t i = n; i-- > 0;) *out = *out << 8 | bytes[i];
    return true;
}

static cbe_status push(machine *m, value v)
{
    m->values[m->n_values] = v;
    m->stack[m->height++] = (value_index)m->n_values++;
    return CBE_OK;
}

/* The lowest height that an opcode may take values from: those below a mark are not its own. */
static size_t floor_of(const machine *m)
{
    return m->n_marks ? m->marks[m->n_marks - 1] : 0;
}

static cbe_status pop(machine *m, value_index *out)
{
    if (m->height <= floor_of(m)) return fail(m, "an opcode takes a value from an empty stack");
    *out = m->stack[--m->height];
    return CBE_OK;
}

static cbe_status pop_mark(machine *m, size_t *height)
{
    if (m->n_marks == 0) return fail(m, "an opcode needs a mark, and there is none");
    *height = m->marks[--m->n_marks];
    return CBE_OK;
}

static cbe_status push_integer(machine *m, int64_t integer)
{
    return push(m, (value){V_INTEGER, {.integer = integer}});
}

/* Values from `from` to the top of the stack become a tuple. */
static cbe_status push_tuple(machine *m, size_t from)
{
    const value v = {V_TUPLE, {.tuple = {(uint32_t)m->n_items, (uint32_t)(m->height - from)}}};
    memcpy(m->items + m->n_items, m->stack + from, (m->height - from) * sizeof *m->stack);
    m->n_items += m->height - from;
    m->height = from;
    return push(m, v);
}

static cbe_status push_short_tuple(machine *m, size_t n)
{
    if (m->height - floor_of(m) < n) return fail(m, "an opcode takes a value from an empty stack");
    return push_tuple(m, m->height - n);
}

static cbe_status push_text(machine *m, size_t length_bytes)
{
    uint64_t length;
    const unsigned char *bytes;
    if (!take_number(m, length_bytes, &length)) return CBE_ERR_FORMAT;
    if (!(bytes = take(m, (size_t)length))) return CBE_ERR_FORMAT;
    return push(m, (value){V_TEXT, {.text = {(const char *)bytes, (size_t)length}}});
}

static cbe_status push_long(machine *m)
{
    uint64_t n, bits;
    if (!take_number(m, 1, &n)) return CBE_ERR_FORMAT;
    if (n > MOST_LONG) return fail(m, "an integer of more than 64 bits");
    if (!take_number(m, (size_t)n, &bits)) return CBE_ERR_FORMAT;
    if (n > 0 && n < MOST_LONG && bits >> (8 * n - 1)) bits |= UINT64_MAX << 8 * n; /* the sign */
    int64_t integer;
    memcpy(&integer, &bits, sizeof integer);
    return push_integer(m, integer);
}

static bool text_is(text t, const char *word)
{
    return strlen(word) == t.length && memcmp(word, t.start, t.length) == 0;
}

static cbe_status push_global(machine *m, text module, text name)
{
    for (size_t i = 0; i < N_GLOBALS; i++)
        if (text_is(module, globals[i].module) && text_is(name, globals[i].name))
            return push(m, (value){V_GLOBAL, {.global = i}});
    const int shown[2] = {module.length < 100 ? (int)module.length : 100,
                          name.length < 100 ? (int)name.length : 100};
    return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                    "%s: refused: the pickle names '%.*s.%.*s' (byte %zu), which has no place in a "
                    "state dict; only tensors are "
                    "read, nothing is executed",
                    m->path, shown[0], module.start, shown[1], name.start, m->opcode);
}

/* A line of GLOBAL, without its end. */
static bool take_line(machine *m, text *out)
{
    const unsigned char *start = m->data + m->at, *end = memchr(start, '\n', m->size - m->at);
    if (!end) {
        fail(m, "truncated: the pickle ends inside an opcode");
        return false;
    }
    *out = (text){(const char *)start, (size_t)(end - start)};
    m->at += out->length + 1;
    return true;
}

static cbe_status global(machine *m)
{
    text module, name;
    if (!take_line(m, &module) || !take_line(m, &name)) return CBE_ERR_FORMAT;
    return push_global(m, module, name);
}

static cbe_status stack_global(machine *m)
{
    value_index name = 0, module = 0;
    cbe_status st;
    if ((st = pop(m, &name)) != CBE_OK || (st = pop(m, &module)) != CBE_OK) return st;
    if (m->values[name].kind != V_TEXT || m->values[module].kind != V_TEXT)
        return fail(m, "STACK_GLOBAL needs two strings");
    return push_global(m, m->values[module].as.text, m->values[name].as.text);
}

static cbe_status memo_put(machine *m, uint64_t index)
{
    if (m->height <= floor_of(m)) return fail(m, "an opcode takes a value from an empty stack");
    if (index >= m->size) return fail(m, "an index of the memo is larger than the pickle");
    if (m->memo[index] == NO_VALUE) m->n_memo++;
    m->memo[index] = m->stack[m->height - 1];
    return CBE_OK;
}

static cbe_status memo_get(machine *m, uint64_t index)
{
    if (index >= m->size || m->memo[index] == NO_VALUE)
        return fail(m, "nothing was put where the memo is read");
    m->stack[m->height++] = m->memo[index];
    return CBE_OK;
}

static cbe_status put_numbered(machine *m, size_t bytes)
{
    uint64_t index;
    return take_number(m, bytes, &index) ? memo_put(m, index) : CBE_ERR_FORMAT;
}

static cbe_status get_numbered(machine *m, size_t bytes)
{
    uint64_t index;
    return take_number(m, bytes, &index) ? memo_get(m, index) : CBE_ERR_FORMAT;
}

/* Keys and values from `from` to the top of the stack go to the dict below them. */
static cbe_status set_items(machine *m, size_t from)
{
    if (from <= floor_of(m) || m->values[m->stack[from - 1]].kind != V_DICT)
        return fail(m, "items are set of something that is no dict");
    if ((m->height - from) % 2 != 0) return fail(m, "a key without a value");
    value *dict = &m->values[m->stack[from - 1]];
    for (size_t i = from; i < m->height; i += 2) {
        const uint32_t number = (uint32_t)m->n_pairs++;
        m->pairs[number] = (pair){m->stack[i], m->stack[i + 1], NO_VALUE};
        if (dict->as.dict.first == NO_VALUE)
            dict->as.dict.first = number;
        else
            m->pairs[dict->as.dict.last].next = number;
        dict->as.dict.last = number;
    }
    m->height = from;
    return CBE_OK;
}

static cbe_status push_dict(machine *m, bool ordered)
{
    return push(m, (value){V_DICT, {.dict = {NO_VALUE, NO_VALUE, ordered}}});
}

/* Item i of a tuple. */
static const value *item(const machine *m, const value *tuple, size_t i)
{
    return &m->values[m->items[tuple->as.tuple.first + i]];
}

static cbe_status persistent_id(machine *m)
{
    value_index index = 0;
    const cbe_status st = pop(m, &index);
    if (st != CBE_OK) return st;
    const value *id = &m->values[index];
    if (id->kind != V_TUPLE || id->as.tuple.count != 5 || item(m, id, 0)->kind != V_TEXT ||
        !text_is(item(m, id, 0)->as.text, "storage") || item(m, id, 1)->kind != V_GLOBAL ||
        globals[item(m, id, 1)->as.global].role != G_STORAGE || item(m, id, 2)->kind != V_TEXT ||
        item(m, id, 3)->kind != V_TEXT || item(m, id, 4)->kind != V_INTEGER)
        return fail(m, "a persistent id is not ('storage', type, key, device, number of elements)");
    const size_t type = item(m, id, 1)->as.global;
    return push(
        m, (value){V_STORAGE,
                   {.storage = {globals[type].dtype, (uint32_t)type,
                                m->items[id->as.tuple.first + 2], item(m, id, 4)->as.integer}}});
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks[, metadata]) */
static cbe_status rebuild_tensor(machine *m, const value *arguments)
{
    const size_t n = arguments->as.tuple.count;
    static const value_kind kinds[] = {V_STORAGE, V_INTEGER, V_TUPLE, V_TUPLE,
                                       V_BOOL,    V_DICT,    V_DICT};
    static const char *const wanted[] = {"the storage", "the offset",    "the size",
                                         "the strides", "requires_grad", "backward_hooks",
                                         "metadata"};
    if (n != 6 && n != 7) return fail(m, "_rebuild_tensor_v2 with a wrong number of arguments");
    for (size_t i = 0; i < n; i++)
        if (item(m, arguments, i)->kind != kinds[i])
            return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                            "%s: _rebuild_tensor_v2: %s is %s (byte %zu of its pickle)", m->path,
                            wanted[i], kind_names[item(m, arguments, i)->kind], m->opcode);
    for (size_t i = 5; i < n; i++)
        if (item(m, arguments, i)->as.dict.first != NO_VALUE)
            return fail(m, "_rebuild_tensor_v2: a tensor with hooks or metadata cannot be read");
    const value_index *at = m->items + arguments->as.tuple.first;
    return push(
        m, (value){V_TENSOR, {.tensor = {at[0], at[2], at[3], item(m, arguments, 1)->as.integer}}});
}

static cbe_status reduce(machine *m)
{
    value_index a = 0, f = 0;
    cbe_status st;
    if ((st = pop(m, &a)) != CBE_OK || (st = pop(m, &f)) != CBE_OK) return st;
    const value *arguments = &m->values[a], *function = &m->values[f];
    if (arguments->kind != V_TUPLE) return fail(m, "REDUCE without a tuple of arguments");
    if (function->kind != V_GLOBAL)
        return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                        "%s: refused: REDUCE calls %s (byte %zu of its pickle)", m->path,
                        kind_names[function->kind], m->opcode);
    const size_t n = arguments->as.tuple.count;
    switch (globals[function->as.global].role) {
    case G_ORDERED_DICT:
        if (n != 0) return fail(m, "OrderedDict with arguments");
        return push_dict(m, true);
    case G_REBUILD_TENSOR: return rebuild_tensor(m, arguments);
    case G_REBUILD_PARAMETER: /* (tensor, requires_grad, backward_hooks) */
        if (n != 3 || item(m, arguments, 0)->kind != V_TENSOR ||
            item(m, arguments, 1)->kind != V_BOOL || item(m, arguments, 2)->kind != V_DICT)
            return fail(m, "_rebuild_parameter with wrong arguments");
        m->stack[m->height++] = m->items[arguments->as.tuple.first];
        return CBE_OK;
    case G_STORAGE: break;
    }
    return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                    "%s: refused: REDUCE calls %s.%s (byte %zu of its pickle)", m->path,
                    globals[function->as.global].module, globals[function->as.global].name,
                    m->opcode);
}

/* The state that nn.Module.state_dict() gives its OrderedDict: {'_metadata': OrderedDict of
 * versions}. It says nothing of the tensors, and is dropped. */
static cbe_status build(machine *m)
{
    value_index s = 0;
    const cbe_status st = pop(m, &s);
    if (st != CBE_OK) return st;
    const value *state = &m->values[s];
    if (m->height <= floor_of(m) || m->values[m->stack[m->height - 1]].kind != V_DICT ||
        !m->values[m->stack[m->height - 1]].as.dict.ordered)
        return fail(m, "refused: BUILD of something other than an OrderedDict");
    if (state->kind != V_DICT) return fail(m, "refused: BUILD with a state that is no dict");
    for (uint32_t i = state->as.dict.first; i != NO_VALUE; i = m->pairs[i].next) {
        const value *key = &m->values[m->pairs[i].key];
        if (key->kind != V_TEXT || !text_is(key->as.text, "_metadata"))
            return fail(m, "refused: BUILD with a state other than '_metadata'");
    }
    return CBE_OK;
}

static cbe_status check_frame(machine *m)
{
    uint64_t length;
    if (!take_number(m, 8, &length)) return CBE_ERR_FORMAT;
    return length <= m->size - m->at ? CBE_OK
                                     : fail(m, "truncated: a frame is longer than the pickle");
}

static cbe_status check_protocol(machine *m)
{
    uint64_t protocol;
    if (!take_number(m, 1, &protocol)) return CBE_ERR_FORMAT;
    if (m->opcode != 0) return fail(m, "PROTO stands elsewhere than at the start");
    return protocol >= LOWEST_PROTOCOL && protocol <= HIGHEST_PROTOCOL
               ? CBE_OK
               : fail(m, "the pickle's protocol is not one of 2 to 5");
}

/* Everything but STOP. */
static cbe_status step(machine *m, unsigned char code)
{
    uint64_t n;
    size_t from = 0;
    switch (code) {
    case 0x80: return check_protocol(m);
    case 0x95: return check_frame(m);
    case '(': m->marks[m->n_marks++] = m->height; return CBE_OK;
    case 'N': return push(m, (value){V_NONE, {0}});
    case 0x88: return push(m, (value){V_BOOL, {.integer = 1}});
    case 0x89: return push(m, (value){V_BOOL, {.integer = 0}});
    case 'J':
        return take_number(m, 4, &n)
                   ? push_integer(m, (int64_t)n - (n >> 31 ? INT64_C(1) << 32 : 0))
                   : CBE_ERR_FORMAT;
    case 'K': return take_number(m, 1, &n) ? push_integer(m, (int64_t)n) : CBE_ERR_FORMAT;
    case 'M': return take_number(m, 2, &n) ? push_integer(m, (int64_t)n) : CBE_ERR_FORMAT;
    case 0x8a: return push_long(m);
    case 'X': return push_text(m, 4);
    case 0x8c: return push_text(m, 1);
    case ')': return push_tuple(m, m->height);
    case 0x85: return push_short_tuple(m, 1);
    case 0x86: return push_short_tuple(m, 2);
    case 0x87: return push_short_tuple(m, 3);
    case 't': return pop_mark(m, &from) == CBE_OK ? push_tuple(m, from) : CBE_ERR_FORMAT;
    case '}': return push_dict(m, false);
    case 's':
        return m->height - floor_of(m) < 2 ? fail(m, "an opcode takes a value from an empty stack")
                                           : set_items(m, m->height - 2);
    case 'u': return pop_mark(m, &from) == CBE_OK ? set_items(m, from) : CBE_ERR_FORMAT;
    case 'q': return put_numbered(m, 1);
    case 'r': return put_numbered(m, 4);
    case 0x94: return memo_put(m, m->n_memo);
    case 'h': return get_numbered(m, 1);
    case 'j': return get_numbered(m, 4);
    case 'c': return global(m);
    case 0x93: return stack_global(m);
    case 'Q': return persistent_id(m);
    case 'R': return reduce(m);
    case 'b': return build(m);
    default: return fail_opcode(m, code);
    }
}

static cbe_status run(machine *m, value_index *result)
{
    cbe_status st;
    if (m->size == 0 || *m->data != 0x80) {
        m->opcode = 0;
        return fail(m, "not a pickle of protocol 2 or later");
    }
    for (;;) {
        m->opcode = m->at;
        const unsigned char *code = take(m, 1);
        if (!code) return CBE_ERR_FORMAT;
        if (*code == '.') break;
        if ((st = step(m, *code)) != CBE_OK) return st;
    }
    if (m->at != m->size) return fail(m, "bytes behind the pickle's end");
    if (m->n_marks || m->height != 1) return fail(m, "the pickle does not end with one value");
    *result = m->stack[0];
    return CBE_OK;
}

static cbe_status copy_text(const machine *m, const value *v, const char *what, char **out)
{
    const text t = v->as.text;
    bool plain = v->kind == V_TEXT && t.length > 0 && t.length <= MOST_TEXT;
    for (size_t i = 0; plain && i < t.length; i++)
        plain = (unsigned char)t.start[i] > 0x20 && t.start[i] != 0x7f;
    if (!plain)
        return cbe_fail(m->err, CBE_ERR_FORMAT, -1,
                        "%s: %s of its pickle is not a string of 1 to %d characters without blanks",
                        m->path, what, MOST_TEXT);
    *out = cbe_copy_string(t.start, t.length, m->err);
    return *out ? CBE_OK : CBE_ERR_NOMEM;
}

static bool is_size(const value *v)
{
    return v->kind == V_INTEGER && v->as.integer >= 0;
}

/* Sizes and strides, and that no element lies outside the storage. */
static cbe_status place(const machine *m, const value *v, cbe_pickle_tensor *t)
{
    const value *storage = &m->values[v->as.tensor.storage], *dims = &m->values[v->as.tensor.dims],
                *strides = &m->values[v->as.tensor.strides];
    if (v->as.tensor.offset < 0 || storage->as.storage.n_elements < 0)
        return cbe_fail(m->err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s': a negative offset or length of its storage", m->path,
                        t->name);
    t->offset = (size_t)v->as.tensor.offset;
    t->storage_elements = (size_t)storage->as.storage.n_elements;
    t->n_dims = dims->as.tuple.count;
    if (t->n_dims > CBE_MAX_DIMS || strides->as.tuple.count != t->n_dims)
        return cbe_fail(m->err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s': %zu dimensions and %zu strides; as many of both, at most "
                        "%d, can be read",
                        m->path, t->name, t->n_dims, (size_t)strides->as.tuple.count, CBE_MAX_DIMS);
    size_t last = 0, product;
    bool fits = true;
    t->n_elements = 1;
    for (size_t i = 0; i < t->n_dims; i++) {
        if (!is_size(item(m, dims, i)) || !is_size(item(m, strides, i)))
            return cbe_fail(m->err, CBE_ERR_FORMAT, -1,
                            "%s: tensor '%s': a size or stride that is negative or no integer",
                            m->path, t->name);
        t->dims[i] = (size_t)item(m, dims, i)->as.integer;
        t->strides[i] = (size_t)item(m, strides, i)->as.integer;
        fits = fits && cbe_mul_size(t->n_elements, t->dims[i], &t->n_elements);
        if (t->dims[i] > 0)
            fits = fits && cbe_mul_size(t->dims[i] - 1, t->strides[i], &product) &&
                   cbe_add_size(last, product, &last);
    }
    if (!fits)
        return cbe_fail(m->err, CBE_ERR_FORMAT, -1, "%s: tensor '%s': its size or strides overflow",
                        m->path, t->name);
    if (t->n_elements == 0) return CBE_OK;
    if (t->offset >= t->storage_elements || last >= t->storage_elements - t->offset)
        return cbe_fail(m->err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s' leaves its storage: its last element is number %zu + %zu, "
                        "the storage has %zu",
                        m->path, t->name, t->offset, last, t->storage_elements);
    t->extent = last + 1;
    return CBE_OK;
}

static cbe_status record(const machine *m, const pair *p, cbe_pickle_tensor *t)
{
    cbe_status st;
    const value *v = &m->values[p->value];
    if ((st = copy_text(m, &m->values[p->key], "a key", &t->name)) != CBE_OK) return st;
    if (v->kind != V_TENSOR)
        return cbe_fail(m->err, CBE_ERR_FORMAT, -1,
                        "%s: entry '%s' is %s, a state dict holds tensors only", m->path, t->name,
                        kind_names[v->kind]);
    const value *storage = &m->values[v->as.tensor.storage];
    t->dtype = storage->as.storage.dtype;
    if (t->dtype == CBE_N_DTYPES)
        return cbe_fail(
            m->err, CBE_ERR_UNSUPPORTED, -1,
            "%s: tensor '%s' is a %s: convert it to float32, float64, float16 or bfloat16", m->path,
            t->name, globals[storage->as.storage.global].name);
    if ((st = copy_text(m, &m->values[storage->as.storage.key], "a storage's key", &t->storage)) !=
        CBE_OK)
        return st;
    if (strspn(t->storage, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz") !=
        strlen(t->storage))
        return cbe_fail(m->err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s': '%.80s' cannot be the key of a storage", m->path, t->name,
                        t->storage);
    return place(m, v, t);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const cbe_pickle_tensor *)a)->name, ((const cbe_pickle_tensor *)b)->name);
}

static cbe_status collect(const machine *m, value_index result, cbe_pickle_tensors *out)
{
    cbe_status st;
    const value *dict = &m->values[result];
    if (dict->kind != V_DICT)
        return cbe_fail(m->err, CBE_ERR_FORMAT, -1, "%s: holds %s, not a state dict of tensors",
                        m->path, kind_names[dict->kind]);
    size_t n = 0;
    for (uint32_t i = dict->as.dict.first; i != NO_VALUE; i = m->pairs[i].next) n++;
    if (!(out->tensors = cbe_alloc_zero(n, sizeof *out->tensors, "list of tensors", m->err)))
        return CBE_ERR_NOMEM;
    for (uint32_t i = dict->as.dict.first; i != NO_VALUE; i = m->pairs[i].next)
        if ((st = record(m, &m->pairs[i], &out->tensors[out->n++])) != CBE_OK) return st;
    qsort(out->tensors, n, sizeof *out->tensors, compare_names);
    for (size_t i = 1; i < n; i++)
        if (compare_names(&out->tensors[i - 1], &out->tensors[i]) == 0)
            return cbe_fail(m->err, CBE_ERR_FORMAT, -1, "%s: tensor '%s' is there twice", m->path,
                            out->tensors[i].name);
    return CBE_OK;
}

cbe_status cbe_pickle_tensors_read(cbe_pickle_tensors *out, const unsigned char *data, size_t size,
                                   const char *path, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    cbe_pickle_tensors made = {0};
    machine m = {.path = path, .data = data, .size = size, .err = err};
    value_index result = 0;
    if (size > CBE_PICKLE_MOST)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: its pickle has %zu bytes, at most %d are read", path, size,
                        CBE_PICKLE_MOST);
    if (!(m.values = cbe_alloc(size, sizeof *m.values, "pickle", err)) ||
        !(m.stack = cbe_alloc(size, sizeof *m.stack, "pickle", err)) ||
        !(m.items = cbe_alloc(size, sizeof *m.items, "pickle", err)) ||
        !(m.memo = cbe_alloc(size, sizeof *m.memo, "pickle", err)) ||
        !(m.marks = cbe_alloc(size, sizeof *m.marks, "pickle", err)) ||
        !(m.pairs = cbe_alloc(size, sizeof *m.pairs, "pickle", err)))
        goto done;
    for (size_t i = 0; i < size; i++) m.memo[i] = NO_VALUE;
    if ((st = run(&m, &result)) != CBE_OK) goto done;
    if ((st = collect(&m, result, &made)) != CBE_OK) goto done;
    *out = made;
    made = (cbe_pickle_tensors){0};
done:
    cbe_pickle_tensors_free(&made);
    cbe_free(m.values);
    cbe_free(m.stack);
    cbe_free(m.items);
    cbe_free(m.memo);
    cbe_free(m.marks);
    cbe_free(m.pairs);
    return st;
}

void cbe_pickle_tensors_free(cbe_pickle_tensors *tensors)
{
    for (size_t i = 0; i < tensors->n; i++) {
        cbe_free(tensors->tensors[i].name);
        cbe_free(tensors->tensors[i].storage);
    }
    cbe_free(tensors->tensors);
    *tensors = (cbe_pickle_tensors){0};
}
