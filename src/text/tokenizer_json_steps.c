/*
 * tokenizer_json_steps.c - normalizer, pre_tokenizer and decoder of a tokenizer.json, by their
 * "type".
 *
 * An unknown type is an error that names it, but for a decoder's, which only decoding needs.
 */
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "text/tokenizer_json.h"

enum { MAX_DEPTH = 8 };

#define PUNCTUATION "[!-/:-@\\[-`{-~\\p{P}]"

/* Characters of words, as in the crate regex. */
#define WORDS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"

/* GPT-2's split, which ByteLevel does unless use_regex is false. */
#define GPT2_SPLIT                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

cbe_status cbe_json_wrong(const char *path, const char *what, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: %s; save the tokenizer again with tokenizers or transformers", path, what);
}

cbe_status cbe_json_not_read(const char *path, const char *what, const char *kind, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: %s '%.60s' cannot be read; give token ids with " CBE_OPTION(
                        "tokens") " IDS.safetensors instead",
                    path, what, kind);
}

const char *cbe_json_type(yyjson_val *value)
{
    const char *type = yyjson_get_str(cbe_json_at(value, "type"));
    return type ? type : "";
}

bool cbe_json_span(yyjson_val *object, const char *key, cbe_span *out)
{
    yyjson_val *value = cbe_json_at(object, key);
    if (!yyjson_is_str(value)) return false;
    *out = (cbe_span){yyjson_get_str(value), yyjson_get_len(value)};
    return true;
}

bool cbe_json_flag(yyjson_val *object, const char *key, bool otherwise)
{
    yyjson_val *value = cbe_json_at(object, key);
    return yyjson_is_bool(value) ? yyjson_is_true(value) : otherwise;
}

/* Reads {"String": text} or {"Regex": pattern}. */
static cbe_status read_pattern(yyjson_val *value, const char *path, cbe_regex **out, cbe_error *err)
{
    cbe_span text;
    if (cbe_json_span(value, "String", &text) && text.length > 0)
        return cbe_regex_create_literal(out, text.data, text.length, err);
    if (cbe_json_span(value, "Regex", &text))
        return cbe_regex_create(out, text.data, text.length, path, err);
    return cbe_json_wrong(path, "a pattern is neither a String nor a Regex", err);
}

static cbe_status normaliser(yyjson_val *value, const char *path, int depth, cbe_normaliser *out,
                             cbe_error *err)
{
    static const struct {
        const char *type;
        cbe_normal_form form;
    } forms[] = {{"NFC", CBE_NFC}, {"NFD", CBE_NFD}, {"NFKC", CBE_NFKC}, {"NFKD", CBE_NFKD}};
    size_t i, n;
    cbe_span text;
    yyjson_val *item;
    cbe_status st = CBE_OK;
    if (!value || yyjson_is_null(value)) return CBE_OK;
    const char *type = cbe_json_type(value);
    for (i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(type, forms[i].type) == 0)
            return cbe_normaliser_add_form(out, forms[i].form, err);
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        yyjson_val *list = cbe_json_at(value, "normalizers");
        if (!yyjson_is_arr(list))
            return cbe_json_wrong(path, "a sequence of normalizers is not a list", err);
        yyjson_arr_foreach(list, i, n, item)
        {
            if ((st = normaliser(item, path, depth + 1, out, err)) != CBE_OK) return st;
        }
        return CBE_OK;
    }
    if (strcmp(type, "Lowercase") == 0) return cbe_normaliser_add_lowercase(out, err);
    if (strcmp(type, "StripAccents") == 0) return cbe_normaliser_add_strip_accents(out, err);
    if (strcmp(type, "Strip") == 0)
        return cbe_normaliser_add_strip(out, cbe_json_flag(value, "strip_left", true),
                                        cbe_json_flag(value, "strip_right", true), err);
    if (strcmp(type, "Prepend") == 0 && cbe_json_span(value, "prepend", &text))
        return cbe_normaliser_add_prepend(out, text.data, text.length, err);
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

static cbe_status byte_level(yyjson_val *value, cbe_pretokenizer *out, cbe_error *err)
{
    cbe_status st = CBE_OK;
    if (cbe_json_flag(value, "add_prefix_space", true))
        st = cbe_pretokenizer_add_prefix_space(out, err);
    if (st == CBE_OK && cbe_json_flag(value, "use_regex", true))
        st = add_pattern(out, GPT2_SPLIT, CBE_SPLIT_ISOLATED, false, err);
    return st;
}

