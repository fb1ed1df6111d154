/* tokenizer_json.h - reading the parts of a tokenizer.json, each from its JSON value; see
 * tokenizer_json.c. */
#ifndef CBE_TEXT_TOKENIZER_JSON_H
#define CBE_TEXT_TOKENIZER_JSON_H

#include "formats/json.h"
#include "text/tokenizer_private.h"

/** Fail with CBE_ERR_FORMAT for a file that is wrong, and with CBE_ERR_UNSUPPORTED for a file with
 * a kind of part that is not supported. */
cbe_status cbe_json_wrong(const char *path, const char *what, cbe_error *err);
cbe_status cbe_json_not_read(const char *path, const char *what, const char *kind, cbe_error *err);

/** Reads a JSON file of a model's folder.
 * @param out    [out] the caller drops it with yyjson_doc_free
 * @param inputs the file is added to this list as CBE_INPUT_MODEL_BESIDE; NULL skips it
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_FORMAT, CBE_ERR_NOMEM */
cbe_status cbe_json_load(yyjson_doc **out, const char *path, cbe_inputs *inputs, cbe_error *err);

/** A token's id; -1 if the value cannot be one. */
int64_t cbe_json_id(yyjson_val *value);

/** Value of "type"; "" if there is none. */
const char *cbe_json_type(yyjson_val *value);
/** A string of an object as a span, borrowed; false if it is missing. */
bool cbe_json_span(yyjson_val *object, const char *key, cbe_span *out);
/** A bool of an object; `otherwise` if it is missing. */
bool cbe_json_flag(yyjson_val *object, const char *key, bool otherwise);

/* Each adds the steps of its value to *out; null adds none. Failures are CBE_ERR_FORMAT,
 * CBE_ERR_UNSUPPORTED and CBE_ERR_NOMEM; a decoder's step that is not supported fails only when
 * text is decoded. */
cbe_status cbe_json_normaliser(yyjson_val *value, const char *path, cbe_normaliser *out,
                               cbe_error *err);
/** *byte_level is set if words are to be taken as bytes. */
cbe_status cbe_json_pretokenizer(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                                 bool *byte_level, cbe_error *err);
cbe_status cbe_json_decoder(yyjson_val *value, bool byte_level, cbe_token_decoder *out,
                            cbe_error *err);

#endif
