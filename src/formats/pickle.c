/*
 * pickle.c - see pickle.h. Opcodes: Python's Lib/pickletools.py.
 *
 * An opcode has at least one byte, makes at most one value and pushes it at most once, so arrays
 * with one place for each byte of the pickle cannot overflow.
 */
#include "formats/pickle.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

enum { LOWEST_PROTOCOL = 2, HIGHEST_PROTOCOL = 5, MOST_LONG = 8 };

typedef enum { G_ORDERED_DICT, G_REBUILD_TENSOR, G_REBUILD_PARAMETER, G_STORAGE } global_role;

/* The globals that a state dict may name. dtype CBE_N_DTYPES: a storage that is known but not
 * read. */
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
    const char *path;
    const unsigned char *data;
    size_t size, at, opcode; /* opcode: first byte of the current opcode */
    cbe_pickle made;
    uint32_t *stack, *memo; /* memo: CBE_PICKLE_NOTHING in empty places */
    size_t *marks;          /* heights of the stack at the marks */
    size_t n_values, height, n_items, n_marks, n_pairs, n_memo;
    cbe_error *err;
} machine;

/* Name of an opcode, for the message that refuses it. */
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

/* Takes n bytes at the cursor; NULL if fewer are left. */
static const unsigned char *take(machine *m, size_t n)
{
    if (n > m->size - m->at) {
        fail(m, "truncated: the pickle ends inside an opcode");
        return NULL;
    }
    m->at += n;
    return m->data + m->at - n;
}

/* Takes a little-endian number of n bytes. */
static bool take_number(machine *m, size_t n, uint64_t *out)
{
    const unsigned char *bytes = take(m, n);
    if (!bytes) return false;
    *out = 0;
    for (size_t i = n; i-- > 0;) *out = *out << 8 | bytes[i];
    return true;
}

static cbe_status push(machine *m, cbe_pickle_value v)
{
    m->made.values[m->n_values] = v;
    m->stack[m->height++] = (uint32_t)m->n_values++;
    return CBE_OK;
}

/* The lowest height from which an opcode may take values: values below a mark are not its own. */
static size_t floor_of(const machine *m)
{
    return m->n_marks ? m->marks[m->n_marks - 1] : 0;
}

static cbe_status pop(machine *m, uint32_t *out)
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
    return push(m, (cbe_pickle_value){CBE_PICKLE_INTEGER, {.integer = integer}});
}

/* Replaces the values from `from` to the top of the stack by a tuple. */
static cbe_status push_tuple(machine *m, size_t from)
{
    const cbe_pickle_value v = {CBE_PICKLE_TUPLE,
                                {.tuple = {(uint32_t)m->n_items, (uint32_t)(m->height - from)}}};
    memcpy(m->made.items + m->n_items, m->stack + from, (m->height - from) * sizeof *m->stack);
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
    return push(
        m, (cbe_pickle_value){CBE_PICKLE_TEXT, {.text = {(const char *)bytes, (size_t)length}}});
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

static bool text_is(cbe_pickle_text t, const char *word)
{
    return strlen(word) == t.length && memcmp(word, t.start, t.length) == 0;
}

static cbe_status push_global(machine *m, cbe_pickle_text module, cbe_pickle_text name)
{
    for (size_t i = 0; i < N_GLOBALS; i++)
        if (text_is(module, globals[i].module) && text_is(name, globals[i].name))
            return push(m, (cbe_pickle_value){CBE_PICKLE_GLOBAL, {.global = i}});
    const int shown[2] = {module.length < 100 ? (int)module.length : 100,
                          name.length < 100 ? (int)name.length : 100};
    return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                    "%s: refused: the pickle names '%.*s.%.*s' (byte %zu), which has no place in a "
                    "state dict; only tensors are "
                    "read, nothing is executed",
                    m->path, shown[0], module.start, shown[1], name.start, m->opcode);
}

