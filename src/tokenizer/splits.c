/*
 * splits.c - see splits.h.
 *
 * The patterns are those of the models' tokenizers. A repeat that nothing can follow is possessive,
 * so that no text makes it backtrack. A run of white space can backtrack, but the match behind it
 * consumes the run, so the cost is linear in the text.
 */
#include "tokenizer/splits.h"

#include <string.h>

#include "core/fail.h"

enum { MAX_STAGES = 6 };

#define WHITE_SPACE  "\\s+(?!\\S)|\\s++"
#define EACH_DIGIT   "\\p{N}"
#define THREE_DIGITS "\\p{N}{1,3}"
#define ALL_DIGITS   "\\p{N}++"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD         "[^\\r\\n\\p{L}\\p{N}]?\\p{L}++"
#define SIGNS        " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+"
#define LINES        "\\s*[\\r\\n]++"
#define GPT2                                                                                       \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}++| ?\\p{N}++|"                                               \
    " ?[^\\s\\p{L}\\p{N}]++|" WHITE_SPACE
/* Llama 3's without contractions. */
#define WORDS(digits)  WORD "|" digits "|" SIGNS "|" LINES "|" WHITE_SPACE
#define LLAMA3(digits) CONTRACTIONS "|" WORDS(digits)
#define CAPITALS       "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define SMALL          "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
/* Words cut where capitals follow. */
#define CASES(endings, digits)                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?[" CAPITALS "]*[" SMALL "]+" endings                                    \
    "|[^\\r\\n\\p{L}\\p{N}]?[" CAPITALS "]+[" SMALL "]*" endings "|" digits                        \
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n/]*+|" LINES "|" WHITE_SPACE
#define ENDINGS CONTRACTIONS "?"
#define BLOOM                                                                                      \
    " ?[^(\\s|[.,!?\xe2\x80\xa6\xe3\x80\x82\xef\xbc\x8c\xe3\x80\x81\xe0\xa5\xa4\xdb\x94\xd8\x8c])" \
    "]++"
/* Han characters, Hiragana and Katakana. */
#define HAN_KANA "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]++"
/* As deepseek-llm and deepseek-coder write the scripts of East Asia. */
#define EAST_ASIA "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]++"
#define SIGN_AND_LETTERS                                                                           \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]++"                                       \
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]++"
/* The letters of alphabets with capitals. */
#define ALPHABETS                                                                                  \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"                 \
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"         \
    "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"                  \
    "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}"    \
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}"                 \
    "\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"                 \
    "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}"         \
    "\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"        \
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}"                 \
    "\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}"         \
    "\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}"         \
    "\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"                   \
    "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}"                  \
    "\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"                 \
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"                 \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"             \
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"         \
    "\\x{1e900}-\\x{1e943}"
#define LONG_RUNS                                                                                  \
    "\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)"                \
    "|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s"

