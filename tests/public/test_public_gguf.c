/*
 * test_public_gguf.c - troubles with GGUF files that people have reported in public, each a line of
 * a table: how a small good file is changed (support/gguf_maker.h), and what comes of that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "model/config.h"
#include "model/model.h"
#include "support/assert_close.h"
#include "support/gguf_maker.h"
#include "support/temp_folder.h"
#include "tokenizer/tokenizer.h"

enum { MOST_EDITS = 6, TOKENS = 20, VOCABULARY = 32, MOST_IDS = 12 };

/* --- Models: logits are those of another file, to the last bit --- */

typedef enum { SAME, OTHER } outcome;

typedef struct {
    const char *what;
    const char *edits[MOST_EDITS], *same_as[MOST_EDITS]; /* same_as: changes of the good file too */
    outcome beside;                                      /* the good file's logits, or others */
    const char *says;  /* in the message of a refusal; NULL: the file is read */
    const char *warns; /* in the only remark; NULL: there is none */
} model_row;

#define READ_AS(...)   .same_as = {__VA_ARGS__}, .beside = OTHER
#define UNCHANGED      .beside = SAME
#define REFUSED(words) .says = words
#define LINEAR_4       "llama.rope.scaling.type str linear", "llama.rope.scaling.factor f32 4"