/* Takes a line of GLOBAL, without its end. */
static bool take_line(machine *m, cbe_pickle_text *out)
{
    const unsigned char *start = m->data + m->at, *end = memchr(start, '\n', m->size - m->at);
    if (!end) {
        fail(m, "truncated: the pickle ends inside an opcode");
        return false;
    }
    *out = (cbe_pickle_text){(const char *)start, (size_t)(end - start)};
    m->at += out->length + 1;
    return true;
}

static cbe_status global(machine *m)
{
    cbe_pickle_text module, name;
    if (!take_line(m, &module) || !take_line(m, &name)) return CBE_ERR_FORMAT;
    return push_global(m, module, name);
}

static cbe_status stack_global(machine *m)
{
    uint32_t name = 0, module = 0;
    cbe_status st;
    if ((st = pop(m, &name)) != CBE_OK || (st = pop(m, &module)) != CBE_OK) return st;
    if (m->made.values[name].kind != CBE_PICKLE_TEXT ||
        m->made.values[module].kind != CBE_PICKLE_TEXT)
        return fail(m, "STACK_GLOBAL needs two strings");
    return push_global(m, m->made.values[module].as.text, m->made.values[name].as.text);
}

static cbe_status memo_put(machine *m, uint64_t index)
{
    if (m->height <= floor_of(m)) return fail(m, "an opcode takes a value from an empty stack");
    if (index >= m->size) return fail(m, "an index of the memo is larger than the pickle");
    if (m->memo[index] == CBE_PICKLE_NOTHING) m->n_memo++;
    m->memo[index] = m->stack[m->height - 1];
    return CBE_OK;
}