static const struct {
    const char *patterns[MAX_STAGES]; /* NULL: no further stage */
    cbe_split_traits traits;
} splits[] = {
    [CBE_SPLIT_GPT2] = {{GPT2}, {.nfc = false}},
    [CBE_SPLIT_DEFAULT] = {{"[\\p{P}$+<=>\\^~|]++", GPT2, ALL_DIGITS, "[0-9][0-9][0-9]"},
                           {.nfc = false}},
    [CBE_SPLIT_FALCON] = {{"[\\p{P}$+<=>\\^~|`]++", GPT2, "[0-9][0-9][0-9]"}, {.nfc = false}},
    [CBE_SPLIT_SMOLLM] = {{EACH_DIGIT, GPT2}, {.nfc = false}},
    [CBE_SPLIT_LLAMA3] = {{LLAMA3(THREE_DIGITS)}, {.ignore_merges = true, .add_bos = true}},
    [CBE_SPLIT_DBRX] = {{LLAMA3(THREE_DIGITS)}, {.nfc = false}},
    [CBE_SPLIT_JAIS2] = {{CONTRACTIONS "|" WORD "|" THREE_DIGITS "|" SIGNS "|" LINES "|" LONG_RUNS},
                         {.nfc = false}},
    [CBE_SPLIT_MINICPM5] = {{THREE_DIGITS, LLAMA3(ALL_DIGITS)}, {.ignore_merges = true}},
    [CBE_SPLIT_QWEN2] = {{LLAMA3(EACH_DIGIT)}, {.nfc = true}},
    [CBE_SPLIT_STABLELM2] = {{LLAMA3(EACH_DIGIT)}, {.nfc = false}},
    [CBE_SPLIT_UFAKZEKA] = {{WORDS(EACH_DIGIT)}, {.nfc = false}},
    [CBE_SPLIT_LAGUNA] = {{"[^\\n]++|[\\n]++", LLAMA3(EACH_DIGIT)}, {.nfc = false}},
    [CBE_SPLIT_QWEN35] = {{CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]++|" EACH_DIGIT
                                        "| ?[^\\s\\p{L}\\p{M}\\p{N}]++[\\r\\n]*+|" LINES
                                        "|" WHITE_SPACE},
                          {.nfc = true}},
    [CBE_SPLIT_BAILINGMOE] = {{"'(?i:[sdmt]|ll|ve|re)|" WORD "|" EACH_DIGIT "|" SIGNS
                               "|\\s*[\\r\\n]|" WHITE_SPACE},
                              {.nfc = false}},
    [CBE_SPLIT_SEED_CODER] = {{CONTRACTIONS "|" WORD "|" EACH_DIGIT
                                            "| ?[^\\s\\p{L}\\p{N}\\r\\n]++|" LINES "|" WHITE_SPACE},
                              {.nfc = false}},
    [CBE_SPLIT_EXAONE_MOE] = {{CONTRACTIONS
                               "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*+(?: \\p{L}\\p{M}*+)*+)++"
                               "|" EACH_DIGIT "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n/]?+|\\s*[\\r\\n]"
                               "|" WHITE_SPACE},
                              {.nfc = false}},
    [CBE_SPLIT_GPT4O] = {{CASES(ENDINGS, THREE_DIGITS)}, {.nfc = false}},
    [CBE_SPLIT_TEKKEN] = {{CASES("", EACH_DIGIT)}, {.ignore_merges = true, .add_bos = true}},
    [CBE_SPLIT_YOUTU] = {{"[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]++"
                          "|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}"
                          "\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]++"
                          "|[\\x{3105}-\\x{312f}]++|" HAN_KANA,
                          CASES(ENDINGS, EACH_DIGIT)},
                         {.ignore_merges = true}},
    [CBE_SPLIT_DEEPSEEK_LLM] = {{"[\\r\\n]", "\\s?[" ALPHABETS "]++",
                                 "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}"
                                 "\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]++",
                                 "(?<!\\s)\\s++\\z", EAST_ASIA, ALL_DIGITS},
                                {.nfc = false}},
    [CBE_SPLIT_DEEPSEEK_CODER] = {{"[\\r\\n]", "\\s?\\p{L}++", "\\s?\\p{P}++", EAST_ASIA,
                                   EACH_DIGIT},
                                  {.nfc = false}},
    [CBE_SPLIT_DEEPSEEK_V3] = {{THREE_DIGITS, HAN_KANA,
                                SIGN_AND_LETTERS "| ?[\\p{P}\\p{S}]++[\\r\\n]*+|" LINES
                                                 "|" WHITE_SPACE},
                               {.nfc = false}},
    [CBE_SPLIT_SPARK] = {{THREE_DIGITS, HAN_KANA,
                          SIGN_AND_LETTERS "| ?[\\p{P}\\p{S}]++|[\\r\\n]|" WHITE_SPACE, EACH_DIGIT},
                         {.nfc = false}},
    [CBE_SPLIT_BLOOM] = {{BLOOM}, {.nfc = false}},
    [CBE_SPLIT_VIKING] = {{BLOOM, EACH_DIGIT}, {.nfc = false}},
    [CBE_SPLIT_CHAMELEON] = {{"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ",
                              EACH_DIGIT, "[\\p{P}!-/:-@\\[-`{-~]", GPT2},
                             {.add_bos = true}},
};
_Static_assert(sizeof splits / sizeof *splits == CBE_N_SPLITS, "one row for each split");

