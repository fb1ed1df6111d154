/*
 * tokenizer_gguf.c - tokenizers of GGUF files, by tokenizer.ggml.model: "gpt2" (byte-level BPE),
 * "llama" (SentencePiece's BPE: merges by score, byte fallback) and "t5" (unigram).
 */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/splits.h"
#include "tokenizer/tokenizer_private.h"

#define SPACE_MARK "\xe2\x96\x81" /* U+2581, which stands for a space */

typedef enum { BYTE_LEVEL_BPE, SENTENCEPIECE_BPE, UNIGRAM } model_kind;

/* A file's parts, while a tokenizer is made of them. */
typedef struct {
    const cbe_gguf *gguf;
    const char *path;
    model_kind kind;
    size_t n_tokens, n_merges;
    cbe_span *tokens, *merges;
    int64_t *kinds; /* (n_tokens); NULL: the file has none */
    float *scores;
    cbe_split_traits traits;
    cbe_remarks *remarks;
} source;

static cbe_status read_model(source *s, cbe_error *err)
{
    static const char *const names[] = {"gpt2", "llama", "t5"};
    cbe_span model;
    const cbe_status st = cbe_gguf_string(s->gguf, "tokenizer.ggml.model", &model, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (model.length == strlen(names[i]) && memcmp(model.data, names[i], model.length) == 0) {
            s->kind = (model_kind)i;
            return CBE_OK;
        }
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: a tokenizer of kind '%.*s' (tokenizer.ggml.model) cannot be read, only "
                    "gpt2, llama and t5; "
                    "give token ids with " CBE_OPTION("tokens") " IDS.safetensors instead",
                    s->path, (int)(model.length < 64 ? model.length : 64), model.data);
}

/* Reads the id of a special token. A file without the key has `otherwise`, and so has one whose id
 * is no token, as converters write -1 for none; *id is -1 if that is no token either. */
static cbe_status read_id(const source *s, const char *key, int64_t otherwise, int64_t *id,
                          cbe_error *err)
{
    int64_t value;
    const int64_t n = (int64_t)s->n_tokens;
    *id = otherwise < n ? otherwise : -1;
    if (!cbe_gguf_has(s->gguf, key)) return CBE_OK;
    const cbe_status st = cbe_gguf_int(s->gguf, key, &value, err);
    if (st != CBE_OK) return st;
    if (value >= 0 && value < n) {
        *id = value;
        return CBE_OK;
    }
    return *id < 0 ? cbe_remark(s->remarks, err,
                                "%s: %s is %lld, but the vocabulary has %zu tokens: there is no "
                                "such token",
                                s->path, key, (long long)value, s->n_tokens)
                   : cbe_remark(s->remarks, err,
                                "%s: %s is %lld, but the vocabulary has %zu tokens: it is taken to "
                                "be %lld, as of tokenizers of its kind",
                                s->path, key, (long long)value, s->n_tokens, (long long)*id);
}

static cbe_status read_bool(const source *s, const char *key, bool otherwise, bool *flag,
                            cbe_error *err)
{
    *flag = otherwise;
    return cbe_gguf_has(s->gguf, key) ? cbe_gguf_bool(s->gguf, key, flag, err) : CBE_OK;
}

/* Adds the token that id_key names to list if the file says that texts have it at this end;
 * `otherwise` if it does not say. Fails if the file says so and names no token. */
static cbe_status read_end(const source *s, const char *key, const char *id_key, int64_t id,
                           bool otherwise, cbe_id_list *list, cbe_error *err)
{
    bool flag;
    cbe_status st = read_bool(s, key, otherwise, &flag, err);
    if (st != CBE_OK || !flag) return st;
    if (id < 0 && !cbe_gguf_has(s->gguf, key))
        return cbe_remark(s->remarks, err,
                          "%s: %s is missing or no token of the vocabulary: texts lack the "
                          "token that tokenizers of this kind put at their ends",
                          s->path, id_key);
    if (id < 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: %s is set, but %s is missing or no token of the vocabulary", s->path,
                        key, id_key);
    return cbe_id_list_push(list, id, err);
}

static cbe_status read_ends(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    static const char bos_key[] = "tokenizer.ggml.bos_token_id";
    static const char eos_key[] = "tokenizer.ggml.eos_token_id";
    /* What files of each kind leave out; -1: nothing is left out. */
    static const int64_t usual_bos[] = {-1, 1, -1}, usual_eos[] = {-1, 2, 1};
    const bool add_bos = s->kind == SENTENCEPIECE_BPE || s->traits.add_bos,
               add_eos = s->kind == UNIGRAM;
    cbe_status st;
    if ((st = read_id(s, bos_key, usual_bos[s->kind], &made->bos, err)) != CBE_OK) return st;
    if ((st = read_id(s, eos_key, usual_eos[s->kind], &made->eos, err)) != CBE_OK) return st;
    st = read_end(s, "tokenizer.ggml.add_bos_token", bos_key, made->bos, add_bos, &made->before,
                  err);
    if (st != CBE_OK) return st;
    return read_end(s, "tokenizer.ggml.add_eos_token", eos_key, made->eos, add_eos, &made->after,
                    err);
}

