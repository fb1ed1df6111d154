/*
 * tokenizer_json_class.c - see tokenizer_json_class.h. Classes and steps are those of transformers
 * 5.24. Steps are compared as short texts: "Metaspace(▁,first,0)".
 */
#include "tokenizer/tokenizer_json_class.h"

#include <stdio.h>
#include <string.h>

#include "core/byte_buffer.h"
#include "core/memory.h"

enum { MAX_TYPES = 16, MAX_DEPTH = 64 };

const char *const cbe_named_token_keys[CBE_N_NAMED_TOKENS] = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

/* Whether a class puts tokens at the ends of a text itself. */
typedef enum { AS_FILE = 0, NO_ENDS, OWN_ENDS } class_ends;

/* In the texts of steps %p is add_prefix_space, %l the scheme of Llama and %b the traits of
 * BertNormalizer. NULL: not compared, always remarked. */
struct cbe_tokenizer_class {
    const char *name, *normaliser, *pretokenizer;
    class_ends ends;
    const char *tokens[CBE_N_NAMED_TOKENS];
    const char *types[MAX_TYPES]; /* values of model_type without a class that have this one */
};

#define MARK "\xe2\x96\x81"
#define QWEN2                                                                                      \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+"      \
    "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define END "<|endoftext|>"

/* clang-format off */
static const struct cbe_tokenizer_class classes[] = {
    {"LlamaTokenizer", "", "Metaspace(" MARK ",%l,0)", AS_FILE,
     {"<s>", "</s>", "<unk>"}, {NULL}},
    {"GPT2Tokenizer", "", "ByteLevel(%p,1)", AS_FILE,
     {END, END, END},
     {"gpt2", "gpt_neo", "gptj", "opt", "phi", "starcoder2", "codegen", "dbrx"}},
    {"WhisperTokenizer", "", "ByteLevel(%p,1)", AS_FILE,
     {END, END, END}, {"whisper"}},
    {"RobertaTokenizer", "", "ByteLevel(%p,1)", OWN_ENDS,
     {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"}, {"roberta", "bart"}},
    {"GPTNeoXTokenizer", "NFC", "ByteLevel(%p,1)", NO_ENDS,
     {END, END, END, NULL, "<|padding|>"},
     {"gpt_neox", "olmo", "olmoe", "mpt", "mamba", "mamba2", "falcon_mamba", "rwkv"}},
    {"CohereTokenizer", "NFC", "Digits(1)|ByteLevel(%p,1)", AS_FILE,
     {"<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", "<SEP>", "<PAD>", "<CLS>", "<MASK_TOKEN>"},
     {"cohere", "cohere2"}},
    {"Qwen2Tokenizer", "NFC", "Split(Regex:" QWEN2 ",Isolated,0)|ByteLevel(%p,0)", AS_FILE,
     {NULL, END, END, NULL, END},
     {"qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next", "qwen2_vl", "qwen2_5_vl"}},
    {"GemmaTokenizer", "Replace(String: ," MARK ")", "Split(String: ,MergedWithPrevious,0)", AS_FILE,
     {"<bos>", "<eos>", "<unk>", NULL, "<pad>", NULL, "<mask>"},
     {"gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text", "recurrent_gemma"}},
    {"BertTokenizer", "BertNormalizer(%b)", "BertPreTokenizer", OWN_ENDS,
     {NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"},
     {"bert", "distilbert", "electra", "convbert", "layoutlm", "nomic_bert"}},
    {.name = "T5Tokenizer", .types = {"t5", "mt5", "switch_transformers"}},
    {.name = "XLMRobertaTokenizer", .types = {"xlm-roberta", "xmod"}},
    {.name = "AlbertTokenizer"}, {.name = "BarthezTokenizer"}, {.name = "BigBirdTokenizer"},
    {.name = "BlenderbotTokenizer"}, {.name = "CLIPTokenizer"}, {.name = "CamembertTokenizer"},
    {.name = "CodeGenTokenizer"}, {.name = "CodeLlamaTokenizer"}, {.name = "DebertaTokenizer"},
    {.name = "DebertaV2Tokenizer"}, {.name = "FunnelTokenizer"}, {.name = "HerbertTokenizer"},
    {.name = "LayoutLMv2Tokenizer"}, {.name = "LayoutLMv3Tokenizer"},
    {.name = "LayoutXLMTokenizer"}, {.name = "LukeTokenizer"}, {.name = "MBart50Tokenizer"},
    {.name = "MBartTokenizer"}, {.name = "MPNetTokenizer"}, {.name = "MarkupLMTokenizer"},
    {.name = "NllbTokenizer"}, {.name = "NougatTokenizer"}, {.name = "OpenAIGPTTokenizer"},
    {.name = "PegasusTokenizer"}, {.name = "ReformerTokenizer"}, {.name = "RemBertTokenizer"},
    {.name = "SeamlessM4TTokenizer"}, {.name = "SplinterTokenizer"}, {.name = "UdopTokenizer"},
    {.name = "XGLMTokenizer"}, {.name = "XLNetTokenizer"},
};

/* Values of model_type whose folders name a wrong class: transformers takes tokenizer.json. */
static const char *const misnamed[] = {
    "arctic", "camembertv2-base", "chatlm", "cohere_asr", "ernie4_5", "ernie4_5_moe", "fuyu",
    "h2ovl_chat", "hyperclovax", "hyperclovax_vision_v2", "hyperclovax_vlm", "internlm2",
    "internlm3", "iquestcoder", "jamba", "llava", "llava_next", "minicpm3", "minicpmv",
    "minimax_m2", "modernbert", "modernbert-decoder", "molmo", "molmo2", "nemotron", "nvfp4",
    "opencua", "openvla", "paddleocr_vl", "phi3", "phi3_v", "phimoe", "qwen3_5", "qwen3_5_moe",
    "qwen3_5_moe_text", "qwen4_exp", "siglip2", "smolvlm", "step3_vl", "vipllava"};
/* clang-format on */

/* Appends the steps of a normalizer or pre_tokenizer, those of sequences one by one. */
static cbe_status describe(yyjson_val *value, int depth, cbe_byte_buffer *out, cbe_error *err);

static cbe_status put(cbe_byte_buffer *out, const char *text, cbe_error *err)
{
    return cbe_byte_buffer_put(out, text, strlen(text), err);
}

static cbe_status put_list(yyjson_val *list, int depth, cbe_byte_buffer *out, cbe_error *err)
{
    size_t i, n;
    yyjson_val *inner;
    yyjson_arr_foreach(list, i, n, inner)
    {
        const cbe_status st = describe(inner, depth + 1, out, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Appends one argument: a string, true as 1, false and what is missing as 0. */
static cbe_status put_argument(yyjson_val *value, cbe_byte_buffer *out, cbe_error *err)
{
    if (yyjson_is_str(value))
        return cbe_byte_buffer_put(out, yyjson_get_str(value), yyjson_get_len(value), err);
    if (yyjson_is_obj(value)) { /* a pattern */
        yyjson_val *text = cbe_json_at(value, "String");
        const cbe_status st = put(out, text ? "String:" : "Regex:", err);
        return st == CBE_OK ? put_argument(text ? text : cbe_json_at(value, "Regex"), out, err)
                            : st;
    }
    return put(out, yyjson_is_true(value) ? "1" : yyjson_is_null(value) ? "-" : "0", err);
}

static cbe_status describe(yyjson_val *value, int depth, cbe_byte_buffer *out, cbe_error *err)
{
    static const struct {
        const char *type, *arguments[4];
    } types[] = {
        {"ByteLevel", {"add_prefix_space", "use_regex"}},
        {"Metaspace", {"replacement", "prepend_scheme", "split"}},
        {"Split", {"pattern", "behavior", "invert"}},
        {"Digits", {"individual_digits"}},
        {"Replace", {"pattern", "content"}},
        {"Prepend", {"prepend"}},
        {"Strip", {"strip_left", "strip_right"}},
        {"BertNormalizer", {"clean_text", "handle_chinese_chars", "strip_accents", "lowercase"}},
    };
    if (!value || yyjson_is_null(value) || depth == MAX_DEPTH) return CBE_OK;
    const char *type = cbe_json_type(value);
    if (strcmp(type, "Sequence") == 0) {
        yyjson_val *list = cbe_json_at(value, "normalizers");
        return put_list(list ? list : cbe_json_at(value, "pretokenizers"), depth, out, err);
    }
    cbe_status st = out->size ? put(out, "|", err) : CBE_OK;
    if (st == CBE_OK) st = put(out, type, err);
    for (size_t i = 0; i < sizeof types / sizeof *types && st == CBE_OK; i++) {
        if (strcmp(type, types[i].type) != 0) continue;
        for (size_t k = 0; k < 4 && types[i].arguments[k] && st == CBE_OK; k++) {
            st = put(out, k ? "," : "(", err);
            if (st == CBE_OK)
                st = put_argument(cbe_json_at(value, types[i].arguments[k]), out, err);
        }
        if (st == CBE_OK) st = put(out, ")", err);
    }
    return st;
}

/* Whether Python takes the value of a key for true; `otherwise` if it is missing or null. */
static bool truth(yyjson_val *object, const char *key, bool otherwise)
{
    yyjson_val *value = cbe_json_get(object, key);
    return value ? cbe_json_is_true(value) : otherwise;
}

static bool contains(yyjson_val *value, const char *type, int depth)
{
    if (strcmp(cbe_json_type(value), type) == 0) return true;
    static const char *const lists[] = {"normalizers", "pretokenizers"};
    for (size_t k = 0; k < 2 && depth < MAX_DEPTH; k++) {
        yyjson_val *inner;
        size_t i, n;
        yyjson_arr_foreach(cbe_json_at(value, lists[k]), i, n, inner)
        {
            if (contains(inner, type, depth + 1)) return true;
        }
    }
    return false;
}

/* Appends the text of a class's steps with what the files say in place of %. */
static cbe_status expect(const char *text, yyjson_val *config, cbe_byte_buffer *out, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (; *text && st == CBE_OK; text++) {
        if (*text != '%') {
            st = cbe_byte_buffer_put(out, text, 1, err);
            continue;
        }
        const bool prefix = truth(config, "add_prefix_space", text[1] != 'p');
        switch (*++text) {
        case 'p': st = put(out, prefix ? "1" : "0", err); break;
        case 'l':
            st = put(out,
                     !prefix                          ? "never"
                     : truth(config, "legacy", false) ? "always"
                                                      : "first",
                     err);
            break;
        default: {
            yyjson_val *accents = cbe_json_get(config, "strip_accents");
            st = put(out, "1,", err);
            if (st == CBE_OK)
                st = put(out, truth(config, "tokenize_chinese_chars", true) ? "1," : "0,", err);
            if (st == CBE_OK)
                st = put(out, !accents ? "-," : yyjson_is_true(accents) ? "1," : "0,", err);
            if (st == CBE_OK) st = put(out, truth(config, "do_lower_case", true) ? "1" : "0", err);
        }
        }
    }
    return st;
}

/* Whether a post_processor puts tokens at the ends of a text. */
static bool has_ends(yyjson_val *processor, int depth)
{
    const char *type = cbe_json_type(processor);
    yyjson_val *piece;
    size_t i, n;
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) return true;
    yyjson_arr_foreach(cbe_json_at(processor, "single"), i, n, piece)
    {
        if (cbe_json_get(piece, "SpecialToken")) return true;
    }
    yyjson_arr_foreach(cbe_json_at(processor, "processors"), i, n, piece)
    {
        if (depth < MAX_DEPTH && has_ends(piece, depth + 1)) return true;
    }
    return false;
}

static bool same_name(const char *name, size_t length, const char *other)
{
    return strlen(other) == length && memcmp(name, other, length) == 0;
}

const cbe_tokenizer_class *cbe_tokenizer_class_find(yyjson_val *root,
                                                    const cbe_files_beside *beside)
{
    const char *name = cbe_json_text(beside->config, "tokenizer_class");
    const char *type = cbe_json_text(beside->model_config, "model_type");
    if (!name) name = cbe_json_text(beside->model_config, "tokenizer_class");
    for (size_t i = 0; type && i < sizeof misnamed / sizeof *misnamed; i++)
        if (strcmp(type, misnamed[i]) == 0) return NULL;
    /* Folders of this type name all kinds of classes, and transformers takes this one. */
    if (type && strcmp(type, "qwen2") == 0) name = "Qwen2Tokenizer";
    size_t length = name ? strlen(name) : 0;
    if (length > 4 && strcmp(name + length - 4, "Fast") == 0) length -= 4;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        const cbe_tokenizer_class *class = &classes[i];
        bool found = name && same_name(name, length, class->name);
        for (size_t k = 0; !name && type && k < MAX_TYPES && class->types[k]; k++)
            found = found || strcmp(type, class->types[k]) == 0;
        if (!found) continue;
        /* Folders of Llama 3 name Llama's class, whose steps they do not have. */
        const bool other = strcmp(class->name, "LlamaTokenizer") == 0 &&
                           contains(cbe_json_at(root, "pre_tokenizer"), "ByteLevel", 0);
        return other ? NULL : class;
    }
    return NULL;
}

const char *cbe_tokenizer_class_token(const cbe_tokenizer_class *class, size_t key)
{
    return class ? class->tokens[key] : NULL;
}

cbe_status cbe_tokenizer_class_compare(const cbe_tokenizer_class *class, yyjson_val *root,
                                       const cbe_files_beside *beside, cbe_remarks *remarks,
                                       cbe_error *err)
{
    cbe_byte_buffer has = {0}, wants = {0};
    cbe_status st = CBE_OK;
    const char *const texts[] = {class->normaliser, class->pretokenizer};
    static const char *const keys[] = {"normalizer", "pre_tokenizer"};
    const bool ends = has_ends(cbe_json_at(root, "post_processor"), 0);
    bool same = class->normaliser && (class->ends == AS_FILE || (class->ends == OWN_ENDS) == ends);
    for (size_t i = 0; i < 2 && same && st == CBE_OK; i++) {
        has.size = wants.size = 0;
        st = describe(cbe_json_at(root, keys[i]), 0, &has, err);
        if (st == CBE_OK) st = expect(texts[i], beside->config, &wants, err);
        same = has.size == wants.size && (!has.size || !memcmp(has.bytes, wants.bytes, has.size));
    }
    cbe_free(has.bytes);
    cbe_free(wants.bytes);
    if (st != CBE_OK || same) return st;
    return cbe_remark(remarks, err,
                      "%s: transformers 5 replaces parts of tokenizer.json by those of "
                      "tokenizer_class %s, and may give other ids; tokenizer.json's are taken, as "
                      "transformers 4 does",
                      beside->path, class->name);
}
