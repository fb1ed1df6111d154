/*
 * splits.c - see splits.h.
 *
 * The patterns are those of the models' tokenizers. A repeat that nothing can follow is possessive,
 * so that no text makes it backtrack. A run of white space can backtrack, but the match behind it
 * consumes the run, so the cost is linear in the text.
 */
#include "text/splits.h"

#include <string.h>

#include "core/fail.h"

enum { MAX_STAGES = 2 };

#define WHITE_SPACE "\\s+(?!\\S)|\\s++"
#define EACH_DIGIT  "\\p{N}"
#define GPT2                                                                                       \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}++| ?\\p{N}++|"                                               \
    " ?[^\\s\\p{L}\\p{N}]++|" WHITE_SPACE
#define LLAMA3(digits)                                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}++|" digits                          \
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s*[\\r\\n]++|" WHITE_SPACE
#define CAPITALS "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define SMALL    "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define ENDINGS  "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define GPT4O                                                                                      \
    "[^\\r\\n\\p{L}\\p{N}]?[" CAPITALS "]*[" SMALL "]+" ENDINGS                                    \
    "|[^\\r\\n\\p{L}\\p{N}]?[" CAPITALS "]+[" SMALL "]*" ENDINGS                                   \
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n/]*+|\\s*[\\r\\n]++|" WHITE_SPACE
#define BLOOM                                                                                      \
    " ?[^(\\s|[.,!?\xe2\x80\xa6\xe3\x80\x82\xef\xbc\x8c\xe3\x80\x81\xe0\xa5\xa4\xdb\x94\xd8\x8c])" \
    "]++"

static const struct {
    const char *patterns[MAX_STAGES]; /* NULL: no further stage */
    cbe_split_traits traits;
} splits[] = {
    [CBE_SPLIT_GPT2] = {{GPT2}, {.nfc = false}},
    [CBE_SPLIT_SMOLLM] = {{EACH_DIGIT, GPT2}, {.nfc = false}},
    [CBE_SPLIT_LLAMA3] = {{LLAMA3("\\p{N}{1,3}")}, {.ignore_merges = true, .add_bos = true}},
    [CBE_SPLIT_DBRX] = {{LLAMA3("\\p{N}{1,3}")}, {.nfc = false}},
    [CBE_SPLIT_QWEN2] = {{LLAMA3(EACH_DIGIT)}, {.nfc = true}},
    [CBE_SPLIT_GPT4O] = {{GPT4O}, {.nfc = false}},
    [CBE_SPLIT_BLOOM] = {{BLOOM}, {.nfc = false}},
};
_Static_assert(sizeof splits / sizeof *splits == CBE_N_SPLITS, "one row for each split");

/* Values of tokenizer.ggml.pre. */
static const struct {
    const char *name;
    cbe_split split;
} names[] = {
    {"gpt-2", CBE_SPLIT_GPT2},       {"gpt2", CBE_SPLIT_GPT2},      {"default", CBE_SPLIT_GPT2},
    {"phi-2", CBE_SPLIT_GPT2},       {"olmo", CBE_SPLIT_GPT2},      {"smollm", CBE_SPLIT_SMOLLM},
    {"starcoder", CBE_SPLIT_SMOLLM}, {"refact", CBE_SPLIT_SMOLLM},  {"command-r", CBE_SPLIT_SMOLLM},
    {"llama-bpe", CBE_SPLIT_LLAMA3}, {"llama3", CBE_SPLIT_LLAMA3},  {"llama-v3", CBE_SPLIT_LLAMA3},
    {"dbrx", CBE_SPLIT_DBRX},        {"smaug-bpe", CBE_SPLIT_DBRX}, {"qwen2", CBE_SPLIT_QWEN2},
    {"gpt-4o", CBE_SPLIT_GPT4O},     {"llama4", CBE_SPLIT_GPT4O},   {"bloom", CBE_SPLIT_BLOOM},
};

cbe_status cbe_split_find(cbe_split *out, const char *name, size_t length, const char *path,
                          cbe_error *err)
{
    char known[CBE_MESSAGE_SIZE] = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i].name) == length && memcmp(names[i].name, name, length) == 0) {
            *out = names[i].split;
            return CBE_OK;
        }
        if (i > 0) strcat(known, ", ");
        strcat(known, names[i].name);
    }
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: pre-tokenisation '%.*s' (tokenizer.ggml.pre) cannot be read; give token "
                    "ids with " CBE_OPTION("tokens") " "
                                                     "IDS.safetensors instead (known: %s)",
                    path, (int)(length < 64 ? length : 64), name, known);
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
