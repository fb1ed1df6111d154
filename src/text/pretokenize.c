/*
 * pretokenize.c - see pretokenize.h.
 *
 * The patterns are those of the models' tokenizers, written for PCRE2: white space is spelled out as
 * Unicode's White_Space, since PCRE2's \s differs from it (U+180E), and repeats after which nothing can
 * follow are possessive, so that no text makes them backtrack. Where a run of white space can backtrack
 * it is consumed by the match that follows: cost is linear in the text.
 */
#include "text/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

enum { MAX_STAGES = 2 };

#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define TRAILING_SPACE "[" SPACES "]+(?![^" SPACES "])|[" SPACES "]++"
#define EACH_DIGIT     "\\p{N}"
#define GPT2                                                                                       \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}++| ?\\p{N}++| ?[^" SPACES "\\p{L}\\p{N}]++|" TRAILING_SPACE
#define LLAMA3(digits)                                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}++|" digits "| ?[^" SPACES           \
    "\\p{L}\\p{N}]++[\\r\\n]*+|[" SPACES "]*[\\r\\n]++|" TRAILING_SPACE

static const struct {
    const char *patterns[MAX_STAGES]; /* NULL: no further one */
    cbe_split_traits traits;
} splits[] = {
    [CBE_SPLIT_GPT2] = {{GPT2}, {.nfc = false}},
    [CBE_SPLIT_SMOLLM] = {{EACH_DIGIT, GPT2}, {.nfc = false}},
    [CBE_SPLIT_LLAMA3] = {{LLAMA3("\\p{N}{1,3}+")}, {.ignore_merges = true, .add_bos = true}},
    [CBE_SPLIT_QWEN2] = {{LLAMA3(EACH_DIGIT)}, {.nfc = true}},
};
_Static_assert(sizeof splits / sizeof *splits == CBE_N_SPLITS, "one row for each split");

/* Values of tokenizer.ggml.pre. */
static const struct {
    const char *name;
    cbe_split split;
} names[] = {
    {"gpt-2", CBE_SPLIT_GPT2},       {"gpt2", CBE_SPLIT_GPT2},     {"default", CBE_SPLIT_GPT2},
    {"phi-2", CBE_SPLIT_GPT2},       {"smollm", CBE_SPLIT_SMOLLM}, {"starcoder", CBE_SPLIT_SMOLLM},
    {"llama-bpe", CBE_SPLIT_LLAMA3}, {"llama3", CBE_SPLIT_LLAMA3}, {"llama-v3", CBE_SPLIT_LLAMA3},
    {"qwen2", CBE_SPLIT_QWEN2},
};

struct cbe_pretokenizer {
    pcre2_general_context *memory;
    pcre2_code *codes[MAX_STAGES]; /* NULL: no further one */
};

/* One call of cbe_pretokenize. */
typedef struct {
    const cbe_pretokenizer *pretokenizer;
    pcre2_match_context *limits;
    pcre2_match_data
        *matches[MAX_STAGES]; /* a piece is cut further while its stage's match is read */
    cbe_word_fn *visit;
    void *user;
} split_run;

static void *regex_alloc(size_t size, void *unused)
{
    (void)unused;
    return cbe_alloc(size, 1, "pre-tokenisation", NULL);
}

static void regex_free(void *memory, void *unused)
{
    (void)unused;
    cbe_free(memory);
}

static cbe_status out_of_memory(cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_NOMEM, -1, "pre-tokenisation: out of memory");
}

cbe_status cbe_split_find(cbe_split *out, const char *name, size_t length, const char *path,
                          cbe_error *err)
{
    char known[CBE_MESSAGE_SIZE / 2] = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i].name) == length && memcmp(names[i].name, name, length) == 0) {
            *out = names[i].split;
            return CBE_OK;
        }
        if (i > 0) strcat(known, ", ");
        strcat(known, names[i].name);
    }
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: pre-tokenisation '%.*s' (tokenizer.ggml.pre) is not one of those that can "
                    "be read (%s); give token ids with --tokens instead",
                    path, (int)(length < 64 ? length : 64), name, known);
}

const cbe_split_traits *cbe_split_get(cbe_split split)
{
    return &splits[split].traits;
}