/* clang-format off */
static const model_row model_rows[] = {
    /* rotary embeddings */
    {"a factor without a type", {"llama.rope.scaling.factor f32 4"}, READ_AS(LINEAR_4)},
    {"the older key of a factor", {"llama.rope.scale_linear f32 4"}, READ_AS(LINEAR_4)},
    {"both keys of a factor",
     {"llama.rope.scale_linear f32 2", "llama.rope.scaling.factor f32 4"},
     READ_AS(LINEAR_4)},
    {"a factor of float64", {"llama.rope.scaling.factor f64 4"}, READ_AS(LINEAR_4)},
    {"a whole factor", {"llama.rope.scaling.factor u32 4"}, READ_AS(LINEAR_4)},
    {"a factor of 0", {"llama.rope.scaling.factor f32 0"}, UNCHANGED},
    {"a factor of 1", {"llama.rope.scaling.factor f32 1"}, UNCHANGED},
    {"a factor of type none",
     {"llama.rope.scaling.type str none", "llama.rope.scaling.factor f32 4"},
     UNCHANGED},
    {"an unknown type", {"llama.rope.scaling.type str su"}, REFUSED("'su' is not supported")},
    {"factors as a tensor", {"tensor rope_freqs.weight f32 2 4"}, READ_AS(LINEAR_4)},
    {"factors as a tensor, all 1", {"tensor rope_freqs.weight f32 2 1"}, UNCHANGED},
    {"a base of float64", {"llama.rope.freq_base f64 10000"}, UNCHANGED},
    {"a whole base", {"llama.rope.freq_base u32 10000"}, UNCHANGED},
    {"no base", {"-llama.rope.freq_base"}, UNCHANGED},
    {"a share of YaRN",
     {"llama.rope.scaling.type str yarn", "llama.rope.scaling.factor f32 4",
      "llama.rope.scaling.yarn_ext_factor f32 0.5"},
     REFUSED("key 'llama.rope.scaling.yarn_ext_factor' is 0.5")},
    {"the whole of YaRN",
     {"llama.rope.scaling.type str yarn", "llama.rope.scaling.factor f32 4",
      "llama.rope.scaling.yarn_ext_factor f32 1"},
     READ_AS("llama.rope.scaling.type str yarn", "llama.rope.scaling.factor f32 4")},
    {"YaRN's logarithm", {"llama.rope.scaling.yarn_log_multiplier f32 0.1"},
     REFUSED("yarn_log_multiplier")},
    {"sections of positions", {"llama.rope.dimension_sections i32[] 1,1,0,0"},
     REFUSED("key 'llama.rope.dimension_sections' is i32[4]")},
    {"sections, all 0", {"llama.rope.dimension_sections i32[] 0,0,0,0"}, UNCHANGED},
    {"finetuned scaling", {"llama.rope.scaling.finetuned bool 1"}, UNCHANGED},
    /* sizes */
    {"lists of equal counts",
     {"llama.attention.head_count u32[] 4,4", "llama.attention.head_count_kv i32[] 2,2",
      "llama.feed_forward_length u64[] 24,24"}, UNCHANGED},
    {"a list of unequal counts", {"llama.attention.head_count_kv u32[] 2,1"},
     REFUSED("key 'llama.attention.head_count_kv' is 2 for block 0 and 1 for block 1")},
    {"unequal widths", {"llama.feed_forward_length u32[] 24,16"},
     REFUSED("key 'llama.feed_forward_length' is 24 for block 0 and 16 for block 1")},
    {"a list for other blocks", {"llama.attention.head_count u32[] 4,4,4"},
     REFUSED("key 'llama.attention.head_count' is a list of 3 numbers for 2 blocks")},
    {"an empty list", {"llama.attention.head_count u32[] "},
     REFUSED("key 'llama.attention.head_count' is a list of 0 numbers")},
    {"a list of one size", {"llama.embedding_length u32[] 16,16"},
     REFUSED("'llama.embedding_length' is an array")},
    {"sizes of other types",
     {"llama.block_count u64 2", "llama.embedding_length i32 16",
      "llama.feed_forward_length u16 24",
      "llama.attention.head_count u8 4", "llama.vocab_size i64 32"}, UNCHANGED},
    {"no size of the vocabulary", {"-llama.vocab_size"}, UNCHANGED},
    {"a context that is not known", {"llama.context_length u32 0"}, UNCHANGED},
    {"no context", {"-llama.context_length"}, UNCHANGED},
    {"a context without end", {"llama.context_length u32 4294967295"}, UNCHANGED},
    {"a context without end, of 64 bits", {"llama.context_length u64 0x8000000000000000"},
     UNCHANGED},
    {"a name that ends in NUL", {"general.architecture str llama\\x00"}, UNCHANGED},
    {"no count of key heads", {"-llama.attention.head_count_kv"}, REFUSED("blk.0.attn_k.weight")},
    {"a size of values of its own", {"llama.attention.value_length u32 8"},
     REFUSED("key 'llama.attention.value_length' is 8")},
    {"the same size of values",
     {"llama.attention.value_length u32 4", "llama.attention.key_length u32 4"},
     UNCHANGED},
    /* keys that change the computation */
    {"scaled logits", {"llama.logit_scale f32 0.5"}, REFUSED("key 'llama.logit_scale' is 0.5")},
    {"logits scaled by 1", {"llama.logit_scale f32 1"}, UNCHANGED},
    {"scaled embeddings", {"llama.embedding_scale f32 12"}, REFUSED("llama.embedding_scale")},
    {"scaled branches", {"llama.residual_scale f32 0.25"}, REFUSED("llama.residual_scale")},
    {"a limit of queries", {"llama.attention.clamp_kqv f32 8"}, REFUSED("attention.clamp_kqv")},
    {"no limit of queries", {"llama.attention.clamp_kqv f32 0"}, UNCHANGED},
    {"slopes", {"llama.attention.max_alibi_bias f32 8"}, REFUSED("attention.max_alibi_bias")},
    {"attention both ways", {"llama.attention.causal bool 0"},
     REFUSED("attention.causal' is false")},
    {"attention one way", {"llama.attention.causal bool 1"}, UNCHANGED},
    {"attention one way, as a number", {"llama.attention.causal u8 1"}, UNCHANGED},
    {"a temperature of attention", {"llama.attention.temperature_scale f32 0.1"},
     REFUSED("attention.temperature_scale")},
    {"experts", {"llama.expert_count u32 8"}, REFUSED("key 'llama.expert_count' is 8")},
    {"no experts", {"llama.expert_count u32 0", "llama.expert_used_count u32 2"}, UNCHANGED},
    {"shared keys", {"llama.attention.shared_kv_layers u32 1"}, REFUSED("shared_kv_layers")},
    {"blocks that predict", {"llama.nextn_predict_layers u32 1"}, REFUSED("nextn_predict_layers")},
    {"state spaces", {"llama.ssm.state_size u32 16"}, REFUSED("llama.ssm.state_size")},
    {"parallel branches", {"llama.use_parallel_residual bool 1"}, REFUSED("use_parallel_residual")},
    {"no parallel branches", {"llama.use_parallel_residual bool 0"}, UNCHANGED},
    {"another activation", {"llama.hidden_activation str gelu"},
     REFUSED("key 'llama.hidden_activation' is gelu")},
    {"its own activation", {"llama.hidden_activation str silu"}, UNCHANGED},
    {"the known order of rows", {"llama.tensor_data_layout str Meta AI original pth"}, UNCHANGED},
    {"another order of rows", {"llama.tensor_data_layout str reference"},
     REFUSED("llama.tensor_data_layout' is reference")},
    {"an unknown key of attention", {"llama.attention.novelty f32 2"},
     REFUSED("key 'llama.attention.novelty' is 2")},
    {"an unknown key of attention that is 0", {"llama.attention.novelty f32 0"}, UNCHANGED},
    {"an unknown key", {"llama.novelty str deep"},
     .warns = "key 'llama.novelty' is not known, and its value, deep, changes nothing here"},
    {"an unknown key that is empty", {"llama.novelty str "}, UNCHANGED},
    {"a key of another architecture", {"qwen2.attention.clamp_kqv f32 8"}, UNCHANGED},
    {"keys of images", {"llama.vision.block_count u32 27", "llama.mm.tokens_per_image u32 256"},
     UNCHANGED},
    {"a kind of pooling", {"llama.pooling_type u32 3"}, UNCHANGED},
    /* tensors */
    {"a norm as a matrix of one column", {"tensor output_norm.weight f32 16x1 1,1.5,0.5"},
     UNCHANGED},
    {"a norm of four dimensions", {"tensor blk.0.attn_norm.weight f32 16x1x1x1 1,0.5"}, UNCHANGED},
    {"no unembedding", {"-tensor output.weight"}, READ_AS("-tensor output.weight")},
    {"tensors of images", {"tensor v.blk.0.attn_q.weight f32 16x16", "tensor mm.0.weight f32 16"},
     UNCHANGED},
    {"a bias of the final norm", {"tensor output_norm.bias f32 16 1"},
     REFUSED("'output_norm.bias' has no place in a llama model")},
    {"a bias of embeddings", {"tensor token_embd.bias f32 16 1"},
     REFUSED("'token_embd.bias' has no place in a llama model")},
    {"a norm of embeddings", {"tensor token_embd_norm.weight f32 16 1"},
     REFUSED("'token_embd_norm.weight' has no place in a llama model")},
    {"learned positions", {"tensor position_embd.weight f32 16x64"},
     REFUSED("'position_embd.weight' has no place")},
    {"a norm of queries", {"tensor blk.0.attn_q_norm.weight f32 4 1"},
     REFUSED("'blk.0.attn_q_norm.weight' has no place")},
    {"scales of NVFP4", {"tensor blk.0.attn_q.scale f32 1 2"}, REFUSED("'blk.0.attn_q.scale' has")},
    {"another alignment", {"general.alignment u32 128"}, UNCHANGED},
    {"zeros behind the data", {"tail 4096"}, UNCHANGED},
    {"data that are missing", {"cut 64"}, REFUSED("truncated")},
    /* files */
    {"version 2", {"version 2"}, UNCHANGED},
    {"version 1", {"version 1"}, REFUSED("GGUF version 1 cannot be read")},
    {"version 4", {"version 4"}, REFUSED("GGUF version 4 cannot be read")},
    {"an adapter", {"general.type str adapter"}, REFUSED("holds a LoRA adapter")},
    {"the image part", {"general.type str mmproj"}, REFUSED("the image part of a model")},
    {"a model that says so", {"general.type str model"}, UNCHANGED},
    {"sampling parameters", {"general.sampling.temp f32 0.6", "general.tags str[] a,b"}, UNCHANGED},
};
/* clang-format on */

