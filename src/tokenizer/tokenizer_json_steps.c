/*
 * tokenizer_json_steps.c - normalizer, pre_tokenizer and decoder of a tokenizer.json, by their
 * "type".
 *
 * An unknown type is an error that names it, but for a decoder's, which only decoding needs.
 */
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/old_categories.h"
#include "tokenizer/tokenizer_json.h"

enum { MAX_DEPTH = 64, DEFAULT_LENGTH = 5 };

/* Characters of words, as in the crate regex. */
#define WORDS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"

/* GPT-2's split, which ByteLevel does unless use_regex is false. */
#define GPT2_SPLIT                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Reads {"String": text} or {"Regex": pattern}. */
static cbe_status read_pattern(yyjson_val *value, const char *path, cbe_regex **out, cbe_error *err)
{
    cbe_span text;
    if (cbe_json_span(value, "String", &text) && text.length == 0)
        return cbe_regex_create(out, "", 0, path, err); /* matches between all characters */
    if (cbe_json_span(value, "String", &text))
        return cbe_regex_create_literal(out, text.data, text.length, err);
    if (cbe_json_span(value, "Regex", &text))
        return cbe_regex_create(out, text.data, text.length, path, err);
    return cbe_json_wrong(path, "a pattern is neither a String nor a Regex", err);
}

/* Adds the steps of BertNormalizer. */
static cbe_status bert(yyjson_val *value, cbe_normaliser *out, cbe_error *err)
{
    const bool lowercase = cbe_json_flag(value, "lowercase", true);
    cbe_status st = CBE_OK;
    if (cbe_json_flag(value, "clean_text", true))
        st = cbe_normaliser_add_filter(out, CBE_FILTER_BERT_CLEAN, err);
    if (st == CBE_OK && cbe_json_flag(value, "handle_chinese_chars", true))
        st = cbe_normaliser_add_filter(out, CBE_FILTER_BERT_CHINESE, err);
    if (st == CBE_OK && cbe_json_flag(value, "strip_accents", lowercase)) {
        st = cbe_normaliser_add_form(out, CBE_NFD, err);
        if (st == CBE_OK) st = cbe_normaliser_add_filter(out, CBE_FILTER_BERT_ACCENTS, err);
    }
    return st == CBE_OK && lowercase ? cbe_normaliser_add_lowercase(out, err) : st;
}

static cbe_status normaliser(yyjson_val *value, const char *path, int depth, cbe_normaliser *out,
                             cbe_error *err)
{
    static const struct {
        const char *type;
        cbe_normal_form form;
    } forms[] = {{"NFC", CBE_NFC}, {"NFD", CBE_NFD}, {"NFKC", CBE_NFKC}, {"NFKD", CBE_NFKD}};
    cbe_span text;
    cbe_status st = CBE_OK;
    if (!value || yyjson_is_null(value)) return CBE_OK;
    const char *type = cbe_json_type(value);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(type, forms[i].type) == 0)
            return cbe_normaliser_add_form(out, forms[i].form, err);
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        yyjson_val *list = cbe_json_at(value, "normalizers"), *inner;
        size_t i, n;
        if (!yyjson_is_arr(list))
            return cbe_json_wrong(path, "a sequence of normalizers is not a list", err);
        yyjson_arr_foreach(list, i, n, inner)
        {
            if ((st = normaliser(inner, path, depth + 1, out, err)) != CBE_OK) return st;
        }
        return CBE_OK;
    }
    if (strcmp(type, "BertNormalizer") == 0) return bert(value, out, err);
    if (strcmp(type, "Lowercase") == 0) return cbe_normaliser_add_lowercase(out, err);
    if (strcmp(type, "StripAccents") == 0) return cbe_normaliser_add_strip_accents(out, err);
    if (strcmp(type, "Nmt") == 0) return cbe_normaliser_add_filter(out, CBE_FILTER_NMT, err);
    if (strcmp(type, "ByteLevel") == 0) return cbe_normaliser_add_byte_characters(out, err);
    if (strcmp(type, "Strip") == 0)
        return cbe_normaliser_add_strip(out, cbe_json_flag(value, "strip_left", true),
                                        cbe_json_flag(value, "strip_right", true), err);
    if (strcmp(type, "Prepend") == 0 && cbe_json_span(value, "prepend", &text))
        return cbe_normaliser_add_prepend(out, text.data, text.length, err);
    if (strcmp(type, "Precompiled") == 0) {
        cbe_charsmap *map = NULL;
        text = (cbe_span){"", 0};
        cbe_json_span(value, "precompiled_charsmap", &text);
        st = cbe_charsmap_create_base64(&map, text.data, text.length, path, err);
        return st == CBE_OK ? cbe_normaliser_add_charsmap(out, map, err) : st;
    }
    if (strcmp(type, "Replace") == 0 && cbe_json_span(value, "content", &text)) {
        cbe_regex *regex = NULL;
        st = read_pattern(cbe_json_at(value, "pattern"), path, &regex, err);
        return st == CBE_OK ? cbe_normaliser_add_replace(out, regex, text.data, text.length, err)
                            : st;
    }
    return cbe_json_not_read(path, "normalizer", type, err);
}