static cbe_status memo_get(machine *m, uint64_t index)
{
    if (index >= m->size || m->memo[index] == CBE_PICKLE_NOTHING)
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

/* Moves keys and values from `from` to the top of the stack into the dict below them. */
static cbe_status set_items(machine *m, size_t from)
{
    if (from <= floor_of(m) || m->made.values[m->stack[from - 1]].kind != CBE_PICKLE_DICT)
        return fail(m, "items are set of something that is no dict");
    if ((m->height - from) % 2 != 0) return fail(m, "a key without a value");
    cbe_pickle_value *dict = &m->made.values[m->stack[from - 1]];
    for (size_t i = from; i < m->height; i += 2) {
        const uint32_t number = (uint32_t)m->n_pairs++;
        m->made.pairs[number] = (cbe_pickle_pair){m->stack[i], m->stack[i + 1], CBE_PICKLE_NOTHING};
        if (dict->as.dict.first == CBE_PICKLE_NOTHING)
            dict->as.dict.first = number;
        else
            m->made.pairs[dict->as.dict.last].next = number;
        dict->as.dict.last = number;
    }
    m->height = from;
    return CBE_OK;
}

static cbe_status push_dict(machine *m, bool ordered)
{
    return push(m, (cbe_pickle_value){CBE_PICKLE_DICT,
                                      {.dict = {CBE_PICKLE_NOTHING, CBE_PICKLE_NOTHING, ordered}}});
}

static cbe_status persistent_id(machine *m)
{
    uint32_t index = 0;
    const cbe_status st = pop(m, &index);
    if (st != CBE_OK) return st;
    const cbe_pickle_value *id = &m->made.values[index];
    if (id->kind != CBE_PICKLE_TUPLE || id->as.tuple.count != 5 ||
        cbe_pickle_item(&m->made, id, 0)->kind != CBE_PICKLE_TEXT ||
        !text_is(cbe_pickle_item(&m->made, id, 0)->as.text, "storage") ||
        cbe_pickle_item(&m->made, id, 1)->kind != CBE_PICKLE_GLOBAL ||
        globals[cbe_pickle_item(&m->made, id, 1)->as.global].role != G_STORAGE ||
        cbe_pickle_item(&m->made, id, 2)->kind != CBE_PICKLE_TEXT ||
        cbe_pickle_item(&m->made, id, 3)->kind != CBE_PICKLE_TEXT ||
        cbe_pickle_item(&m->made, id, 4)->kind != CBE_PICKLE_INTEGER)
        return fail(m, "a persistent id is not ('storage', type, key, device, number of elements)");
    const size_t type = cbe_pickle_item(&m->made, id, 1)->as.global;
    const cbe_pickle_value storage = {
        CBE_PICKLE_STORAGE,
        {.storage = {.dtype = globals[type].dtype,
                     .key = m->made.items[id->as.tuple.first + 2],
                     .type = globals[type].name,
                     .n_elements = cbe_pickle_item(&m->made, id, 4)->as.integer}}};
    return push(m, storage);
}

/* Records a call of _rebuild_tensor_v2(storage, offset, size, stride, requires_grad,
 * backward_hooks[, metadata]). */
static cbe_status rebuild_tensor(machine *m, const cbe_pickle_value *arguments)
{
    const size_t n = arguments->as.tuple.count;
    static const cbe_pickle_kind kinds[] = {
        CBE_PICKLE_STORAGE, CBE_PICKLE_INTEGER, CBE_PICKLE_TUPLE, CBE_PICKLE_TUPLE,
        CBE_PICKLE_BOOL,    CBE_PICKLE_DICT,    CBE_PICKLE_DICT};
    static const char *const wanted[] = {"the storage", "the offset",    "the size",
                                         "the strides", "requires_grad", "backward_hooks",
                                         "metadata"};
    if (n != 6 && n != 7) return fail(m, "_rebuild_tensor_v2 with a wrong number of arguments");
    for (size_t i = 0; i < n; i++)
        if (cbe_pickle_item(&m->made, arguments, i)->kind != kinds[i])
            return cbe_fail(
                m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                "%s: _rebuild_tensor_v2: %s is %s (byte %zu of its pickle)", m->path, wanted[i],
                cbe_pickle_kind_name(cbe_pickle_item(&m->made, arguments, i)), m->opcode);
    for (size_t i = 5; i < n; i++)
        if (cbe_pickle_item(&m->made, arguments, i)->as.dict.first != CBE_PICKLE_NOTHING)
            return fail(m, "_rebuild_tensor_v2: a tensor with hooks or metadata cannot be read");
    const uint32_t *at = m->made.items + arguments->as.tuple.first;
    return push(
        m, (cbe_pickle_value){CBE_PICKLE_TENSOR,
                              {.tensor = {at[0], at[2], at[3],
                                          cbe_pickle_item(&m->made, arguments, 1)->as.integer}}});
}

static cbe_status reduce(machine *m)
{
    uint32_t a = 0, f = 0;
    cbe_status st;
    if ((st = pop(m, &a)) != CBE_OK || (st = pop(m, &f)) != CBE_OK) return st;
    const cbe_pickle_value *arguments = &m->made.values[a], *function = &m->made.values[f];
    if (arguments->kind != CBE_PICKLE_TUPLE) return fail(m, "REDUCE without a tuple of arguments");
    if (function->kind != CBE_PICKLE_GLOBAL)
        return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                        "%s: refused: REDUCE calls %s (byte %zu of its pickle)", m->path,
                        cbe_pickle_kind_name(function), m->opcode);
    const size_t n = arguments->as.tuple.count;
    switch (globals[function->as.global].role) {
    case G_ORDERED_DICT:
        if (n != 0) return fail(m, "OrderedDict with arguments");
        return push_dict(m, true);
    case G_REBUILD_TENSOR: return rebuild_tensor(m, arguments);
    case G_REBUILD_PARAMETER: /* (tensor, requires_grad, backward_hooks) */
        if (n != 3 || cbe_pickle_item(&m->made, arguments, 0)->kind != CBE_PICKLE_TENSOR ||
            cbe_pickle_item(&m->made, arguments, 1)->kind != CBE_PICKLE_BOOL ||
            cbe_pickle_item(&m->made, arguments, 2)->kind != CBE_PICKLE_DICT)
            return fail(m, "_rebuild_parameter with wrong arguments");
        m->stack[m->height++] = m->made.items[arguments->as.tuple.first];
        return CBE_OK;
    case G_STORAGE: break;
    }
    return cbe_fail(m->err, CBE_ERR_FORMAT, (int64_t)m->opcode,
                    "%s: refused: REDUCE calls %s.%s (byte %zu of its pickle)", m->path,
                    globals[function->as.global].module, globals[function->as.global].name,
                    m->opcode);
}

