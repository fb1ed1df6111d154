/*
 * tokenizer_open.c - the tokenizer of a model: from a GGUF file, or from a Hugging Face folder,
 * whose tokenizer.json has the tokenizer and whose other files name the tokens that begin and end a
 * text.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"
#include "formats/gguf.h"
#include "text/tokenizer_json.h"

/* Id of a token named by a string or by an object with its content; -1 if it is not known. */
static int64_t named_id(const cbe_tokenizer *tokenizer, yyjson_val *value)
{
    if (yyjson_is_obj(value)) value = cbe_json_at(value, "content");
    if (!yyjson_is_str(value)) return -1;
    const char *text = yyjson_get_str(value);
    const size_t length = yyjson_get_len(value), n = cbe_vocabulary_size(tokenizer->vocabulary);
    for (int list = 0; list < 2; list++) {
        const cbe_added_tokens *added = list ? &tokenizer->normalised : &tokenizer->added;
        for (size_t i = 0; i < added->n_tokens; i++)
            if (added->tokens[i].text.length == length &&
                memcmp(added->tokens[i].text.data, text, length) == 0)
                return added->tokens[i].id;
    }
    const int64_t id = cbe_vocabulary_find(tokenizer->vocabulary, text, length);
    return id < (int64_t)n ? id : -1;
}

/* An id in config.json, or the first of several ids. */
static int64_t numbered_id(const cbe_tokenizer *tokenizer, yyjson_val *value)
{
    const int64_t id = cbe_json_id(yyjson_is_arr(value) ? yyjson_arr_get(value, 0) : value);
    return id < (int64_t)cbe_vocabulary_size(tokenizer->vocabulary) ? id : -1;
}

/* Reads bos and eos from one file of the folder if no earlier file had them; a missing file has
 * neither. */
static cbe_status read_ends(cbe_tokenizer *made, const char *folder, const char *name,
                            cbe_inputs *inputs, cbe_error *err)
{
    cbe_error unread;
    yyjson_doc *doc = NULL;
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *path = cbe_alloc(size, 1, "path", err);
    if (!path) return CBE_ERR_NOMEM;
    snprintf(path, size, "%s/%s", folder, name);
    cbe_status st = cbe_json_load(&doc, path, inputs, &unread);
    cbe_free(path);
    if (st == CBE_ERR_IO) return CBE_OK;
    if (st != CBE_OK) {
        if (err) *err = unread;
        return st;
    }
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (made->bos < 0) made->bos = named_id(made, cbe_json_at(root, "bos_token"));
    if (made->bos < 0) made->bos = numbered_id(made, cbe_json_at(root, "bos_token_id"));
    if (made->eos < 0) made->eos = named_id(made, cbe_json_at(root, "eos_token"));
    if (made->eos < 0) made->eos = numbered_id(made, cbe_json_at(root, "eos_token_id"));
    yyjson_doc_free(doc);
    return CBE_OK;
}

cbe_status cbe_tokenizer_from_folder(cbe_tokenizer **out, const char *folder, cbe_inputs *inputs,
                                     cbe_error *err)
{
    static const char *const others[] = {"tokenizer_config.json", "special_tokens_map.json",
                                         "config.json"};
    const size_t size = strlen(folder) + sizeof "/tokenizer.json";
    cbe_tokenizer *made = NULL;
    char *path = cbe_alloc(size, 1, "path", err);
    if (!path) return CBE_ERR_NOMEM;
    snprintf(path, size, "%s/tokenizer.json", folder);
    FILE *file = fopen(path, "rb");
    cbe_status st = CBE_OK;
    if (file)
        fclose(file);
    else
        st = cbe_fail(
            err, cbe_status_of_errno(errno), -1,
            "%s: cannot be opened (%s); save the tokenizer with transformers (AutoTokenizer, "
            "save_pretrained), or "
            "give token ids with " CBE_OPTION("tokens") " IDS.safetensors",
            path, strerror(errno));
    if (st == CBE_OK) st = cbe_tokenizer_from_json(&made, path, inputs, err);
    for (size_t i = 0; i < sizeof others / sizeof *others && st == CBE_OK; i++)
        st = read_ends(made, folder, others[i], inputs, err);
    cbe_free(path);
    if (st == CBE_OK)
        *out = made;
    else
        cbe_tokenizer_free(made);
    return st;
}

cbe_status cbe_tokenizer_read(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                              cbe_remarks *remarks, cbe_error *err)
{
    cbe_path_kind kind;
    cbe_status st = cbe_path_look(path, &kind, err);
    if (st != CBE_OK) return st;
    if (kind == CBE_PATH_FOLDER) return cbe_tokenizer_from_folder(out, path, inputs, err);
    cbe_gguf *file = NULL;
    st = cbe_gguf_open(&file, path, err);
    if (st == CBE_OK) st = cbe_gguf_note(file, inputs, err);
    if (st == CBE_OK) st = cbe_tokenizer_from_gguf(out, file, remarks, err);
    cbe_gguf_close(file);
    return st;
}

cbe_status cbe_tokenizer_open(cbe_tokenizer **out, const char *path, cbe_error *err)
{
    if (!out || !path)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_tokenizer_open: %s is NULL",
                        out ? "the path" : "out");
    return cbe_tokenizer_read(out, path, NULL, NULL, err);
}
