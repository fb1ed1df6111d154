/* tokenizer_json_values.c - values of a tokenizer.json and of the files beside it, and what is said
 * of those that cannot be read. */
#include "core/fail.h"
#include "files/input_list.h"
#include "files/mapped_file.h"
#include "tokenizer/tokenizer_json.h"

cbe_status cbe_json_load(yyjson_doc **out, const char *path, cbe_inputs *inputs, cbe_error *err)
{
    cbe_mapped_file file = {0};
    cbe_status st = cbe_mapped_file_open(&file, path, err);
    if (st != CBE_OK) return st;
    st = cbe_inputs_add(inputs, CBE_INPUT_MODEL_BESIDE, &file, err);
    if (st == CBE_OK) st = cbe_json_read(out, (const char *)file.data, file.size, path, err);
    cbe_mapped_file_close(&file);
    return st;
}

int64_t cbe_json_id(yyjson_val *value)
{
    return yyjson_is_uint(value) && yyjson_get_uint(value) < INT32_MAX
               ? (int64_t)yyjson_get_uint(value)
               : -1;
}

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
    const char *type = cbe_json_text(value, "type");
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
    return yyjson_is_bool(value) ? yyjson_get_bool(value) : otherwise;
}
