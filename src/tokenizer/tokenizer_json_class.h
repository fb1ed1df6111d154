/*
 * tokenizer_json_class.h - classes of tokenizers that build their normalizer and pre_tokenizer
 * themselves in transformers 5, from the keys of tokenizer_config.json, and leave those of
 * tokenizer.json aside.
 */
#ifndef CBE_TOKENIZER_TOKENIZER_JSON_CLASS_H
#define CBE_TOKENIZER_TOKENIZER_JSON_CLASS_H

#include "tokenizer/tokenizer_json.h"

enum { CBE_N_NAMED_TOKENS = 7 };

/** Keys of the tokens that every class may name: bos_token, eos_token and so on, in the order in
 * which transformers adds them. */
extern const char *const cbe_named_token_keys[CBE_N_NAMED_TOKENS];

typedef struct cbe_tokenizer_class cbe_tokenizer_class;

/** The class that transformers takes for a folder; NULL: one that takes tokenizer.json as it is. */
const cbe_tokenizer_class *cbe_tokenizer_class_find(yyjson_val *root,
                                                    const cbe_files_beside *beside);
/** The token that a class has where tokenizer_config.json does not name one; NULL: none.
 * @param key  index of cbe_named_token_keys */
const char *cbe_tokenizer_class_token(const cbe_tokenizer_class *class, size_t key);
/** Remarks that tokenizer.json has other steps or ends than the class, if it has. */
cbe_status cbe_tokenizer_class_compare(const cbe_tokenizer_class *class, yyjson_val *root,
                                       const cbe_files_beside *beside, cbe_remarks *remarks,
                                       cbe_error *err);

#endif