typedef struct {
    float *logits;
    size_t n;
} captured;

static cbe_status keep(void *context, size_t first, size_t n_tokens, const float *logits,
                       cbe_error *err)
{
    captured *c = context;
    (void)err;
    memcpy(c->logits + first * VOCABULARY, logits, n_tokens * VOCABULARY * sizeof *logits);
    c->n += n_tokens;
    return CBE_OK;
}

/* Logits of a file that is made so. */
static cbe_status logits_of(void **state, const char *const *edits, cbe_remarks *remarks,
                            float out[TOKENS * VOCABULARY], cbe_error *err)
{
    int64_t ids[TOKENS];
    cbe_model *model = NULL;
    captured c = {out, 0};
    const char *path = temp_path(state, "m.gguf");
    gguf_make(path, gguf_small_llama, edits);
    const cbe_model_options options = {.remarks = remarks};
    cbe_status st = cbe_model_open_with(&model, path, &options, err);
    if (st != CBE_OK) return st;
    for (int i = 0; i < TOKENS; i++) ids[i] = 7 * i % VOCABULARY;
    const cbe_forward_sink sink = {.logits = keep, .context = &c};
    st = cbe_model_forward(model, 1, TOKENS, ids, &sink, err);
    cbe_model_close(model);
    if (st == CBE_OK) assert_int_equal(c.n, TOKENS);
    return st;
}

