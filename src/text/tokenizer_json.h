/* tokenizer_json.h - parts of a tokenizer.json, each from its JSON value; see tokenizer_json.c. */
#ifndef CBE_TEXT_TOKENIZER_JSON_H
#define CBE_TEXT_TOKENIZER_JSON_H

#include <jansson.h>

#include "text/tokenizer_private.h"

/** Errors of a file: what is wrong with it, and what kind of thing in it is not read. */
cbe_status cbe_json_wrong(const char *path, const char *what, cbe_error *err);
cbe_status cbe_json_not_read(const char *path, const char *what, const char *kind, cbe_error *err);

/** Reads a JSON file of a model's folder.
 * @param out    [out] to json_decref
 * @param inputs the file is added to, as CBE_INPUT_MODEL_BESIDE; NULL: not wanted
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_FORMAT, CBE_ERR_NOMEM */
cbe_status cbe_json_load(json_t **out, const char *path, cbe_inputs *inputs, cbe_error *err);

/** The id of a token; -1 when the value is none that can be. */
int64_t cbe_json_id(const json_t *value);

/** Value of "type"; "" when there is none. */
const char *cbe_json_type(const json_t *value);
/** A string of an object as a span, borrowed; false when it is not there. */
bool cbe_json_span(const json_t *object, const char *key, cbe_span *out);
/** A bool of an object; `otherwise` when it is not there. */
bool cbe_json_flag(const json_t *object, const char *key, bool otherwise);

/* Each adds steps to what is there; null adds none. */
cbe_status cbe_json_normaliser(const json_t *value, const char *path, cbe_normaliser *out,
                               cbe_error *err);
/** *byte_level is set when words are to be taken as bytes. */
cbe_status cbe_json_pretokenizer(const json_t *value, const char *path, cbe_pretokenizer *out,
                                 bool *byte_level, cbe_error *err);
cbe_status cbe_json_decoder(const json_t *value, bool byte_level, cbe_token_decoder *out,
                            cbe_error *err);

#endif