cbe_status cbe_json_normaliser(yyjson_val *value, const char *path, cbe_normaliser *out,
                               cbe_error *err)
{
    return normaliser(value, path, 0, out, err);
}

static cbe_status add_pattern(cbe_pretokenizer *out, const char *pattern,
                              cbe_split_behaviour behaviour, bool invert, cbe_error *err)
{
    cbe_regex *regex = NULL;
    const cbe_status st = cbe_regex_create(&regex, pattern, strlen(pattern), "built in", err);
    return st == CBE_OK ? cbe_pretokenizer_add_split(out, regex, behaviour, invert, err) : st;
}

/* Reads "behavior"; "Isolated" if it is missing. */
static cbe_status read_behaviour(yyjson_val *value, const char *path, cbe_split_behaviour *out,
                                 cbe_error *err)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    yyjson_val *behaviour = cbe_json_at(value, "behavior");
    *out = CBE_SPLIT_ISOLATED;
    if (!behaviour) return CBE_OK;
    const char *name = yyjson_get_str(behaviour);
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (cbe_split_behaviour)i;
            return CBE_OK;
        }
    return cbe_json_not_read(path, "split behavior", name ? name : "?", err);
}

static cbe_status byte_level(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                             cbe_error *err)
{
    cbe_status st = CBE_OK;
    (void)path;
    if (cbe_json_flag(value, "add_prefix_space", true))
        st = cbe_pretokenizer_add_prefix_space(out, err);
    if (st == CBE_OK && cbe_json_flag(value, "use_regex", true))
        st = add_pattern(out, GPT2_SPLIT, CBE_SPLIT_ISOLATED, false, err);
    return st == CBE_OK ? cbe_pretokenizer_add_byte_characters(out, err) : st;
}

/* Reads "prepend_scheme", or "add_prefix_space" in older files. */
static cbe_status read_scheme(yyjson_val *value, const char *path, cbe_prepend_scheme *out,
                              cbe_error *err)
{
    const char *scheme = cbe_json_text(value, "prepend_scheme");
    *out = CBE_PREPEND_ALWAYS;
    if (!scheme) {
        if (!cbe_json_flag(value, "add_prefix_space", true)) *out = CBE_PREPEND_NEVER;
        return CBE_OK;
    }
    if (strcmp(scheme, "always") == 0) return CBE_OK;
    if (strcmp(scheme, "first") != 0 && strcmp(scheme, "never") != 0)
        return cbe_json_not_read(path, "prepend_scheme", scheme, err);
    *out = *scheme == 'f' ? CBE_PREPEND_FIRST : CBE_PREPEND_NEVER;
    return CBE_OK;
}

