/*
 * tokenizer_json.h - reading the parts of a tokenizer.json, and of the files beside it, each from
 * its JSON value; see tokenizer_json.c.
 */
#ifndef CBE_TOKENIZER_TOKENIZER_JSON_H
#define CBE_TOKENIZER_TOKENIZER_JSON_H

#include "core/remarks.h"
#include "formats/json.h"
#include "tokenizer/added_list.h"
#include "tokenizer/tokenizer_private.h"

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

/** Reads the model, which has to come first: vocabulary and encoder of *made.
 * @param model_size  [out] entries of the model's vocabulary */
cbe_status cbe_json_model(cbe_tokenizer *made, yyjson_val *model, const char *path,
                          size_t *model_size, cbe_error *err);

/* Each adds the steps of its value to *out; null adds none. Failures are CBE_ERR_FORMAT,
 * CBE_ERR_UNSUPPORTED and CBE_ERR_NOMEM; a decoder's step that is not supported fails only when
 * text is decoded. */
cbe_status cbe_json_normaliser(yyjson_val *value, const char *path, cbe_normaliser *out,
                               cbe_error *err);
cbe_status cbe_json_pretokenizer(yyjson_val *value, const char *path, cbe_pretokenizer *out,
                                 cbe_error *err);
cbe_status cbe_json_decoder(yyjson_val *value, cbe_token_decoder *out, cbe_error *err);
/** Sets the ids that texts have at their ends; needs the model. */
cbe_status cbe_json_processor(cbe_tokenizer *made, yyjson_val *value, const char *path,
                              cbe_error *err);

/** An added token from a string, or from an object with its traits; false if it is neither.
 * @param special  whether it is special if the object does not say */
bool cbe_json_added_entry(yyjson_val *value, bool special, cbe_added_entry *out);
/** Adds the tokens of "added_tokens" to the list, and remarks on ids that are not those listed. */
cbe_status cbe_json_added(const cbe_tokenizer *made, yyjson_val *value, const char *path,
                          size_t model_size, cbe_added_list *list, cbe_remarks *remarks,
                          cbe_error *err);
/** Makes the added tokens of *made, whose normaliser is set, from the list, and remarks on tokens
 * that cannot be found. */
cbe_status cbe_json_take_added(cbe_tokenizer *made, const cbe_added_list *list, const char *path,
                               cbe_remarks *remarks, cbe_error *err);

/** The files beside a tokenizer.json; NULL: the folder does not have the file. */
typedef struct {
    const char *path; /* of tokenizer_config.json, for messages */
    yyjson_val *config, *special_map, *added, *model_config;
} cbe_files_beside;
/** Adds the tokens that only the files beside tokenizer.json know to the list, as transformers
 * does, and remarks on keys that transformers obeys and this program does not.
 * @param root  of tokenizer.json */
cbe_status cbe_json_config(cbe_tokenizer *made, yyjson_val *root, const cbe_files_beside *beside,
                           size_t model_size, cbe_added_list *list, cbe_remarks *remarks,
                           cbe_error *err);

#endif