/* Checks that an array has an entry for each token; further entries are ignored. */
static cbe_status check_length(const source *s, const char *key, size_t n, cbe_error *err)
{
    if (n >= s->n_tokens) return CBE_OK;
    return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s has %zu entries for %zu tokens", s->path, key,
                    n, s->n_tokens);
}

static cbe_status read_kinds(source *s, cbe_error *err)
{
    static const char key[] = "tokenizer.ggml.token_type";
    size_t n;
    if (!cbe_gguf_has(s->gguf, key)) return CBE_OK;
    cbe_status st = cbe_gguf_ints(s->gguf, key, &s->kinds, &n, err);
    if (st == CBE_OK) st = check_length(s, key, n, err);
    for (size_t id = 0; st == CBE_OK && id < s->n_tokens; id++)
        if (s->kinds[id] < 0 || s->kinds[id] >= CBE_N_TOKEN_KINDS)
            s->kinds[id] = CBE_TOKEN_UNDEFINED;
    return st;
}

static cbe_status read_scores(source *s, cbe_error *err)
{
    static const char key[] = "tokenizer.ggml.scores";
    size_t n;
    if (!cbe_gguf_has(s->gguf, key)) {
        s->scores = cbe_alloc_zero(s->n_tokens, sizeof *s->scores, key, err);
        if (!s->scores) return CBE_ERR_NOMEM;
        return cbe_remark(s->remarks, err,
                          "%s: %s is missing: every token's score is taken to be 0, as llama.cpp "
                          "takes it",
                          s->path, key);
    }
    cbe_status st = cbe_gguf_floats(s->gguf, key, &s->scores, &n, err);
    if (st == CBE_OK) st = check_length(s, key, n, err);
    for (size_t id = 0; st == CBE_OK && id < s->n_tokens; id++)
        if (!isfinite(s->scores[id]))
            st = cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s of token %zu is not finite", s->path,
                          key, id);
    return st;
}

static bool is_one_of(cbe_span text, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text.length == strlen(texts[i]) && memcmp(text.data, texts[i], text.length) == 0)
            return true;
    return false;
}

/* Whether a token's text says that it ends a text or a turn. Converters have given such tokens the
 * kind of ordinary ones; llama.cpp, too, believes the text. */
static bool is_end(cbe_span text)
{
    static const char *const ends[] = {
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|flush|>",
        "<|calls|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|end_of_text|>",
        "<eos>",
        "<turn|>",
        "<|tool_response>",
        "[e~[",
        "<end_of_utterance>",
        "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>"};
    return is_one_of(text, ends, sizeof ends / sizeof *ends);
}

/* Whether the special tokens of a model take the white space behind them. Files do not say: as in
 * llama.cpp, the model's name tells Phi 3. */
static bool strips_behind(const source *s)
{
    static const char *const names[] = {"phi-3", "phi3"};
    static const char key[] = "general.name";
    cbe_span name;
    cbe_error unread;
    if (!cbe_gguf_has(s->gguf, key) || cbe_gguf_string(s->gguf, key, &name, &unread) != CBE_OK)
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t at = 0; at + strlen(names[i]) <= name.length; at++)
            if (strncasecmp(name.data + at, names[i], strlen(names[i])) == 0) return true;
    return false;
}

static cbe_status collect_added(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    static const char *const bare[] = {"<unk>", "<s>", "<|endoftext|>"};
    const bool strips = strips_behind(s);
    size_t n = 0;
    cbe_status st = CBE_OK;
    cbe_added_token *tokens = cbe_alloc(s->n_tokens, sizeof *tokens, "added tokens", err);
    if (!tokens) return CBE_ERR_NOMEM;
    for (size_t id = 0; id < s->n_tokens && st == CBE_OK; id++) {
        const int64_t kind = s->kinds ? s->kinds[id] : CBE_TOKEN_NORMAL;
        const cbe_span text = cbe_vocabulary_bytes(made->vocabulary, id);
        const bool added = kind == CBE_TOKEN_CONTROL || kind == CBE_TOKEN_USER_DEFINED ||
                           kind == CBE_TOKEN_UNKNOWN;
        if (text.length == 0 || (!added && !is_end(text))) continue;
        tokens[n++] = (cbe_added_token){
            .text = text,
            .id = (int64_t)id,
            .rstrip = strips && !is_one_of(text, bare, sizeof bare / sizeof *bare),
        };
        if (!added && s->kinds)
            st = cbe_remark(s->remarks, err,
                            "%s: token %zu, '%.*s', is not marked as a control token; it is taken "
                            "for one, as its text says",
                            s->path, id, CBE_SHOWN_SPAN(text));
    }
    cbe_added_tokens_init(&made->added, tokens, n, NULL);
    return st;
}