static void expect_remark(const char *what, cbe_remarks *remarks, const char *warns)
{
    if (remarks->n != (warns != NULL) || (warns && !strstr(remarks->lines[0], warns)))
        fail_msg("%s: %zu remarks, the first '%s', expected '%s'", what, remarks->n,
                 remarks->n ? remarks->lines[0] : "", warns ? warns : "none");
    cbe_remarks_free(remarks);
}

static void models__are_read_as_the_format_means_or_refused(void **state)
{
    static float good[TOKENS * VOCABULARY], got[TOKENS * VOCABULARY], want[TOKENS * VOCABULARY];
    cbe_error err = {0};
    cbe_remarks none = {0};
    cbe_assert_ok(logits_of(state, NULL, &none, good, &err), &err);
    assert_int_equal(none.n, 0);
    for (size_t i = 0; i < sizeof model_rows / sizeof *model_rows; i++) {
        const model_row *row = &model_rows[i];
        cbe_remarks remarks = {0};
        const cbe_status st = logits_of(state, row->edits, &remarks, got, &err);
        if (row->says) {
            if (st == CBE_OK || !strstr(err.message, row->says) || !strstr(err.message, "m.gguf: "))
                fail_msg("%s: %s '%s', expected '%s'", row->what, cbe_status_name(st),
                         st == CBE_OK ? "" : err.message, row->says);
            cbe_remarks_free(&remarks);
            continue;
        }
        if (st != CBE_OK) fail_msg("%s: %s", row->what, err.message);
        expect_remark(row->what, &remarks, row->warns);
        cbe_assert_ok(logits_of(state, row->same_as, NULL, want, &err), &err);
        if (memcmp(got, want, sizeof want) != 0) fail_msg("%s: other logits", row->what);
        if ((memcmp(got, good, sizeof good) == 0) != (row->beside == SAME))
            fail_msg("%s: the change has another effect", row->what);
    }
}

/* --- Gemma 3, whose blocks are local or not --- */

static const char *const gemma3[] = {
    "general.architecture str gemma3",
    "gemma3.context_length u32 64",
    "gemma3.embedding_length u32 16",
    "gemma3.block_count u32 4",
    "gemma3.feed_forward_length u32 24",
    "gemma3.vocab_size u32 32",
    "gemma3.attention.head_count u32 4",
    "gemma3.attention.key_length u32 4",
    "gemma3.attention.layer_norm_rms_epsilon f32 1e-6",
    "gemma3.attention.sliding_window u32 8",
    NULL,
};

