/* Opening models: whole and damaged files of both formats. */
#include "support/assert_close.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "tokenizer/tokenizer.h"
#include "core/memory.h"
#include "model/private.h"
#include "support/golden.h"

typedef struct {
    char *folder;
    cbe_model *model;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->folder = cbe_temp_folder();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    cbe_model_close(f->model);
    cbe_temp_remove(f->folder);
    free(f);
    return 0;
}

static void put_text(const fixture *f, const char *name, const char *text)
{
    char *path = cbe_temp_path(f->folder, name);
    cbe_write_file(path, text, strlen(text));
    free(path);
}

/* A copy of a golden folder's config.json, with one piece of text replaced (from NULL: none). */
static void put_config(const fixture *f, const char *model, const char *from, const char *to)
{
    size_t size;
    char *golden = cbe_golden_path("models/%s/config.json", model);
    char *path = cbe_temp_path(f->folder, "config.json");
    char *text = (char *)cbe_read_file(golden, &size);
    text[size] = 0;
    char *at = from ? strstr(text, from) : text + size;
    assert_non_null(at);
    const size_t skipped = from ? strlen(from) : 0;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(text, 1, (size_t)(at - text), file);
    fputs(from ? to : "", file);
    fputs(at + skipped, file);
    assert_int_equal(fclose(file), 0);
    free(text);
    free(path);
    free(golden);
}

/* A changed copy of the golden llama folder's weights. */
static void put_weights(const fixture *f, const char *name, const cbe_copy_edit *edit)
{
    char *from = cbe_golden_path("models/llama/model.safetensors");
    char *to = cbe_temp_path(f->folder, name);
    cbe_copy_safetensors(from, to, edit);
    free(from);
    free(to);
}

static void expect_open(fixture *f, const char *path, cbe_status status, const char *word)
{
    cbe_error err = {0};
    const cbe_status st = cbe_model_open(&f->model, path, &err);
    if (st != status || err.code != st || !strstr(err.message, word) || f->model)
        fail_msg("%s \"%s\", expected %s with \"%s\"", cbe_status_name(st), err.message,
                 cbe_status_name(status), word);
    assert_int_equal(cbe_model_open(&f->model, path, NULL), status);
}

/* The same weights as the golden folder's, bit for bit. */
static void expect_same_weights(fixture *f)
{
    cbe_error err;
    cbe_model *golden = NULL;
    char *path = cbe_golden_path("models/llama");
    cbe_assert_ok(cbe_model_open(&golden, path, &err), &err);
    cbe_assert_ok(cbe_model_open(&f->model, f->folder, &err), &err);
    const size_t d = 64, vocab = 139, m = 144, qkv = 64 + 2 * 16;
    assert_memory_equal(f->model->embedding, golden->embedding, vocab * d * sizeof(float));
    assert_memory_equal(f->model->decoder->unembedding, golden->decoder->unembedding,
                        vocab * d * sizeof(float));
    assert_memory_equal(f->model->decoder->gamma, golden->decoder->gamma, d * sizeof(float));
    for (size_t i = 0; i < 3; i++) {
        const cbe_block *a = &f->model->blocks[i], *b = &golden->blocks[i];
        assert_memory_equal(a->qkv.weight, b->qkv.weight, qkv * d * sizeof(float));
        assert_memory_equal(a->up.weight, b->up.weight, 2 * m * d * sizeof(float));
        assert_memory_equal(a->down.weight, b->down.weight, m * d * sizeof(float));
    }
    cbe_model_close(golden);
    free(path);
}

static void model__reads_names_without_the_prefix(void **state)
{
    fixture *f = *state;
    put_config(f, "llama", NULL, NULL);
    put_weights(f, "model.safetensors", &(cbe_copy_edit){.strip_prefix = "model."});
    expect_same_weights(f);
}