/* Makes the encoder from merges "LEFT RIGHT". */
static cbe_status make_merges(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    cbe_span(*pairs)[2] = cbe_alloc(s->n_merges, sizeof *pairs, "merges", err);
    if (!pairs) return CBE_ERR_NOMEM;
    size_t n = 0;
    for (size_t i = 0; i < s->n_merges; i++) {
        const cbe_span text = s->merges[i];
        /* Converters may have copied the first line of a merges.txt. */
        if (text.length >= 8 && memcmp(text.data, "#version", 8) == 0) continue;
        /* The first character may be a space, which belongs to the left token. */
        const char *space = text.length > 1 ? memchr(text.data + 1, ' ', text.length - 1) : NULL;
        const size_t cut = space ? (size_t)(space - text.data) : text.length;
        pairs[n][0] = (cbe_span){text.data, cut};
        pairs[n++][1] = space ? (cbe_span){space + 1, text.length - cut - 1} : (cbe_span){"", 0};
    }
    const cbe_status st = cbe_bpe_create(&made->bpe, s->path, made->vocabulary, NULL, n,
                                         (const cbe_span(*)[2])pairs, err);
    cbe_free(pairs);
    return st;
}

/* Refuses a vocabulary without a token for any printable character of ASCII, and remarks on one
 * that lacks some. */
static cbe_status check_bytes(const cbe_tokenizer *made, const source *s, cbe_error *err)
{
    enum { FIRST = 0x20, END = 0x7f };
    int n = 0, first = 0;
    for (char byte = FIRST; byte < END; byte++)
        if (cbe_vocabulary_find(made->vocabulary, &byte, 1) < 0 && n++ == 0) first = byte;
    if (n == 0) return CBE_OK;
    if (n == END - FIRST)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: the vocabulary has no token for byte 0x%02x nor for any printable "
                        "character, so it is not one of byte-level BPE",
                        s->path, first);
    return cbe_remark(s->remarks, err,
                      "%s: the vocabulary has no tokens for %d of the %d printable characters of "
                      "ASCII, the first 0x%02x: texts lose them",
                      s->path, n, END - FIRST, first);
}

/* Reads which split the file names. Where it names none, or "default", the model's own split is not
 * known. */
static cbe_status read_split(const source *s, cbe_split *split, cbe_error *err)
{
    static const char key[] = "tokenizer.ggml.pre";
    cbe_span name = {"", 0};
    cbe_status st;
    if (cbe_gguf_has(s->gguf, key) && (st = cbe_gguf_string(s->gguf, key, &name, err)) != CBE_OK)
        return st;
    *split = CBE_SPLIT_DEFAULT;
    if (name.length > 0 &&
        (st = cbe_split_find(split, name.data, name.length, s->path, err)) != CBE_OK)
        return st;
    if (*split != CBE_SPLIT_DEFAULT) return CBE_OK;
    return cbe_remark(s->remarks, err,
                      "%s: %s is %s: texts are cut as llama.cpp cuts them then, but perhaps not as "
                      "those that the model learned from; convert the model again with a current "
                      "llama.cpp, or give token ids with " CBE_OPTION("tokens"),
                      s->path, key, name.length > 0 ? "'default'" : "missing");
}

/* Makes a byte-level BPE tokenizer. */
static cbe_status make_byte_level(cbe_tokenizer *made, source *s, cbe_error *err)
{
    cbe_split split;
    cbe_status st = read_split(s, &split, err);
    if (st != CBE_OK) return st;
    s->traits = *cbe_split_get(split);
    made->ignore_merges = s->traits.ignore_merges;
    if ((st = cbe_pretokenizer_add_named(&made->pretokenizer, split, err)) != CBE_OK) return st;
    if (s->traits.nfc && (st = cbe_normaliser_add_form(&made->normaliser, CBE_NFC, err)) != CBE_OK)
        return st;
    if ((st = check_bytes(made, s, err)) != CBE_OK) return st;
    st = cbe_gguf_strings(s->gguf, "tokenizer.ggml.merges", &s->merges, &s->n_merges, err);
    return st == CBE_OK ? make_merges(made, s, err) : st;
}

static cbe_status add_replace(cbe_tokenizer *made, const char *pattern, const char *by,
                              cbe_error *err)
{
    cbe_regex *regex = NULL;
    const cbe_status st = cbe_regex_create(&regex, pattern, strlen(pattern), "built in", err);
    return st == CBE_OK ? cbe_normaliser_add_replace(&made->normaliser, regex, by, strlen(by), err)
                        : st;
}

