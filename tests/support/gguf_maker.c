/* gguf_maker.c - see gguf_maker.h. A failure here fails the calling test. */
#include "support/gguf_maker.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/random.h"

enum { MOST_LINES = 128, NAME = 128 };

const char *const gguf_small_llama[] = {
    "general.architecture str llama",
    "llama.context_length u32 64",
    "llama.embedding_length u32 16",
    "llama.block_count u32 2",
    "llama.feed_forward_length u32 24",
    "llama.vocab_size u32 32",
    "llama.attention.head_count u32 4",
    "llama.attention.head_count_kv u32 2",
    "llama.rope.dimension_count u32 4",
    "llama.attention.layer_norm_rms_epsilon f32 1e-5",
    "llama.rope.freq_base f32 10000",
    "tensor token_embd.weight f32 16x32",
    "tensor output.weight f32 16x32",
    "tensor output_norm.weight f32 16 1,1.5,0.5",
    "tensor blk.0.attn_norm.weight f32 16 1,0.5",
    "tensor blk.0.attn_q.weight f32 16x16",
    "tensor blk.0.attn_k.weight f32 16x8",
    "tensor blk.0.attn_v.weight f32 16x8",
    "tensor blk.0.attn_output.weight f32 16x16",
    "tensor blk.0.ffn_norm.weight f32 16 1,1,0.75",
    "tensor blk.0.ffn_gate.weight f32 16x24",
    "tensor blk.0.ffn_up.weight f32 16x24",
    "tensor blk.0.ffn_down.weight f32 24x16",
    "tensor blk.1.attn_norm.weight f32 16 0.5,1",
    "tensor blk.1.attn_q.weight f32 16x16",
    "tensor blk.1.attn_k.weight f32 16x8",
    "tensor blk.1.attn_v.weight f32 16x8",
    "tensor blk.1.attn_output.weight f32 16x16",
    "tensor blk.1.ffn_norm.weight f32 16 1",
    "tensor blk.1.ffn_gate.weight f32 16x24",
    "tensor blk.1.ffn_up.weight f32 16x24",
    "tensor blk.1.ffn_down.weight f32 24x16",
    NULL,
};

/* @bytes: the 256 characters of bytes; @fallback: <0x00> to <0xFF>; @N*V: N times V. */
const char *const gguf_small_bpe[] = {
    "general.architecture str llama",
    "tokenizer.ggml.model str gpt2",
    "tokenizer.ggml.pre str gpt-2",
    "tokenizer.ggml.tokens str[] @bytes,12,34,1234,ab,\304\240a",
    "tokenizer.ggml.token_type i32[] @261*1",
    "tokenizer.ggml.merges str[] 1 2,3 4,12 34,a b,\304\240 a",
    NULL,
};

const char *const gguf_small_llama_tokenizer[] = {
    "general.architecture str llama",
    "tokenizer.ggml.model str llama",
    "tokenizer.ggml.tokens str[] <unk>,<s>,</s>,@fallback,\342\226\201,a,b,ab,\342\226\201ab",
    "tokenizer.ggml.token_type i32[] 2,3,3,@256*6,@5*1",
    "tokenizer.ggml.scores f32[] 0,0,0,@256*0,-3,-4,-5,-1,-2",
    NULL,
};