static void config_of(void **state, const char *const *edits, cbe_config *out)
{
    cbe_error err;
    cbe_gguf *file = NULL;
    const char *path = temp_path(state, "g.gguf");
    gguf_make(path, gemma3, edits);
    cbe_assert_ok(cbe_gguf_open(&file, path, &err), &err);
    cbe_assert_ok(cbe_config_from_gguf(out, file, NULL, &err), &err);
    cbe_gguf_close(file);
}

static void windows__may_be_a_list_of_flags(void **state)
{
    static cbe_config period, flags, numbers;
    config_of(state, (const char *[]){"gemma3.attention.sliding_window_pattern u32 2", NULL},
              &period);
    config_of(state,
              (const char *[]){"gemma3.attention.sliding_window_pattern bool[] 1,0,1,0", NULL},
              &flags);
    config_of(state,
              (const char *[]){"gemma3.attention.sliding_window_pattern u32[] 1,0,1,0", NULL},
              &numbers);
    assert_true(period.local[0] && !period.local[1] && period.local[2] && !period.local[3]);
    assert_memory_equal(flags.local, period.local, sizeof period.local);
    assert_memory_equal(numbers.local, period.local, sizeof period.local);
}

static void rope__bases_may_have_the_keys_of_ollama(void **state)
{
    static cbe_config got, usual;
    config_of(state,
              (const char *[]){"gemma3.rope.global.freq_base f32 500000",
                               "gemma3.rope.local.freq_base f32 20000", NULL},
              &got);
    assert_true(got.rope[CBE_REACH_GLOBAL].base == 500000);
    assert_true(got.rope[CBE_REACH_LOCAL].base == 20000);
    config_of(state,
              (const char *[]){"gemma3.rope.freq_base f32 500000",
                               "gemma3.rope.freq_base_swa f32 20000", NULL},
              &usual);
    assert_memory_equal(&got, &usual, sizeof got);
}

/* --- Tokenizers --- */

typedef struct {
    const char *what;
    const char *const *base;
    const char *edits[MOST_EDITS];
    const char *text; /* NULL: a NUL */
    bool special;
    int64_t ids[MOST_IDS]; /* ended by -1 */
    const char *says, *warns;
} tokenizer_row;

#define BPE   gguf_small_bpe
#define LLAMA gguf_small_llama_tokenizer
/* The vocabulary of BPE with a token more, 261. */
#define MORE(token)                                                                                \
    "tokenizer.ggml.tokens str[] @bytes,12,34,1234,ab,\304\240"                                    \
    "a," token
#define KINDS(kind) "tokenizer.ggml.token_type i32[] @261*1," kind
#define BOS         "tokenizer.ggml.bos_token_id "
#define PRE         "tokenizer.ggml.pre "