static cbe_status metaspace(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                            cbe_error *err)
{
    cbe_span mark;
    cbe_prepend_scheme scheme;
    cbe_regex *regex = NULL;
    if (!cbe_json_span(value, "replacement", &mark) || mark.length == 0)
        return cbe_json_wrong(path, "Metaspace has no replacement", err);
    cbe_status st = read_scheme(value, path, &scheme, err);
    if (st == CBE_OK) st = cbe_pretokenizer_add_metaspace(out, mark.data, mark.length, scheme, err);
    if (st != CBE_OK || !cbe_json_flag(value, "split", true)) return st;
    st = cbe_regex_create_literal(&regex, mark.data, mark.length, err);
    return st == CBE_OK
               ? cbe_pretokenizer_add_split(out, regex, CBE_SPLIT_MERGED_WITH_NEXT, false, err)
               : st;
}

/* Reads a split at a literal text or a regex. */
static cbe_status split(yyjson_val *value, const char *path, cbe_pretokenizer *out, cbe_error *err)
{
    cbe_split_behaviour behaviour;
    cbe_regex *regex = NULL;
    cbe_status st = read_behaviour(value, path, &behaviour, err);
    if (st == CBE_OK) st = read_pattern(cbe_json_at(value, "pattern"), path, &regex, err);
    return st == CBE_OK ? cbe_pretokenizer_add_split(out, regex, behaviour,
                                                     cbe_json_flag(value, "invert", false), err)
                        : st;
}

static cbe_status punctuation(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                              cbe_error *err)
{
    cbe_split_behaviour behaviour;
    const cbe_status st = read_behaviour(value, path, &behaviour, err);
    return st == CBE_OK ? add_pattern(out, cbe_old_punctuation, behaviour, false, err) : st;
}

static cbe_status fixed_length(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                               cbe_error *err)
{
    yyjson_val *length = cbe_json_at(value, "length");
    if (length && (!yyjson_is_uint(length) || yyjson_get_uint(length) == 0))
        return cbe_json_wrong(path, "FixedLength has no length", err);
    return cbe_pretokenizer_add_fixed_length(
        out, length ? (size_t)yyjson_get_uint(length) : DEFAULT_LENGTH, err);
}

static cbe_status delimiter(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                            cbe_error *err)
{
    cbe_span text;
    cbe_regex *regex = NULL;
    if (!cbe_json_span(value, "delimiter", &text) || text.length == 0)
        return cbe_json_wrong(path, "CharDelimiterSplit has no delimiter", err);
    const cbe_status st = cbe_regex_create_literal(&regex, text.data, text.length, err);
    return st == CBE_OK ? cbe_pretokenizer_add_split(out, regex, CBE_SPLIT_REMOVED, false, err)
                        : st;
}

static cbe_status bert_split(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                             cbe_error *err)
{
    (void)value;
    (void)path;
    const cbe_status st = add_pattern(out, "\\s", CBE_SPLIT_REMOVED, false, err);
    return st == CBE_OK ? add_pattern(out, cbe_old_punctuation, CBE_SPLIT_ISOLATED, false, err)
                        : st;
}

static cbe_status digits(yyjson_val *value, const char *path, cbe_pretokenizer *out, cbe_error *err)
{
    (void)path;
    const bool each = cbe_json_flag(value, "individual_digits", false);
    return add_pattern(out, "\\p{N}", each ? CBE_SPLIT_ISOLATED : CBE_SPLIT_CONTIGUOUS, false, err);
}

static cbe_status white_space(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                              cbe_error *err)
{
    (void)value;
    (void)path;
    return add_pattern(out, "\\s", CBE_SPLIT_REMOVED, false, err);
}

static cbe_status words(yyjson_val *value, const char *path, cbe_pretokenizer *out, cbe_error *err)
{
    (void)value;
    (void)path;
    return add_pattern(out, "[" WORDS "]+|[^\\s" WORDS "]+", CBE_SPLIT_REMOVED, true, err);
}