static void model__ignores_rotary_buffers(void **state)
{
    fixture *f = *state;
    put_config(f, "llama", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    put_weights(f, "model.safetensors",
                &(cbe_copy_edit){.rename_from = "lm_head.weight",
                                 .rename_to = "model.layers.1.self_attn.rotary_emb.inv_freq"});
    cbe_error err;
    cbe_assert_ok(cbe_model_open(&f->model, f->folder, &err), &err);
}

static void put_shards(const fixture *f)
{
    put_config(f, "llama", NULL, NULL);
    put_weights(f, "a.safetensors", &(cbe_copy_edit){.part = 0, .n_parts = 2});
    put_weights(f, "b.safetensors", &(cbe_copy_edit){.part = 1, .n_parts = 2});
    put_text(f, "model.safetensors.index.json",
             "{\"metadata\": {}, \"weight_map\": {\"lm_head.weight\": \"a.safetensors\","
             " \"model.norm.weight\": \"b.safetensors\", \"x\": \"a.safetensors\"}}");
}

static void model__reads_shards(void **state)
{
    fixture *f = *state;
    put_shards(f);
    expect_same_weights(f);
}

static void model__names_a_missing_shard(void **state)
{
    fixture *f = *state;
    put_shards(f);
    char *shard = cbe_temp_path(f->folder, "b.safetensors");
    unlink(shard);
    free(shard);
    expect_open(f, f->folder, CBE_ERR_IO, "b.safetensors");
}

static void model__refuses_a_bad_index(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"", "index.json"},
        {"[]", "weight_map"},
        {"{\"weight_map\": 3}", "weight_map"},
        {"{\"weight_map\": {\"lm_head.weight\": \"../a.safetensors\"}}", "lm_head.weight"},
        {"{\"weight_map\": {\"lm_head.weight\": \"/etc/passwd\"}}", "lm_head.weight"},
        {"{\"weight_map\": {\"lm_head.weight\": \"..\"}}", "lm_head.weight"},
        {"{\"weight_map\": {\"lm_head.weight\": \"\"}}", "lm_head.weight"},
        {"{\"weight_map\": {\"lm_head.weight\": 1}}", "lm_head.weight"},
        {"{\"weight_map\": {}}", "no tensor"},
    };
    put_shards(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_text(f, "model.safetensors.index.json", cases[i].text);
        cbe_error err = {0};
        const cbe_status st = cbe_model_open(&f->model, f->folder, &err);
        const bool no_tensors = i + 1 == sizeof cases / sizeof *cases;
        if (st != (no_tensors ? CBE_ERR_SHAPE : CBE_ERR_FORMAT) ||
            (!no_tensors && !strstr(err.message, cases[i].word)))
            fail_msg("%s: %s \"%s\"", cases[i].text, cbe_status_name(st), err.message);
    }
}

static void model__shares_a_tied_unembedding(void **state)
{
    fixture *f = *state;
    cbe_error err;
    char *path = cbe_golden_path("models/llama-tied-bf16");
    cbe_assert_ok(cbe_model_open(&f->model, path, &err), &err);
    assert_ptr_equal(f->model->embedding, cbe_model_decoder(f->model)->unembedding);
    free(path);
}

static void model__names_missing_tensors(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"lm_head.weight", "model.norm.weight",
                                        "model.layers.2.mlp.up_proj.weight",
                                        "model.layers.0.self_attn.k_proj.weight"};
    put_config(f, "llama", NULL, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        put_weights(f, "model.safetensors", &(cbe_copy_edit){.drop = names[i]});
        expect_open(f, f->folder, CBE_ERR_FORMAT, names[i]);
    }
}

static void model__names_tensors_of_wrong_shape(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"lm_head.weight", "model.embed_tokens.weight",
                                        "model.layers.1.self_attn.v_proj.weight",
                                        "model.layers.2.mlp.down_proj.weight"};
    put_config(f, "llama", NULL, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        put_weights(f, "model.safetensors", &(cbe_copy_edit){.transpose = names[i]});
        expect_open(f, f->folder, CBE_ERR_SHAPE, names[i]);
    }
    static const struct {
        const char *from, *to, *word;
    } configs[] = {
        {"\"vocab_size\": 139", "\"vocab_size\": 140", "embed_tokens"},
        {"\"hidden_size\": 64", "\"hidden_size\": 128", "model.layers.0.input_layernorm.weight"},
        {"\"intermediate_size\": 144", "\"intermediate_size\": 16777216", "gate_proj"},
        {"\"num_hidden_layers\": 3", "\"num_hidden_layers\": 16777216", "16777216 blocks"},
    };
    put_weights(f, "model.safetensors", &(cbe_copy_edit){0});
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        put_config(f, "llama", configs[i].from, configs[i].to);
        expect_open(f, f->folder, CBE_ERR_SHAPE, configs[i].word);
    }
    put_config(f, "llama", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
    expect_open(f, f->folder, CBE_ERR_FORMAT, "model.layers.3.");
}

static void model__names_weights_that_are_not_finite(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"lm_head.weight", "model.norm.weight",
                                        "model.layers.1.self_attn.k_proj.weight"};
    put_config(f, "llama", NULL, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        put_weights(f, "model.safetensors", &(cbe_copy_edit){.poison = names[i]});
        expect_open(f, f->folder, CBE_ERR_NUMERIC, names[i]);
    }
}