/* clang-format off */
static const tokenizer_row tokenizer_rows[] = {
    {"the good file", BPE, {NULL}, "ab 1234", false, {259, ' ', 258, -1}, NULL, NULL},
    /* splits */
    {"the default split", BPE, {PRE "str default"}, "ab 1234", false,
     {259, ' ', 256, '3', '4', -1}, NULL, "tokenizer.ggml.pre is 'default'"},
    {"no split", BPE, {"-tokenizer.ggml.pre"}, " 12345a", false, {' ', 256, '3', '4', '5', 'a', -1},
     NULL, "tokenizer.ggml.pre is missing"},
    {"an empty split", BPE, {PRE "str "}, "12", false, {256, -1}, NULL, "is missing"},
    {"tekken", BPE, {PRE "str tekken", BOS "u32 9"}, "1234", false,
     {'1', '2', '3', '4', -1}, NULL, NULL},
    {"deepseek-llm", BPE, {PRE "str deepseek-llm"}, "ab1234", false, {259, 258, -1}, NULL, NULL},
    {"deepseek-coder", BPE, {PRE "str deepseek-coder"}, "ab1234", false,
     {259, '1', '2', '3', '4', -1}, NULL, NULL},
    {"deepseek-v3", BPE, {PRE "str deepseek-v3"}, "1234", false, {256, '3', '4', -1}, NULL, NULL},
    {"a split that is not read", BPE, {PRE "str kimi-k2"}, "", false, {-1},
     "pre-tokenisation 'kimi-k2'", NULL},
    /* tokens */
    {"equal tokens", BPE, {MORE("ab"), KINDS("1")}, "ab", false, {261, -1}, NULL,
     "tokens 259 and 261 of the vocabulary are the same, 'ab'; "},
    {"equal control tokens", BPE,
     {MORE("<x>,<x>"), "tokenizer.ggml.token_type i32[] @261*1,3,3"}, "a<x>a", false,
     {'a', 262, 'a', -1}, NULL, "tokens 261 and 262 of the vocabulary are the same, '<x>'"},
    {"equal unused tokens", BPE,
     {MORE("<x>,<x>"), "tokenizer.ggml.token_type i32[] @261*1,5,5"}, "ab", false, {259, -1}, NULL,
     NULL},
    {"empty tokens", BPE, {MORE(","), "tokenizer.ggml.token_type i32[] @263*1"}, "ab", false,
     {259, -1}, NULL, NULL},
    {"characters without tokens", BPE,
     {"tokenizer.ggml.tokens str[] a,b,ab,c", "tokenizer.ggml.token_type i32[] @4*1",
      "tokenizer.ggml.merges str[] a b"},
     "abxc", false, {2, 3, -1}, NULL, "no tokens for 92 of the 95 printable characters"},
    {"an end that is no control token", BPE, {MORE("<|im_end|>"), KINDS("1")}, "ab<|im_end|>ab",
     false, {259, 261, 259, -1}, NULL, "token 261, '<|im_end|>', is not marked as a control"},
    {"Phi 3", BPE, {MORE("<|end|>"), KINDS("3"), "general.name str Phi-3 Mini"}, "ab<|end|>\n ab",
     false, {259, 261, 259, -1}, NULL, NULL},
    {"not Phi 3", BPE, {MORE("<|end|>"), KINDS("3"), "general.name str Phi 4"}, "ab<|end|>\nab",
     false, {259, 261, '\n', 259, -1}, NULL, NULL},
    /* "12 34" is the third merge, and stays it */
    {"merges given twice", BPE,
     {"tokenizer.ggml.merges str[] 1 2,3 4,12 34,a b,\\xc4\\xa0 a,12 34,a b"}, "1234", false,
     {258, -1}, NULL, NULL},
    {"the first line of a merges.txt", BPE,
     {"tokenizer.ggml.merges str[] #version: 0.2,1 2,3 4,12 34,a b,\\xc4\\xa0 a"}, "1234", false,
     {258, -1}, NULL, NULL},
    {"no merges", BPE, {"-tokenizer.ggml.merges"}, "", false, {-1}, "tokenizer.ggml.merges", NULL},
    /* kinds */
    {"no kinds", BPE, {"-tokenizer.ggml.token_type"}, "ab", false, {259, -1}, NULL, NULL},
    {"more kinds", BPE, {"tokenizer.ggml.token_type i32[] @300*1"}, "ab", false, {259, -1}, NULL,
     NULL},
    {"fewer kinds", BPE, {"tokenizer.ggml.token_type i32[] @260*1"}, "", false, {-1},
     "tokenizer.ggml.token_type has 260 entries for 261 tokens", NULL},
    {"unknown kinds", BPE, {"tokenizer.ggml.token_type i32[] @259*1,9,-4"}, "ab", false, {259, -1},
     NULL, NULL},
    {"kinds of another type", BPE, {"tokenizer.ggml.token_type u8[] @261*1"}, "ab", false,
     {259, -1}, NULL, NULL},
    /* special tokens */
    {"a begin of -1, unsigned", BPE, {BOS "u32 4294967295"}, "ab", true, {259, -1}, NULL,
     "bos_token_id is 4294967295, but the vocabulary has 261 tokens"},
    {"a begin of -1", BPE, {BOS "i32 -1"}, "ab", true, {259, -1}, NULL, "bos_token_id is -1, but"},
    {"a begin of -1 in 64 bits", BPE, {BOS "u64 0xffffffffffffffff"}, "ab", true, {259, -1}, NULL,
     "bos_token_id is 9223372036854775807, but"},
    {"a begin past the vocabulary", BPE, {BOS "u32 261"}, "ab", true, {259, -1}, NULL,
     "bos_token_id is 261, but"},
    {"a begin that is needed", BPE, {BOS "u32 261", "tokenizer.ggml.add_bos_token bool 1"}, "",
     true, {-1}, "add_bos_token is set, but tokenizer.ggml.bos_token_id is missing or no token",
     NULL},
    {"no begin where one is usual", BPE, {PRE "str llama-bpe"}, "ab", true, {259, -1}, NULL,
     "bos_token_id is missing or no token of the vocabulary"},
    {"a begin that is usual", BPE, {PRE "str llama-bpe", BOS "u32 9"}, "ab", true, {9, 259, -1},
     NULL, NULL},
    {"an end past the vocabulary", BPE, {"tokenizer.ggml.eos_token_id u32 999"}, "ab", true,
     {259, -1}, NULL, "eos_token_id is 999"},
    {"an id that nobody reads", BPE, {"tokenizer.ggml.padding_token_id u32 999"}, "ab", true,
     {259, -1}, NULL, NULL},
    {"ids and flags of other types", BPE,
     {BOS "i64 65", "tokenizer.ggml.add_bos_token u8 1", "tokenizer.ggml.eos_token_id u16 66",
      "tokenizer.ggml.add_eos_token i32 1"},
     "ab", true, {65, 259, 66, -1}, NULL, NULL},
    {"a flag that is neither", BPE, {BOS "u32 65", "tokenizer.ggml.add_bos_token u32 2"}, "", true,
     {-1}, "'tokenizer.ggml.add_bos_token' is of type u32, expected a bool", NULL},
    /* SentencePiece */
    {"the good SentencePiece", LLAMA, {NULL}, "ab", false, {263, -1}, NULL, NULL},
    {"ids that are left out", LLAMA, {"tokenizer.ggml.add_eos_token bool 1"}, "ab", true,
     {1, 263, 2, -1}, NULL, NULL},
    {"no begin, by the flag", LLAMA, {"tokenizer.ggml.add_bos_token bool 0"}, "ab", true,
     {263, -1}, NULL, NULL},
    {"a begin past its vocabulary", LLAMA, {BOS "u32 32000"}, "ab", true, {1, 263, -1}, NULL,
     "it is taken to be 1"},
    {"an unknown token past its vocabulary", LLAMA,
     {"tokenizer.ggml.unknown_token_id u32 4294967295"}, "ab", false, {263, -1}, NULL,
     "it is taken to be 0"},
    {"no space in front", LLAMA, {"tokenizer.ggml.add_space_prefix bool 0"}, "ab", false,
     {262, -1}, NULL, NULL},
    {"no scores", LLAMA, {"-tokenizer.ggml.scores"}, "ab", false, {263, -1}, NULL,
     "tokenizer.ggml.scores is missing"},
    {"whole scores", LLAMA, {"tokenizer.ggml.scores i32[] 0,0,0,@256*0,-3,-4,-5,-1,-2"}, "ab",
     false, {263, -1}, NULL, NULL},
    {"more scores", LLAMA, {"tokenizer.ggml.scores f32[] 0,0,0,@256*0,-3,-4,-5,-1,-2,0,0"}, "ab",
     false, {263, -1}, NULL, NULL},
    {"fewer scores", LLAMA, {"tokenizer.ggml.scores f32[] 0,0,0"}, "", false, {-1},
     "tokenizer.ggml.scores has 3 entries for 264 tokens", NULL},
    {"no kinds, but bytes", LLAMA, {"-tokenizer.ggml.token_type"}, "\x07", false,
     {259, 3 + 7, -1}, NULL, NULL},
    {"no token of NUL", LLAMA, {"tokenizer.ggml.add_space_prefix bool 0"}, NULL, false, {3, -1},
     NULL, NULL},
    {"a token of NUL", LLAMA,
     {"tokenizer.ggml.add_space_prefix bool 0",
      "tokenizer.ggml.tokens str[] <unk>,<s>,</s>,@fallback,\342\226\201,a,b,ab,"
      "\342\226\201ab,\\x00",
      "tokenizer.ggml.token_type i32[] 2,3,3,@256*6,@6*1",
      "tokenizer.ggml.scores f32[] @265*0"},
     NULL, false, {264, -1}, NULL, NULL},
    {"a table of normalisation", LLAMA, {"tokenizer.ggml.model str bert"}, "", false, {-1},
     "a tokenizer of kind 'bert'", NULL},
};
/* clang-format on */

