/* regex.c - see regex.h: compiling and matching. The translation is in regex_translate.c. */
#include "tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/utf8.h"
#include "tokenizer/regex_translate.h"

/* Limit on steps in a search: patterns in use take a few steps a byte, and a pattern that
 * backtracks without end must be reported. */
enum { STEPS_A_BYTE = 40, STEPS_AT_LEAST = 100000, SHOWN = 80 };

struct cbe_regex {
    pcre2_general_context *memory;
    pcre2_code *code;
};

struct cbe_regex_search {
    const cbe_regex *regex;
    pcre2_match_context *limits;
    pcre2_match_data *match;
};

static void *regex_alloc(size_t size, void *unused)
{
    (void)unused;
    return cbe_alloc(size, 1, "regular expression", NULL);
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

/* Compiles a pattern in PCRE2's syntax; `shown`, whose beginning the message shows, is the
 * original. */
static cbe_status compile(cbe_regex **out, const char *pattern, size_t length, uint32_t options,
                          const char *path, const char *shown, size_t shown_length, cbe_error *err)
{
    cbe_status st = CBE_OK;
    pcre2_compile_context *context = NULL;
    cbe_regex *made = cbe_alloc_zero(1, sizeof *made, "regular expression", err);
    if (!made) return CBE_ERR_NOMEM;
    made->memory = pcre2_general_context_create(regex_alloc, regex_free, NULL);
    if (made->memory) context = pcre2_compile_context_create(made->memory);
    if (!context) {
        st = out_of_memory(err);
        goto done;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int code;
    size_t offset;
    made->code =
        pcre2_compile((PCRE2_SPTR)pattern, length, PCRE2_UTF | options, &code, &offset, context);
    if (!made->code) {
        PCRE2_UCHAR why[120] = "";
        pcre2_get_error_message(code, why, sizeof why);
        st = code == PCRE2_ERROR_HEAP_FAILED || code == PCRE2_ERROR_NOMEMORY
                 ? out_of_memory(err)
                 : cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                            "%s: regular expression '%.*s' cannot be read (%s); give token ids "
                            "with " CBE_OPTION("tokens") " "
                                                         "IDS.safetensors instead",
                            path, (int)(shown_length < SHOWN ? shown_length : SHOWN), shown,
                            (const char *)why);
        goto done;
    }
    /* If the system allows no executable pages, compiling to machine code fails and matching
     * interprets. */
    (void)pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE);
    *out = made;
    made = NULL;
done:
    pcre2_compile_context_free(context);
    cbe_regex_free(made);
    return st;
}

cbe_status cbe_regex_create(cbe_regex **out, const char *pattern, size_t length, const char *path,
                            cbe_error *err)
{
    char *translated = NULL;
    size_t n;
    cbe_status st = cbe_regex_translate(&translated, &n, pattern, length, path, err);
    if (st == CBE_OK)
        st = compile(out, translated, n, PCRE2_UCP | PCRE2_MULTILINE, path, pattern, length, err);
    cbe_free(translated);
    return st;
}

cbe_status cbe_regex_create_literal(cbe_regex **out, const char *text, size_t length,
                                    cbe_error *err)
{
    return compile(out, text, length, PCRE2_LITERAL, "literal", text, length, err);
}

void cbe_regex_free(cbe_regex *regex)
{
    if (!regex) return;
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->memory);
    cbe_free(regex);
}

cbe_status cbe_regex_search_create(cbe_regex_search **out, const cbe_regex *regex, size_t length,
                                   cbe_error *err)
{
    cbe_regex_search *made = cbe_alloc_zero(1, sizeof *made, "regular expression", err);
    if (!made) return CBE_ERR_NOMEM;
    made->regex = regex;
    made->limits = pcre2_match_context_create(regex->memory);
    made->match = pcre2_match_data_create(1, regex->memory);
    if (!made->limits || !made->match) {
        cbe_regex_search_free(made);
        return out_of_memory(err);
    }
    const size_t most = (UINT32_MAX - STEPS_AT_LEAST) / STEPS_A_BYTE;
    pcre2_set_match_limit(made->limits, length < most
                                            ? (uint32_t)length * STEPS_A_BYTE + STEPS_AT_LEAST
                                            : UINT32_MAX);
    *out = made;
    return CBE_OK;
}

void cbe_regex_search_free(cbe_regex_search *search)
{
    if (!search) return;
    pcre2_match_data_free(search->match);
    pcre2_match_context_free(search->limits);
    cbe_free(search);
}

/* Finds the first match at `from` or behind it. */
static cbe_status match_from(cbe_regex_search *search, const char *text, size_t length, size_t from,
                             bool *found, size_t *begin, size_t *end, cbe_error *err)
{
    const pcre2_code *code = search->regex->code;
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc =
        pcre2_match(code, (PCRE2_SPTR)text, length, from, options, search->match, search->limits);
    /* Machine code has a small stack; the interpreter's stack grows. */
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        options |= PCRE2_NO_JIT;
        rc = pcre2_match(code, (PCRE2_SPTR)text, length, from, options, search->match,
                         search->limits);
    }
    if (rc == PCRE2_ERROR_NOMEMORY) return out_of_memory(err);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return cbe_fail(
            err, CBE_ERR_UNSUPPORTED, -1,
            "pre-tokenisation stopped at byte %zu of a piece of %zu (PCRE2 error %d): the "
            "tokenizer's "
            "regular expression takes too many steps; give token ids with " CBE_OPTION(
                "tokens") " instead",
            from, length, rc);
    const size_t *place = pcre2_get_ovector_pointer(search->match);
    *found = rc >= 0;
    *begin = rc < 0 ? length : place[0];
    *end = rc < 0 ? length : place[1];
    if (*begin > *end) *begin = *end; /* \K behind a look ahead */
    return CBE_OK;
}

cbe_status cbe_regex_find(cbe_regex_search *search, const char *text, size_t length,
                          cbe_regex_place *place, bool *found, size_t *begin, size_t *end,
                          cbe_error *err)
{
    *found = false;
    *begin = *end = length;
    /* At the end of the text only an empty match is left. */
    while (place->at < length ||
           (place->at == length && !(place->any_match && place->end == length))) {
        const cbe_status st = match_from(search, text, length, place->at, found, begin, end, err);
        if (st != CBE_OK) return st;
        if (!*found) break;
        if (*begin < *end || !place->any_match || *end != place->end) {
            *place = (cbe_regex_place){*end, *end, true};
            return CBE_OK;
        }
        place->at += place->at < length ? cbe_utf8_size(text[place->at]) : 1;
    }
    *found = false;
    *begin = *end = length;
    place->at = length + 1;
    return CBE_OK;
}