/* Values of tokenizer.ggml.pre. */
static const struct {
    const char *name;
    cbe_split split;
} names[] = {
    {"default", CBE_SPLIT_DEFAULT},
    {"gpt-2", CBE_SPLIT_GPT2},
    {"gpt2", CBE_SPLIT_GPT2},
    {"phi-2", CBE_SPLIT_GPT2},
    {"olmo", CBE_SPLIT_GPT2},
    {"mpt", CBE_SPLIT_GPT2},
    {"jais", CBE_SPLIT_GPT2},
    {"gigachat", CBE_SPLIT_GPT2},
    {"a.x-4.0", CBE_SPLIT_GPT2},
    {"mellum", CBE_SPLIT_GPT2},
    {"exaone4", CBE_SPLIT_GPT2},
    {"trillion", CBE_SPLIT_GPT2},
    {"granite-docling", CBE_SPLIT_GPT2},
    {"falcon", CBE_SPLIT_FALCON},
    {"smollm", CBE_SPLIT_SMOLLM},
    {"starcoder", CBE_SPLIT_SMOLLM},
    {"refact", CBE_SPLIT_SMOLLM},
    {"command-r", CBE_SPLIT_SMOLLM},
    {"codeshell", CBE_SPLIT_SMOLLM},
    {"exaone", CBE_SPLIT_SMOLLM},
    {"minerva-7b", CBE_SPLIT_SMOLLM},
    {"mellum2", CBE_SPLIT_SMOLLM},
    {"llama-bpe", CBE_SPLIT_LLAMA3},
    {"llama3", CBE_SPLIT_LLAMA3},
    {"llama-v3", CBE_SPLIT_LLAMA3},
    {"falcon3", CBE_SPLIT_LLAMA3},
    {"falcon-h1", CBE_SPLIT_LLAMA3},
    {"pixtral", CBE_SPLIT_LLAMA3},
    {"midm-2.0", CBE_SPLIT_LLAMA3},
    {"lfm2", CBE_SPLIT_LLAMA3},
    {"dbrx", CBE_SPLIT_DBRX},
    {"smaug-bpe", CBE_SPLIT_DBRX},
    {"glm4", CBE_SPLIT_DBRX},
    {"chatglm-bpe", CBE_SPLIT_DBRX},
    {"jais-2", CBE_SPLIT_JAIS2},
    {"minicpm5", CBE_SPLIT_MINICPM5},
    {"qwen2", CBE_SPLIT_QWEN2},
    {"deepseek-r1-qwen", CBE_SPLIT_QWEN2},
    {"f2llmv2", CBE_SPLIT_QWEN2},
    {"kormo", CBE_SPLIT_STABLELM2},
    {"megrez", CBE_SPLIT_STABLELM2},
    {"stablelm2", CBE_SPLIT_STABLELM2},
    {"hunyuan", CBE_SPLIT_STABLELM2},
    {"solar-open", CBE_SPLIT_STABLELM2},
    {"grok-2", CBE_SPLIT_STABLELM2},
    {"ufakzeka", CBE_SPLIT_UFAKZEKA},
    {"laguna", CBE_SPLIT_LAGUNA},
    {"qwen35", CBE_SPLIT_QWEN35},
    {"bailingmoe", CBE_SPLIT_BAILINGMOE},
    {"bailingmoe2", CBE_SPLIT_BAILINGMOE},
    {"llada-moe", CBE_SPLIT_BAILINGMOE},
    {"seed-coder", CBE_SPLIT_SEED_CODER},
    {"exaone-moe", CBE_SPLIT_EXAONE_MOE},
    {"gpt-4o", CBE_SPLIT_GPT4O},
    {"llama4", CBE_SPLIT_GPT4O},
    {"kanana2", CBE_SPLIT_GPT4O},
    {"talkie", CBE_SPLIT_GPT4O},
    {"minimax-m2", CBE_SPLIT_GPT4O},
    {"tekken", CBE_SPLIT_TEKKEN},
    {"youtu", CBE_SPLIT_YOUTU},
    {"deepseek-llm", CBE_SPLIT_DEEPSEEK_LLM},
    {"deepseek-coder", CBE_SPLIT_DEEPSEEK_CODER},
    {"deepseek-v3", CBE_SPLIT_DEEPSEEK_V3},
    {"hunyuan-dense", CBE_SPLIT_DEEPSEEK_V3},
    {"joyai-llm", CBE_SPLIT_DEEPSEEK_V3},
    {"hy_v4", CBE_SPLIT_DEEPSEEK_V3},
    {"spark2_5", CBE_SPLIT_SPARK},
    {"bloom", CBE_SPLIT_BLOOM},
    {"poro-chat", CBE_SPLIT_BLOOM},
    {"gpt3-finnish", CBE_SPLIT_BLOOM},
    {"viking", CBE_SPLIT_VIKING},
    {"chameleon", CBE_SPLIT_CHAMELEON},
};

cbe_status cbe_split_find(cbe_split *out, const char *name, size_t length, const char *path,
                          cbe_error *err)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == length && memcmp(names[i].name, name, length) == 0) {
            *out = names[i].split;
            return CBE_OK;
        }
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: pre-tokenisation '%.*s' (tokenizer.ggml.pre) cannot be read "
                    "(docs/formats.md lists what can); give token ids with " CBE_OPTION(
                        "tokens") " IDS.safetensors instead",
                    path, (int)(length < 64 ? length : 64), name);
}

const cbe_split_traits *cbe_split_get(cbe_split split)
{
    return &splits[split].traits;
}

cbe_status cbe_pretokenizer_add_named(cbe_pretokenizer *pretokenizer, cbe_split split,
                                      cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < MAX_STAGES && splits[split].patterns[i] && st == CBE_OK; i++) {
        const char *pattern = splits[split].patterns[i];
        cbe_regex *regex = NULL;
        st = cbe_regex_create(&regex, pattern, strlen(pattern), "built in", err);
        if (st == CBE_OK)
            st = cbe_pretokenizer_add_split(pretokenizer, regex, CBE_SPLIT_ISOLATED, false, err);
    }
    return st;
}