static void tokenizers__read_as_llama_cpp_does_or_refuse(void **state)
{
    for (size_t i = 0; i < sizeof tokenizer_rows / sizeof *tokenizer_rows; i++) {
        const tokenizer_row *row = &tokenizer_rows[i];
        cbe_error err = {0};
        cbe_tokenizer *tokenizer = NULL;
        cbe_remarks remarks = {0};
        int64_t *ids = NULL;
        size_t n = 0, n_want = 0;
        const char *path = temp_path(state, "t.gguf");
        gguf_make(path, row->base, row->edits);
        const cbe_status st = cbe_tokenizer_read(&tokenizer, path, NULL, &remarks, &err);
        if (row->says) {
            if (st == CBE_OK || !strstr(err.message, row->says))
                fail_msg("%s: %s '%s', expected '%s'", row->what, cbe_status_name(st),
                         st == CBE_OK ? "" : err.message, row->says);
            cbe_remarks_free(&remarks);
            continue;
        }
        if (st != CBE_OK) fail_msg("%s: %s", row->what, err.message);
        expect_remark(row->what, &remarks, row->warns);
        cbe_assert_ok(cbe_tokenizer_encode(tokenizer, row->text ? row->text : "",
                                           row->text ? strlen(row->text) : 1, row->special, &ids,
                                           &n, NULL, &err),
                      &err);
        while (row->ids[n_want] >= 0) n_want++;
        for (size_t k = 0; k < n || k < n_want; k++)
            if (n != n_want || ids[k] != row->ids[k])
                fail_msg("%s: %zu ids, expected %zu; id %zu is %lld", row->what, n, n_want, k,
                         (long long)(k < n ? ids[k] : -1));
        cbe_tokenizer_free_ids(ids);
        cbe_tokenizer_free(tokenizer);
    }
}

static void tokenizers__warn_their_callers(void **state)
{
    static const char *const edits[] = {"-tokenizer.ggml.pre", NULL};
    cbe_error err = {0};
    cbe_tokenizer *tokenizer = NULL;
    const char *path = temp_path(state, "t.gguf");
    gguf_make(path, BPE, edits);
    cbe_assert_ok(cbe_tokenizer_open(&tokenizer, path, &err), &err);
    assert_non_null(strstr(cbe_tokenizer_warning(tokenizer, 0), "tokenizer.ggml.pre is missing"));
    assert_null(cbe_tokenizer_warning(tokenizer, 1));
    assert_null(cbe_tokenizer_warning(NULL, 0));
    cbe_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models__are_read_as_the_format_means_or_refused),
        cmocka_unit_test(windows__may_be_a_list_of_flags),
        cmocka_unit_test(rope__bases_may_have_the_keys_of_ollama),
        cmocka_unit_test(tokenizers__read_as_llama_cpp_does_or_refuse),
        cmocka_unit_test(tokenizers__warn_their_callers),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