static const struct {
    const char *name;
    size_t size;
} types[] = {{"u8", 1},   {"i8", 1},  {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
             {"bool", 1}, {"str", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8}};
enum { F32 = 6, STR = 8, ARRAY = 9, F64 = 12, N_TYPES = 13 };

static void put(FILE *file, const void *data, size_t size)
{
    assert_int_equal(fwrite(data, 1, size, file), size);
}

static void put_u32(FILE *file, uint32_t value)
{
    put(file, &value, sizeof value);
}

static void put_u64(FILE *file, uint64_t value)
{
    put(file, &value, sizeof value);
}

/* Writes a string of a line, with its escapes undone. */
static void put_string(FILE *file, const char *text, size_t length)
{
    char raw[1024];
    size_t n = 0;
    assert_true(length < sizeof raw);
    for (size_t i = 0; i < length; n++)
        if (i + 3 < length && text[i] == '\\' && text[i + 1] == 'x') {
            const char digits[] = {text[i + 2], text[i + 3], 0};
            raw[n] = (char)strtoul(digits, NULL, 16);
            i += 4;
        } else {
            raw[n] = text[i++];
        }
    put_u64(file, n);
    put(file, raw, n);
}

static void put_value(FILE *file, unsigned type, const char *text, size_t length)
{
    char copy[64];
    if (type == STR) {
        put_string(file, text, length);
        return;
    }
    assert_true(length < sizeof copy);
    memcpy(copy, text, length);
    copy[length] = 0;
    const double real = strtod(copy, NULL);
    const float single = (float)real;
    const uint64_t whole =
        copy[0] == '-' ? (uint64_t)strtoll(copy, NULL, 0) : strtoull(copy, NULL, 0);
    if (type == F32)
        put(file, &single, sizeof single);
    else if (type == F64)
        put(file, &real, sizeof real);
    else
        put(file, &whole, types[type].size);
}

/* GPT-2's character of a byte, in UTF-8; returns its length. */
static size_t character_of_byte(unsigned byte, char out[2])
{
    unsigned others = 0, c = byte;
    for (unsigned b = 0; b <= byte; b++) {
        const bool prints =
            (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
        if (!prints) others++;
        if (b == byte && !prints) c = 0x100 + others - 1;
    }
    out[0] = (char)(c < 0x80 ? c : 0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return c < 0x80 ? 1 : 2;
}

/* Writes the items of an array, if there is a file, and returns how many there are. */
static uint64_t put_items(FILE *file, unsigned type, const char *text)
{
    uint64_t n = 0;
    for (bool more = *text != 0; more;) {
        const size_t length = strcspn(text, ",");
        unsigned long times = 1;
        const char *item = text;
        size_t item_length = length;
        if (strncmp(text, "@bytes", 6) == 0 || strncmp(text, "@fallback", 9) == 0) {
            for (unsigned byte = 0; byte < 256 && file; byte++) {
                char name[8];
                const size_t size = text[1] == 'b' ? character_of_byte(byte, name)
                                                   : (size_t)sprintf(name, "<0x%02X>", byte);
                put_u64(file, size);
                put(file, name, size);
            }
            n += 256;
            times = 0;
        } else if (*text == '@') {
            char *star;
            times = strtoul(text + 1, &star, 10);
            item = star + 1;
            item_length = length - (size_t)(item - text);
        }
        for (unsigned long i = 0; i < times; i++, n++)
            if (file) put_value(file, type, item, item_length);
        more = text[length] == ',';
        text += length + more;
    }
    return n;
}

static void put_pair(FILE *file, const char *line)
{
    const size_t key = strcspn(line, " "), word = strcspn(line + key + 1, " []");
    const char *type_name = line + key + 1;
    const bool array = type_name[word] == '[';
    const char *value = type_name + word + (array ? 2 : 0);
    if (*value == ' ') value++;
    unsigned type = 0;
    while (type < N_TYPES &&
           (strlen(types[type].name) != word || strncmp(types[type].name, type_name, word) != 0))
        type++;
    assert_true(type < N_TYPES);
    put_string(file, line, key);
    put_u32(file, array ? ARRAY : type);
    if (array) {
        put_u32(file, type);
        put_u64(file, put_items(NULL, type, value));
        put_items(file, type, value);
    } else {
        put_value(file, type, value, strlen(value));
    }
}

/* A tensor line's parts. */
typedef struct {
    char name[NAME];
    unsigned type, n_dims;
    uint64_t dims[4], n_elements;
    const char *values; /* "": none */
} tensor;

static tensor read_tensor(const char *line)
{
    tensor t = {.n_elements = 1};
    char type[16], dims[64];
    int used = 0;
    assert_int_equal(sscanf(line, "tensor %127s %15s %63s %n", t.name, type, dims, &used), 3);
    t.type = strcmp(type, "f32") == 0 ? 0 : (unsigned)strtoul(type, NULL, 10);
    for (char *at = dims; *at && t.n_dims < 4; at += *at == 'x') {
        t.dims[t.n_dims] = strtoull(at, &at, 10);
        t.n_elements *= t.dims[t.n_dims++];
    }
    t.values = line + used;
    return t;
}

/* Bytes of a tensor, of f32 or of q8_0, the only types that lines have. */
static uint64_t tensor_bytes(const tensor *t)
{
    assert_true(t->type == 0 || t->type == 8);
    return t->type == 0 ? 4 * t->n_elements : t->n_elements / 32 * 34;
}

static void put_tensor(FILE *file, const tensor *t)
{
    cbe_test_random random = {.state = 1};
    for (const char *c = t->name; *c; c++) random.state = random.state * 31 + (uint64_t)*c;
    const char *at = t->values;
    for (uint64_t i = 0; i < tensor_bytes(t) / 4 && t->type == 0; i++) {
        float value = (float)(0.3 * cbe_test_normal(&random));
        if (*t->values) {
            char *end;
            value = strtof(at, &end);
            at = *end == ',' ? end + 1 : t->values;
        }
        put(file, &value, sizeof value);
    }
    static const unsigned char zeros[34];
    for (uint64_t i = 0; i < tensor_bytes(t) / 34 && t->type == 8; i++) put(file, zeros, 34);
}

static void pad(FILE *file, long start, unsigned alignment)
{
    while ((ftell(file) - start) % alignment) fputc(0, file);
}

/* Whether two lines are of the same key or tensor. */
static bool same_subject(const char *a, const char *b)
{
    a += *a == '-';
    b += *b == '-';
    size_t n = strcspn(a, " ");
    if (strncmp(a, "tensor ", 7) == 0) n = 7 + strcspn(a + 7, " ");
    return strncmp(a, b, n) == 0 && (b[n] == ' ' || b[n] == 0);
}

static size_t gather(const char **lines, size_t n, const char *const *more)
{
    for (; more && *more; more++) {
        size_t i = 0;
        while (i < n && !same_subject(*more, lines[i])) i++;
        assert_true(i < MOST_LINES);
        lines[i] = *more;
        if (i == n) n++;
    }
    return n;
}

void gguf_make(const char *path, const char *const *base, const char *const *more)
{
    const char *lines[MOST_LINES];
    const size_t n = gather(lines, gather(lines, 0, base), more);
    unsigned version = 3, alignment = 32;
    size_t tail = 0, cut = 0;
    uint64_t n_pairs = 0, n_tensors = 0, offset = 0;
    bool is_tensor[MOST_LINES] = {false}, is_pair[MOST_LINES] = {false};
    for (size_t i = 0; i < n; i++) {
        if (sscanf(lines[i], "version %u", &version) == 1 || lines[i][0] == '-') continue;
        sscanf(lines[i], "general.alignment u32 %u", &alignment);
        if (sscanf(lines[i], "tail %zu", &tail) == 1 || sscanf(lines[i], "cut %zu", &cut) == 1)
            continue;
        is_tensor[i] = strncmp(lines[i], "tensor ", 7) == 0;
        is_pair[i] = !is_tensor[i];
        n_pairs += is_pair[i];
        n_tensors += is_tensor[i];
    }
    FILE *file = fopen(path, "wb+");
    assert_non_null(file);
    put(file, "GGUF", 4);
    put_u32(file, version);
    put_u64(file, n_tensors);
    put_u64(file, n_pairs);
    for (size_t i = 0; i < n; i++)
        if (is_pair[i]) put_pair(file, lines[i]);
    for (size_t i = 0; i < n; i++) {
        if (!is_tensor[i]) continue;
        const tensor t = read_tensor(lines[i]);
        put_string(file, t.name, strlen(t.name));
        put_u32(file, t.n_dims);
        for (unsigned k = 0; k < t.n_dims; k++) put_u64(file, t.dims[k]);
        put_u32(file, t.type);
        put_u64(file, offset);
        offset += (tensor_bytes(&t) + alignment - 1) / alignment * alignment;
    }
    pad(file, 0, alignment);
    const long data = ftell(file);
    for (size_t i = 0; i < n; i++) {
        if (!is_tensor[i]) continue;
        const tensor t = read_tensor(lines[i]);
        pad(file, data, alignment);
        put_tensor(file, &t);
    }
    for (; tail > 0; tail--) fputc(0, file);
    const long size = ftell(file) - (long)cut;
    rewind(file);
    char *all = malloc((size_t)size + 1);
    assert_non_null(all);
    assert_int_equal(fread(all, 1, (size_t)size, file), size);
    fclose(file);
    file = fopen(path, "wb");
    assert_non_null(file);
    put(file, all, (size_t)size);
    assert_int_equal(fclose(file), 0);
    free(all);
}
