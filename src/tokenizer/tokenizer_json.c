/* tokenizer_json.c - a tokenizer from a tokenizer.json, with the files beside it or without. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/tokenizer_json.h"

/* Makes the tokenizer of a document.
 * @param beside  NULL: the tokenizer.json stands alone */
static cbe_status make(cbe_tokenizer *made, yyjson_val *root, const char *path,
                       const cbe_files_beside *beside, cbe_remarks *remarks, cbe_error *err)
{
    size_t model_size = 0;
    cbe_added_list list = {0};
    yyjson_val *model = cbe_json_at(root, "model");
    cbe_status st;
    if (!yyjson_is_obj(model))
        return cbe_json_wrong(path, "there is no object 'model' in it: not a tokenizer.json", err);
    st = cbe_json_normaliser(cbe_json_at(root, "normalizer"), path, &made->normaliser, err);
    if (st == CBE_OK)
        st = cbe_json_pretokenizer(cbe_json_at(root, "pre_tokenizer"), path, &made->pretokenizer,
                                   err);
    if (st == CBE_OK) st = cbe_json_model(made, model, path, &model_size, err);
    if (st == CBE_OK)
        st = cbe_json_added(made, cbe_json_at(root, "added_tokens"), path, model_size, &list,
                            remarks, err);
    if (st == CBE_OK && beside)
        st = cbe_json_config(made, root, beside, model_size, &list, remarks, err);
    if (st == CBE_OK) st = cbe_json_take_added(made, &list, path, remarks, err);
    if (st == CBE_OK && cbe_tokenizer_vocab_size(made) == 0)
        st = cbe_vocabulary_is_empty(path, err);
    if (st == CBE_OK) st = cbe_json_processor(made, cbe_json_at(root, "post_processor"), path, err);
    if (st == CBE_OK) st = cbe_json_decoder(cbe_json_at(root, "decoder"), &made->decoder, err);
    cbe_added_list_free(&list);
    return st;
}

static cbe_status create(cbe_tokenizer **out, yyjson_val *root, const char *path,
                         const cbe_files_beside *beside, cbe_remarks *remarks, cbe_error *err)
{
    cbe_tokenizer *made = cbe_alloc_zero(1, sizeof *made, "tokenizer", err);
    if (!made) return CBE_ERR_NOMEM;
    const cbe_status st = make(made, root, path, beside, remarks, err);
    if (st != CBE_OK) {
        cbe_tokenizer_free(made);
        return st;
    }
    made->bos = made->before.count ? made->before.ids[0] : -1;
    made->eos = -1;
    *out = made;
    return CBE_OK;
}

cbe_status cbe_tokenizer_from_json(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                                   cbe_remarks *remarks, cbe_error *err)
{
    yyjson_doc *doc = NULL;
    cbe_status st = cbe_json_load(&doc, path, inputs, err);
    if (st != CBE_OK) return st;
    st = create(out, yyjson_doc_get_root(doc), path, NULL, remarks, err);
    yyjson_doc_free(doc);
    return st;
}

/* Id of a token named by a string or by an object with its content; -1 if it is not known. */
static int64_t named_id(const cbe_tokenizer *tokenizer, yyjson_val *value)
{
    cbe_added_entry entry;
    if (!cbe_json_added_entry(value, false, &entry)) return -1;
    const cbe_span text = entry.content;
    for (int list = 0; list < 2; list++) {
        const cbe_added_tokens *added = list ? &tokenizer->normalised : &tokenizer->added;
        for (size_t i = 0; i < added->n_tokens; i++)
            if (added->tokens[i].text.length == text.length &&
                memcmp(added->tokens[i].text.data, text.data, text.length) == 0)
                return added->tokens[i].id;
    }
    return cbe_vocabulary_find(tokenizer->vocabulary, text.data, text.length);
}

/* An id in config.json, or the first of several ids. */
static int64_t numbered_id(const cbe_tokenizer *tokenizer, yyjson_val *value)
{
    const int64_t id = cbe_json_id(yyjson_is_arr(value) ? yyjson_arr_get(value, 0) : value);
    return id < (int64_t)cbe_tokenizer_vocab_size(tokenizer) ? id : -1;
}