static void model__refuses_tensors_that_have_no_place(void **state)
{
    fixture *f = *state;
    static const char stray[] = "model.layers.1.self_attn.q_proj.bias";
    put_config(f, "llama", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    put_weights(f, "model.safetensors",
                &(cbe_copy_edit){.rename_from = "lm_head.weight", .rename_to = stray});
    expect_open(f, f->folder, CBE_ERR_UNSUPPORTED, stray);
}

static void model__says_what_a_folder_lacks(void **state)
{
    fixture *f = *state;
    expect_open(f, f->folder, CBE_ERR_IO, "config.json");
    put_config(f, "llama", NULL, NULL);
    expect_open(f, f->folder, CBE_ERR_IO, "model.safetensors");
    put_text(f, "pytorch_model.bin", "");
    expect_open(f, f->folder, CBE_ERR_UNSUPPORTED, "save_pretrained");
    expect_open(f, "no/such/model.gguf", CBE_ERR_IO, "no/such/model.gguf");
}

/* A copy of a golden GGUF file in which the first `size` bytes like `from` are those at `to`. */
static char *put_gguf(const fixture *f, const char *golden, const void *from, const void *to,
                      size_t size)
{
    size_t file_size, at = 0;
    char *from_path = cbe_golden_path("gguf/%s/llama-f32.gguf", golden);
    char *path = cbe_temp_path(f->folder, "changed.gguf");
    unsigned char *data = cbe_read_file(from_path, &file_size);
    while (at + size <= file_size && memcmp(data + at, from, size) != 0) at++;
    assert_true(at + size <= file_size);
    memcpy(data + at, to, size);
    cbe_write_file(path, data, file_size);
    free(data);
    free(from_path);
    return path;
}

static void model__names_a_quantisation_that_is_not_read(void **state)
{
    fixture *f = *state;
    /* The embedding's name, number of dimensions, dimensions and type: f32, and i8. */
    static const char from[] = "token_embd.weight\2\0\0\0@\0\0\0\0\0\0\0@\1\0\0\0\0\0\0\0";
    static const char to[] = "token_embd.weight\2\0\0\0@\0\0\0\0\0\0\0@\1\0\0\0\0\0\0\30";
    char *path = put_gguf(f, "tiny-llama", from, to, sizeof from - 1);
    expect_open(f, path, CBE_ERR_UNSUPPORTED, "'token_embd.weight' has type i8");
    free(path);
}

static void model__names_what_is_wrong_in_gguf_files(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *from, *to;
        cbe_status status;
        const char *word;
    } cases[] = {
        {"output_norm.weight", "output_nurm.weight", CBE_ERR_FORMAT, "output_norm.weight"},
        {"blk.1.attn_k.weight", "blk.1.attn_k.wiight", CBE_ERR_UNSUPPORTED, "blk.1.attn_k.wiight"},
        {"blk.1.attn_k.weight", "blk.7.attn_k.weight", CBE_ERR_SHAPE, "blk.7.attn_k.weight"},
        {"feed_forward_length\4\0\0\0\xa0", "feed_forward_length\4\0\0\0\xa2", CBE_ERR_SHAPE,
         "blk.0.ffn_gate.weight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t size = i == 3 ? 24 : strlen(cases[i].from);
        char *path = put_gguf(f, "tiny-llama", cases[i].from, cases[i].to, size);
        expect_open(f, path, cases[i].status, cases[i].word);
        free(path);
    }
}

static void model__refuses_rotary_divisors_that_are_not_positive(void **state)
{
    fixture *f = *state;
    cbe_error err;
    cbe_gguf *file = NULL;
    cbe_tensor divisors;
    unsigned char from[32], to[32];
    char *golden = cbe_golden_path("gguf/tiny-llama3/llama-f32.gguf");
    cbe_assert_ok(cbe_gguf_open(&file, golden, &err), &err);
    cbe_assert_ok(cbe_gguf_tensor(file, "rope_freqs.weight", &divisors, &err), &err);
    assert_int_equal(divisors.n_bytes, sizeof from);
    memcpy(from, divisors.data, sizeof from);
    cbe_gguf_close(file);
    memcpy(to, from, sizeof to);
    memset(to + 8, 0, 4); /* the third of them */
    char *path = put_gguf(f, "tiny-llama3", from, to, sizeof from);
    expect_open(f, path, CBE_ERR_FORMAT, "'rope_freqs.weight': element 2 is 0");
    free(path);
    const float tiny = 1e-45f; /* positive, but what it divides is past float32 */
    memcpy(to + 8, &tiny, sizeof tiny);
    path = put_gguf(f, "tiny-llama3", from, to, sizeof from);
    expect_open(f, path, CBE_ERR_FORMAT, "the angles of pair 2 overflow float32");
    free(path);
    free(golden);
}

static void model__gguf_puts_rotary_rows_in_order(void **state)
{
    fixture *f = *state;
    cbe_error err;
    cbe_model *folder = NULL;
    char *gguf_path = cbe_golden_path("gguf/tiny-llama/llama-f32.gguf");
    char *folder_path = cbe_golden_path("models/llama-bytes");
    cbe_assert_ok(cbe_model_open(&f->model, gguf_path, &err), &err);
    cbe_assert_ok(cbe_model_open(&folder, folder_path, &err), &err);
    for (size_t i = 0; i < 2; i++)
        assert_memory_equal(f->model->blocks[i].qkv.weight, folder->blocks[i].qkv.weight,
                            (64 + 32 + 32) * 64 * sizeof(float));
    cbe_model_close(folder);
    free(gguf_path);
    free(folder_path);
}

static void model__has_a_tokenizer_in_both_kinds_of_files(void **state)
{
    fixture *f = *state;
    cbe_error err;
    cbe_tokenizer *tokenizer = NULL;
    char *path = cbe_golden_path("gguf/tiny-llama/llama-f32.gguf");
    cbe_assert_ok(cbe_tokenizer_read(&tokenizer, path, NULL, NULL, &err), &err);
    assert_int_equal(cbe_tokenizer_vocab_size(tokenizer), 320);
    cbe_tokenizer_free(tokenizer);
    tokenizer = NULL;
    assert_int_equal(cbe_tokenizer_read(&tokenizer, f->folder, NULL, NULL, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, "tokenizer.json"));
    assert_null(tokenizer);
    size_t size;
    char *from = cbe_golden_path("gguf/tiny-llama/tokenizer.json"),
         *to = cbe_temp_path(f->folder, "tokenizer.json");
    unsigned char *data = cbe_read_file(from, &size);
    cbe_write_file(to, data, size);
    cbe_assert_ok(cbe_tokenizer_read(&tokenizer, f->folder, NULL, NULL, &err), &err);
    assert_int_equal(cbe_tokenizer_vocab_size(tokenizer), 320);
    cbe_tokenizer_free(tokenizer);
    free(data);
    free(from);
    free(to);
    free(path);
}

static void open_with_failing_allocations(fixture *f, const char *path)
{
    cbe_status st = CBE_ERR_NOMEM;
    long n = 0;
    for (; st != CBE_OK && n < 1000; n++) {
        cbe_error err = {0};
        cbe_memory_fail_after(n);
        st = cbe_model_open(&f->model, path, &err);
        cbe_memory_fail_after(-1);
        if (st != CBE_OK && (st != CBE_ERR_NOMEM || err.code != CBE_ERR_NOMEM || f->model))
            fail_msg("allocation %ld: %s \"%s\"", n, cbe_status_name(st), err.message);
    }
    assert_int_equal(st, CBE_OK);
    assert_true(n > 15);
    cbe_model_close(f->model);
    f->model = NULL;
}

static void model__survives_each_failing_allocation(void **state)
{
    fixture *f = *state;
    char *folder = cbe_golden_path("models/llama-tied-bf16");
    char *gguf = cbe_golden_path("gguf/tiny-llama3/llama-f32.gguf");
    open_with_failing_allocations(f, folder);
    open_with_failing_allocations(f, gguf);
    put_shards(f);
    open_with_failing_allocations(f, f->folder);
    free(folder);
    free(gguf);
}

int main(void)
{
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(model__reads_names_without_the_prefix),
        WITH_FOLDER(model__ignores_rotary_buffers),
        WITH_FOLDER(model__reads_shards),
        WITH_FOLDER(model__names_a_missing_shard),
        WITH_FOLDER(model__refuses_a_bad_index),
        WITH_FOLDER(model__shares_a_tied_unembedding),
        WITH_FOLDER(model__names_missing_tensors),
        WITH_FOLDER(model__names_tensors_of_wrong_shape),
        WITH_FOLDER(model__names_weights_that_are_not_finite),
        WITH_FOLDER(model__refuses_tensors_that_have_no_place),
        WITH_FOLDER(model__says_what_a_folder_lacks),
        WITH_FOLDER(model__names_a_quantisation_that_is_not_read),
        WITH_FOLDER(model__names_what_is_wrong_in_gguf_files),
        WITH_FOLDER(model__refuses_rotary_divisors_that_are_not_positive),
        WITH_FOLDER(model__gguf_puts_rotary_rows_in_order),
        WITH_FOLDER(model__has_a_tokenizer_in_both_kinds_of_files),
        WITH_FOLDER(model__survives_each_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