static cbe_status pretokenizer(yyjson_val *value, const char *path, int depth,
                               cbe_pretokenizer *out, cbe_error *err)
{
    static const struct {
        const char *type;
        cbe_status (*add)(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                          cbe_error *err);
    } kinds[] = {
        {"BertPreTokenizer", bert_split},
        {"ByteLevel", byte_level},
        {"CharDelimiterSplit", delimiter},
        {"Digits", digits},
        {"FixedLength", fixed_length},
        {"Metaspace", metaspace},
        {"Punctuation", punctuation},
        {"Split", split},
        {"Whitespace", words},
        {"WhitespaceSplit", white_space},
    };
    if (!value || yyjson_is_null(value)) return CBE_OK;
    const char *type = cbe_json_type(value);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0) return kinds[i].add(value, path, out, err);
    if (strcmp(type, "Sequence") != 0 || depth == MAX_DEPTH)
        return cbe_json_not_read(path, "pre_tokenizer", type, err);
    yyjson_val *list = cbe_json_at(value, "pretokenizers"), *inner;
    size_t i, n;
    if (!yyjson_is_arr(list))
        return cbe_json_wrong(path, "a sequence of pretokenizers is not a list", err);
    yyjson_arr_foreach(list, i, n, inner)
    {
        const cbe_status st = pretokenizer(inner, path, depth + 1, out, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

cbe_status cbe_json_pretokenizer(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                                 cbe_error *err)
{
    return pretokenizer(value, path, 0, out, err);
}

static size_t count_of(yyjson_val *value, const char *key)
{
    yyjson_val *n = cbe_json_at(value, key);
    return yyjson_is_uint(n) ? (size_t)yyjson_get_uint(n) : 0;
}

static cbe_status decoder(yyjson_val *value, int depth, cbe_token_decoder *out, cbe_error *err)
{
    cbe_span from, to;
    cbe_status st = CBE_OK;
    if (!value || yyjson_is_null(value)) return CBE_OK;
    const char *type = cbe_json_type(value);
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        yyjson_val *list = cbe_json_at(value, "decoders"), *inner;
        size_t i, n;
        yyjson_arr_foreach(list, i, n, inner)
        {
            if ((st = decoder(inner, depth + 1, out, err)) != CBE_OK) return st;
        }
        return CBE_OK;
    }
    if (strcmp(type, "Fuse") == 0) return cbe_token_decoder_add_fuse(out, err);
    if (strcmp(type, "ByteLevel") == 0) return cbe_token_decoder_add_byte_level(out, err);
    if (strcmp(type, "ByteFallback") == 0) return cbe_token_decoder_add_byte_fallback(out, err);
    if (strcmp(type, "WordPiece") == 0 && cbe_json_span(value, "prefix", &from))
        return cbe_token_decoder_add_wordpiece(out, from, cbe_json_flag(value, "cleanup", true),
                                               err);
    if (strcmp(type, "Replace") == 0 &&
        cbe_json_span(cbe_json_at(value, "pattern"), "String", &from) &&
        cbe_json_span(value, "content", &to) && from.length > 0)
        return cbe_token_decoder_add_replace(out, from, to, err);
    if (strcmp(type, "Strip") == 0 && cbe_json_span(value, "content", &from))
        return cbe_token_decoder_add_strip(out, from, count_of(value, "start"),
                                           count_of(value, "stop"), err);
    if (strcmp(type, "Metaspace") == 0 && cbe_json_span(value, "replacement", &from) &&
        from.length > 0) {
        cbe_prepend_scheme scheme;
        if (read_scheme(value, "", &scheme, NULL) == CBE_OK)
            return cbe_token_decoder_add_metaspace(out, from, scheme != CBE_PREPEND_NEVER, err);
    }
    return cbe_token_decoder_set_not_read(out, type, err);
}

cbe_status cbe_json_decoder(yyjson_val *value, cbe_token_decoder *out, cbe_error *err)
{
    return decoder(value, 0, out, err);
}