/* Reads bos and eos: of a tokenizer_config.json that lists added tokens, else of
 * special_tokens_map.json, then of tokenizer_config.json and config.json. */
static void read_ends(cbe_tokenizer *made, const cbe_files_beside *beside)
{
    const bool listed = cbe_json_at(beside->config, "added_tokens_decoder") != NULL;
    yyjson_val *const files[] = {listed ? beside->config : beside->special_map,
                                 listed ? beside->special_map : beside->config,
                                 beside->model_config};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (made->bos < 0) made->bos = named_id(made, cbe_json_get(files[i], "bos_token"));
        if (made->bos < 0) made->bos = numbered_id(made, cbe_json_at(files[i], "bos_token_id"));
        if (made->eos < 0) made->eos = named_id(made, cbe_json_get(files[i], "eos_token"));
        if (made->eos < 0) made->eos = numbered_id(made, cbe_json_at(files[i], "eos_token_id"));
    }
}

enum { TOKENIZER, CONFIG, SPECIAL_MAP, ADDED, MODEL_CONFIG, N_FILES };
static const char *const names[N_FILES] = {
    [TOKENIZER] = "tokenizer.json",
    [CONFIG] = "tokenizer_config.json",
    [SPECIAL_MAP] = "special_tokens_map.json",
    [ADDED] = "added_tokens.json",
    [MODEL_CONFIG] = "config.json",
};

/* Loads a file of the folder; one that is missing is an error only if it is tokenizer.json. */
static cbe_status load(yyjson_doc **out, char **path, const char *folder, int file,
                       cbe_inputs *inputs, cbe_error *err)
{
    const size_t size = strlen(folder) + strlen(names[file]) + 2;
    if (!(*path = cbe_alloc(size, 1, "path", err))) return CBE_ERR_NOMEM;
    snprintf(*path, size, "%s/%s", folder, names[file]);
    FILE *found = fopen(*path, "rb");
    if (found) {
        fclose(found);
        cbe_error unread;
        const cbe_status st = cbe_json_load(out, *path, inputs, &unread);
        if (st == CBE_ERR_IO && file != TOKENIZER) return CBE_OK; /* a folder, say */
        if (st != CBE_OK && err) *err = unread;
        return st;
    }
    if (file != TOKENIZER) return CBE_OK;
    return cbe_fail(err, cbe_status_of_errno(errno), -1,
                    "%s: cannot be opened (%s); save the tokenizer with transformers "
                    "(AutoTokenizer, save_pretrained), or give token ids with " CBE_OPTION(
                        "tokens") " IDS.safetensors",
                    *path, strerror(errno));
}

cbe_status cbe_tokenizer_from_folder(cbe_tokenizer **out, const char *folder, cbe_inputs *inputs,
                                     cbe_remarks *remarks, cbe_error *err)
{
    yyjson_doc *docs[N_FILES] = {NULL};
    char *paths[N_FILES] = {NULL};
    cbe_status st = CBE_OK;
    for (int i = 0; i < N_FILES && st == CBE_OK; i++)
        st = load(&docs[i], &paths[i], folder, i, inputs, err);
    if (st == CBE_OK) {
        const cbe_files_beside beside = {.path = paths[CONFIG],
                                         .config = yyjson_doc_get_root(docs[CONFIG]),
                                         .special_map = yyjson_doc_get_root(docs[SPECIAL_MAP]),
                                         .added = yyjson_doc_get_root(docs[ADDED]),
                                         .model_config = yyjson_doc_get_root(docs[MODEL_CONFIG])};
        st = create(out, yyjson_doc_get_root(docs[TOKENIZER]), paths[TOKENIZER], &beside, remarks,
                    err);
        if (st == CBE_OK) read_ends(*out, &beside);
    }
    for (int i = 0; i < N_FILES; i++) {
        yyjson_doc_free(docs[i]);
        cbe_free(paths[i]);
    }
    return st;
}