/* Adds the step that turns spaces into marks, with a mark in front unless the file says otherwise,
 * and the step back. */
static cbe_status add_space_marks(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    static const cbe_span mark = {SPACE_MARK, sizeof SPACE_MARK - 1}, space = {" ", 1};
    bool prefix, remove_extra;
    cbe_status st = read_bool(s, "tokenizer.ggml.add_space_prefix", true, &prefix, err);
    if (st == CBE_OK)
        st = read_bool(s, "tokenizer.ggml.remove_extra_whitespaces", false, &remove_extra, err);
    if (st == CBE_OK && s->kind == UNIGRAM && remove_extra) {
        st = cbe_normaliser_add_strip(&made->normaliser, true, true, err);
        if (st == CBE_OK) st = add_replace(made, " {2,}", " ", err);
    }
    if (st == CBE_OK && prefix)
        st = cbe_normaliser_add_prepend(&made->normaliser, mark.data, mark.length, err);
    if (st == CBE_OK) st = add_replace(made, " ", SPACE_MARK, err);
    cbe_token_decoder *d = &made->decoder;
    if (st == CBE_OK) st = cbe_token_decoder_add_replace(d, mark, space, err);
    if (st == CBE_OK) st = cbe_token_decoder_add_byte_fallback(d, err);
    if (st == CBE_OK) st = cbe_token_decoder_add_fuse(d, err);
    if (st == CBE_OK && prefix) st = cbe_token_decoder_add_strip(d, space, 1, 0, err);
    return st;
}

static cbe_status make_sentencepiece(cbe_tokenizer *made, source *s, cbe_error *err)
{
    static const char charsmap[] = "tokenizer.ggml.precompiled_charsmap";
    int64_t unknown;
    cbe_status st =
        read_id(s, "tokenizer.ggml.unknown_token_id", s->kind == UNIGRAM ? 2 : 0, &unknown, err);
    if (st == CBE_OK) st = read_scores(s, err);
    if (st == CBE_OK) st = add_space_marks(made, s, err);
    if (st != CBE_OK) return st;
    if (s->kind == SENTENCEPIECE_BPE) {
        const cbe_bpe_options options = {.byte_fallback = true, .unknown = unknown};
        return cbe_bpe_create_scored(&made->bpe, made->vocabulary, &options, s->scores, s->kinds,
                                     err);
    }
    if (cbe_gguf_has(s->gguf, charsmap))
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: a normaliser in the form of a table (%s) cannot be read; give token "
                        "ids with " CBE_OPTION("tokens") " "
                                                         "IDS.safetensors instead",
                        s->path, charsmap);
    double *scores = cbe_alloc(s->n_tokens, sizeof *scores, "scores", err);
    if (!scores) return CBE_ERR_NOMEM;
    for (size_t id = 0; id < s->n_tokens; id++) scores[id] = (double)s->scores[id];
    st = cbe_unigram_create(&made->unigram, made->vocabulary, scores, s->kinds, unknown, true, err);
    cbe_free(scores);
    return st;
}

cbe_status cbe_tokenizer_from_gguf(cbe_tokenizer **out, const cbe_gguf *file, cbe_remarks *remarks,
                                   cbe_error *err)
{
    cbe_status st;
    source s = {.gguf = file, .path = cbe_gguf_path(file), .remarks = remarks};
    cbe_tokenizer *made = cbe_alloc_zero(1, sizeof *made, "tokenizer", err);
    if (!made) return CBE_ERR_NOMEM;
    if ((st = read_model(&s, err)) != CBE_OK) goto done;
    if ((st = cbe_gguf_strings(file, "tokenizer.ggml.tokens", &s.tokens, &s.n_tokens, err)) !=
        CBE_OK)
        goto done;
    if ((st = read_kinds(&s, err)) != CBE_OK) goto done;
    st = cbe_vocabulary_create(&made->vocabulary, s.path, s.n_tokens, s.tokens, s.kinds,
                               s.kind == BYTE_LEVEL_BPE, remarks, err);
    if (st != CBE_OK) goto done;
    st = s.kind == BYTE_LEVEL_BPE ? make_byte_level(made, &s, err)
                                  : make_sentencepiece(made, &s, err);
    if (st != CBE_OK) goto done;
    if ((st = read_ends(made, &s, err)) != CBE_OK) goto done;
    if ((st = collect_added(made, &s, err)) != CBE_OK) goto done;
    *out = made;
    made = NULL;
done:
    cbe_gguf_free_array(s.tokens);
    cbe_gguf_free_array(s.merges);
    cbe_gguf_free_array(s.kinds);
    cbe_gguf_free_array(s.scores);
    cbe_tokenizer_free(made);
    return st;
}