cbe_status cbe_pretokenizer_create(cbe_pretokenizer **out, cbe_split split, cbe_error *err)
{
    cbe_status st = CBE_OK;
    pcre2_compile_context *context = NULL;
    cbe_pretokenizer *made = cbe_alloc_zero(1, sizeof *made, "pre-tokenisation", err);
    if (!made) return CBE_ERR_NOMEM;
    made->memory = pcre2_general_context_create(regex_alloc, regex_free, NULL);
    if (made->memory) context = pcre2_compile_context_create(made->memory);
    if (!context) {
        st = out_of_memory(err);
        goto done;
    }
    for (size_t i = 0; i < MAX_STAGES && splits[split].patterns[i]; i++) {
        int code;
        size_t offset;
        made->codes[i] = pcre2_compile((PCRE2_SPTR)splits[split].patterns[i], PCRE2_ZERO_TERMINATED,
                                       PCRE2_UTF, &code, &offset, context);
        if (!made->codes[i]) {
            st = code == PCRE2_ERROR_HEAP_FAILED
                     ? out_of_memory(err)
                     : cbe_fail(err, CBE_ERR_INTERNAL, -1,
                                "pre-tokenisation: pattern %zu of split %d: PCRE2 error %d at %zu",
                                i, (int)split, code, offset);
            goto done;
        }
        /* Machine code is refused where pages may not be executable: matching then interprets. */
        (void)pcre2_jit_compile(made->codes[i], PCRE2_JIT_COMPLETE);
    }
    *out = made;
    made = NULL;
done:
    pcre2_compile_context_free(context);
    cbe_pretokenizer_free(made);
    return st;
}

void cbe_pretokenizer_free(cbe_pretokenizer *pretokenizer)
{
    if (!pretokenizer) return;
    for (size_t i = 0; i < MAX_STAGES; i++) pcre2_code_free(pretokenizer->codes[i]);
    pcre2_general_context_free(pretokenizer->memory);
    cbe_free(pretokenizer);
}

static cbe_status split_piece(const split_run *run, size_t stage, const char *piece, size_t length,
                              cbe_error *err)
{
    if (length == 0) return CBE_OK;
    if (stage == MAX_STAGES || !run->pretokenizer->codes[stage])
        return run->visit(run->user, piece, length, err);
    const size_t *found = pcre2_get_ovector_pointer(run->matches[stage]);
    for (size_t at = 0; at < length;) {
        const int rc =
            pcre2_match(run->pretokenizer->codes[stage], (PCRE2_SPTR)piece, length, at,
                        PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, run->matches[stage], run->limits);
        if (rc == PCRE2_ERROR_NOMEMORY) return out_of_memory(err);
        if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
            return cbe_fail(
                err, CBE_ERR_INTERNAL, -1,
                "pre-tokenisation stopped at byte %zu of a piece of %zu: PCRE2 error %d", at,
                length, rc);
        const size_t begin = rc < 0 ? length : found[0], end = rc < 0 ? length : found[1];
        cbe_status st = split_piece(run, stage + 1, piece + at, begin - at, err);
        if (st == CBE_OK) st = split_piece(run, stage + 1, piece + begin, end - begin, err);
        if (st != CBE_OK) return st;
        at = end;
    }
    return CBE_OK;
}

cbe_status cbe_pretokenize(const cbe_pretokenizer *pretokenizer, const char *text, size_t length,
                           cbe_word_fn *visit, void *user, cbe_error *err)
{
    cbe_status st = CBE_OK;
    split_run run = {.pretokenizer = pretokenizer, .visit = visit, .user = user};
    run.limits = pcre2_match_context_create(pretokenizer->memory);
    if (!run.limits) {
        st = out_of_memory(err);
        goto done;
    }
    /* A match takes back one character of white space at a time at most, twice: more than that is a
     * pattern gone wrong, to be reported and not waited for. */
    const size_t steps = length < (UINT32_MAX - 10000) / 4 ? 4 * length + 10000 : UINT32_MAX;
    pcre2_set_match_limit(run.limits, (uint32_t)steps);
    for (size_t i = 0; i < MAX_STAGES && pretokenizer->codes[i]; i++)
        if (!(run.matches[i] = pcre2_match_data_create(1, pretokenizer->memory))) {
            st = out_of_memory(err);
            goto done;
        }
    st = split_piece(&run, 0, text, length, err);
done:
    for (size_t i = 0; i < MAX_STAGES; i++) pcre2_match_data_free(run.matches[i]);
    pcre2_match_context_free(run.limits);
    return st;
}