/* The state that nn.Module.state_dict() gives its OrderedDict: {'_metadata': OrderedDict of
 * versions}. The state does not concern tensors, and is dropped. */
static cbe_status build(machine *m)
{
    uint32_t s = 0;
    const cbe_status st = pop(m, &s);
    if (st != CBE_OK) return st;
    const cbe_pickle_value *state = &m->made.values[s];
    if (m->height <= floor_of(m) ||
        m->made.values[m->stack[m->height - 1]].kind != CBE_PICKLE_DICT ||
        !m->made.values[m->stack[m->height - 1]].as.dict.ordered)
        return fail(m, "refused: BUILD of something other than an OrderedDict");
    if (state->kind != CBE_PICKLE_DICT)
        return fail(m, "refused: BUILD with a state that is no dict");
    for (uint32_t i = state->as.dict.first; i != CBE_PICKLE_NOTHING; i = m->made.pairs[i].next) {
        const cbe_pickle_value *key = &m->made.values[m->made.pairs[i].key];
        if (key->kind != CBE_PICKLE_TEXT || !text_is(key->as.text, "_metadata"))
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

/* Executes an opcode other than STOP. */
static cbe_status step(machine *m, unsigned char code)
{
    uint64_t n;
    size_t from = 0;
    switch (code) {
    case 0x80: return check_protocol(m);
    case 0x95: return check_frame(m);
    case '(': m->marks[m->n_marks++] = m->height; return CBE_OK;
    case 'N': return push(m, (cbe_pickle_value){CBE_PICKLE_NONE, {0}});
    case 0x88: return push(m, (cbe_pickle_value){CBE_PICKLE_BOOL, {.integer = 1}});
    case 0x89: return push(m, (cbe_pickle_value){CBE_PICKLE_BOOL, {.integer = 0}});
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

static cbe_status run(machine *m)
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
    m->made.result = m->stack[0];
    return CBE_OK;
}

cbe_status cbe_pickle_read(cbe_pickle *out, const unsigned char *data, size_t size,
                           const char *path, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    machine m = {.path = path, .data = data, .size = size, .err = err};
    if (size > CBE_PICKLE_MOST)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: its pickle has %zu bytes, at most %d are read", path, size,
                        CBE_PICKLE_MOST);
    if (!(m.made.values = cbe_alloc(size, sizeof *m.made.values, "pickle", err)) ||
        !(m.stack = cbe_alloc(size, sizeof *m.stack, "pickle", err)) ||
        !(m.made.items = cbe_alloc(size, sizeof *m.made.items, "pickle", err)) ||
        !(m.memo = cbe_alloc(size, sizeof *m.memo, "pickle", err)) ||
        !(m.marks = cbe_alloc(size, sizeof *m.marks, "pickle", err)) ||
        !(m.made.pairs = cbe_alloc(size, sizeof *m.made.pairs, "pickle", err)))
        goto done;
    for (size_t i = 0; i < size; i++) m.memo[i] = CBE_PICKLE_NOTHING;
    if ((st = run(&m)) != CBE_OK) goto done;
    *out = m.made;
    m.made = (cbe_pickle){0};
done:
    cbe_pickle_free(&m.made);
    cbe_free(m.stack);
    cbe_free(m.memo);
    cbe_free(m.marks);
    return st;
}

void cbe_pickle_free(cbe_pickle *pickle)
{
    cbe_free(pickle->values);
    cbe_free(pickle->items);
    cbe_free(pickle->pairs);
    *pickle = (cbe_pickle){0};
}

const char *cbe_pickle_kind_name(const cbe_pickle_value *value)
{
    static const char *const names[] = {"None",   "a boolean", "an integer", "a string", "a tuple",
                                        "a dict", "a global",  "a storage",  "a tensor"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_PICKLE_KINDS, "one name for each kind");
    return names[value->kind];
}