/* Reads "prepend_scheme", or "add_prefix_space" in older files. */
static cbe_status read_scheme(yyjson_val *value, const char *path, cbe_prepend_scheme *out,
                              cbe_error *err)
{
    const char *scheme = yyjson_get_str(cbe_json_at(value, "prepend_scheme"));
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

static cbe_status pretokenizer(yyjson_val *value, const char *path, int depth,
                               cbe_pretokenizer *out, bool *is_byte_level, cbe_error *err)
{
    static const struct {
        const char *type, *pattern;
        cbe_split_behaviour behaviour;
        bool invert;
    } patterns[] = {
        {"WhitespaceSplit", "\\s", CBE_SPLIT_REMOVED, false},
        {"Whitespace", "[" WORDS "]+|[^\\s" WORDS "]+", CBE_SPLIT_REMOVED, true},
    };
    cbe_split_behaviour behaviour;
    cbe_span delimiter;
    size_t i, n;
    yyjson_val *item;
    cbe_regex *regex = NULL;
    cbe_status st = CBE_OK;
    if (!value || yyjson_is_null(value)) return CBE_OK;
    const char *type = cbe_json_type(value);
    /* Behind ByteLevel the text consists of characters that stand for bytes, which other steps do
     * not expect. */
    if (*is_byte_level)
        return cbe_json_not_read(path, "behind ByteLevel, pre_tokenizer", type, err);
    for (i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (strcmp(type, patterns[i].type) == 0)
            return add_pattern(out, patterns[i].pattern, patterns[i].behaviour, patterns[i].invert,
                               err);
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        yyjson_val *list = cbe_json_at(value, "pretokenizers");
        if (!yyjson_is_arr(list))
            return cbe_json_wrong(path, "a sequence of pretokenizers is not a list", err);
        yyjson_arr_foreach(list, i, n, item)
        {
            if ((st = pretokenizer(item, path, depth + 1, out, is_byte_level, err)) != CBE_OK)
                return st;
        }
        return CBE_OK;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        *is_byte_level = true;
        return byte_level(value, out, err);
    }
    if (strcmp(type, "Metaspace") == 0) return metaspace(value, path, out, err);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        st = add_pattern(out, "\\s", CBE_SPLIT_REMOVED, false, err);
        return st == CBE_OK ? add_pattern(out, PUNCTUATION, CBE_SPLIT_ISOLATED, false, err) : st;
    }
    if (strcmp(type, "Digits") == 0)
        return add_pattern(out, "\\p{N}",
                           cbe_json_flag(value, "individual_digits", false) ? CBE_SPLIT_ISOLATED
                                                                            : CBE_SPLIT_CONTIGUOUS,
                           false, err);
    if (strcmp(type, "CharDelimiterSplit") == 0 && cbe_json_span(value, "delimiter", &delimiter) &&
        delimiter.length > 0) {
        st = cbe_regex_create_literal(&regex, delimiter.data, delimiter.length, err);
        return st == CBE_OK ? cbe_pretokenizer_add_split(out, regex, CBE_SPLIT_REMOVED, false, err)
                            : st;
    }
    if (strcmp(type, "Punctuation") != 0 && strcmp(type, "Split") != 0)
        return cbe_json_not_read(path, "pre_tokenizer", type, err);
    if ((st = read_behaviour(value, path, &behaviour, err)) != CBE_OK) return st;
    if (*type == 'P') return add_pattern(out, PUNCTUATION, behaviour, false, err);
    if ((st = read_pattern(cbe_json_at(value, "pattern"), path, &regex, err)) != CBE_OK) return st;
    return cbe_pretokenizer_add_split(out, regex, behaviour, cbe_json_flag(value, "invert", false),
                                      err);
}

cbe_status cbe_json_pretokenizer(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                                 bool *byte_level, cbe_error *err)
{
    *byte_level = false;
    return pretokenizer(value, path, 0, out, byte_level, err);
}

static size_t count_of(yyjson_val *value, const char *key)
{
    const int64_t n = yyjson_get_sint(cbe_json_at(value, key));
    return n > 0 ? (size_t)n : 0;
}

static cbe_status decoder(yyjson_val *value, bool byte_level, int depth, cbe_token_decoder *out,
                          cbe_error *err)
{
    size_t i, n;
    yyjson_val *item;
    cbe_span from, to;
    cbe_status st = CBE_OK;
    if (!value || yyjson_is_null(value)) return CBE_OK;
    const char *type = cbe_json_type(value);
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        yyjson_val *list = cbe_json_at(value, "decoders");
        yyjson_arr_foreach(list, i, n, item)
        {
            if ((st = decoder(item, byte_level, depth + 1, out, err)) != CBE_OK) return st;
        }
        return CBE_OK;
    }
    if (strcmp(type, "Fuse") == 0)
        return byte_level ? CBE_OK : cbe_token_decoder_add_fuse(out, err);
    if (strcmp(type, "ByteLevel") == 0 && byte_level) return CBE_OK;
    if (byte_level) return cbe_token_decoder_set_not_read(out, type, err);
    if (strcmp(type, "ByteFallback") == 0) return cbe_token_decoder_add_byte_fallback(out, err);
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

cbe_status cbe_json_decoder(yyjson_val *value, bool byte_level, cbe_token_decoder *out,
                            cbe_error *err)
{
    return decoder(value, byte_level, 0, out, err);
}
