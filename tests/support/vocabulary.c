/* vocabulary.c - see vocabulary.h. A failure here fails the calling test. */
#include "support/vocabulary.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/assert_close.h"

/* GPT-2's table by its definition: printable bytes stand for themselves, other bytes are numbered
 * in order. */
static unsigned character_of_byte(unsigned byte)
{
    unsigned others = 0;
    for (unsigned b = 0; b <= byte; b++) {
        const bool prints =
            (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
        if (prints && b == byte) return byte;
        if (!prints) others++;
    }
    return 0x100 + others - 1;
}

void cbe_test_vocabulary_init(cbe_test_vocabulary *vocabulary)
{
    memset(vocabulary, 0, sizeof *vocabulary);
    vocabulary->model = "gpt2";
    vocabulary->pre = "gpt-2";
    vocabulary->bos = vocabulary->eos = vocabulary->add_bos = vocabulary->add_eos = -1;
    for (unsigned byte = 0; byte < 256; byte++) {
        const unsigned c = character_of_byte(byte);
        char text[3] = {(char)c, 0, 0};
        if (c >= 0x80) {
            text[0] = (char)(0xc0 | c >> 6);
            text[1] = (char)(0x80 | (c & 0x3f));
        }
        cbe_test_add_token(vocabulary, text, 1);
    }
}

size_t cbe_test_add_token(cbe_test_vocabulary *vocabulary, const char *text, int64_t kind)
{
    const size_t id = vocabulary->n_tokens++;
    assert_true(id < CBE_TEST_MAX_TOKENS && strlen(text) < CBE_TEST_TOKEN_SIZE);
    strcpy(vocabulary->tokens[id], text);
    vocabulary->kinds[id] = kind;
    vocabulary->n_kinds = vocabulary->n_tokens;
    return id;
}

size_t cbe_test_add_merge(cbe_test_vocabulary *vocabulary, const char *left, const char *right)
{
    char both[2 * CBE_TEST_TOKEN_SIZE];
    char *merge = vocabulary->merges[vocabulary->n_merges];
    assert_true(vocabulary->n_merges < CBE_TEST_MAX_TOKENS);
    assert_true(strlen(left) + strlen(right) + 1 < CBE_TEST_TOKEN_SIZE);
    snprintf(both, sizeof both, "%s%s", left, right);
    strcpy(merge, left);
    strcat(merge, " ");
    strcat(merge, right);
    vocabulary->n_merges++;
    return cbe_test_add_token(vocabulary, both, 1);
}

void cbe_test_spans(cbe_span *out, char (*strings)[CBE_TEST_TOKEN_SIZE], size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = (cbe_span){strings[i], strlen(strings[i])};
}

const char *cbe_test_temporary(const char *name)
{
    static char path[4096];
    const char *root = getenv("TMPDIR");
    snprintf(path, sizeof path - CBE_TEST_TOKEN_SIZE, "%s/cbe-test-XXXXXX", root ? root : "/tmp");
    assert_non_null(mkdtemp(path));
    strcat(path, "/");
    assert_true(strlen(name) < CBE_TEST_TOKEN_SIZE - 1);
    return strcat(path, name);
}

void cbe_test_remove(const char *path)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

void cbe_test_write(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* GGUF's types of values. */
enum { GGUF_UINT32 = 4, GGUF_INT32 = 5, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9 };

static void put(FILE *file, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) fputc((int)(value >> 8 * i & 0xff), file);
}

static void put_string(FILE *file, const char *text)
{
    put(file, strlen(text), 8);
    fputs(text, file);
}

static void put_key(FILE *file, const char *name, unsigned type)
{
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    put_string(file, key);
    put(file, type, 4);
}

static void put_array(FILE *file, const char *name, unsigned type, size_t n)
{
    put_key(file, name, GGUF_ARRAY);
    put(file, type, 4);
    put(file, n, 8);
}

void cbe_test_write_vocabulary(const char *path, const cbe_test_vocabulary *v)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    const int n_pairs = 3 + (v->model != NULL) + (v->pre != NULL) + (v->bos >= 0) + (v->eos >= 0) +
                        (v->add_bos >= 0) + (v->add_eos >= 0);
    fputs("GGUF", file);
    put(file, 3, 4);
    put(file, 0, 8);
    put(file, (uint64_t)n_pairs, 8);
    if (v->model) put_key(file, "model", GGUF_STRING), put_string(file, v->model);
    if (v->pre) put_key(file, "pre", GGUF_STRING), put_string(file, v->pre);
    put_array(file, "tokens", GGUF_STRING, v->n_tokens);
    for (size_t i = 0; i < v->n_tokens; i++) put_string(file, v->tokens[i]);
    put_array(file, "token_type", GGUF_INT32, v->n_kinds);
    for (size_t i = 0; i < v->n_kinds; i++) put(file, (uint64_t)v->kinds[i], 4);
    put_array(file, "merges", GGUF_STRING, v->n_merges);
    for (size_t i = 0; i < v->n_merges; i++) put_string(file, v->merges[i]);
    if (v->bos >= 0) put_key(file, "bos_token_id", GGUF_UINT32), put(file, (uint64_t)v->bos, 4);
    if (v->eos >= 0) put_key(file, "eos_token_id", GGUF_UINT32), put(file, (uint64_t)v->eos, 4);
    if (v->add_bos >= 0) put_key(file, "add_bos_token", GGUF_BOOL), put(file, v->add_bos > 0, 1);
    if (v->add_eos >= 0) put_key(file, "add_eos_token", GGUF_BOOL), put(file, v->add_eos > 0, 1);
    assert_int_equal(fclose(file), 0);
}
