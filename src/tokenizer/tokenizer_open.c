/* tokenizer_open.c - the tokenizer of a model: from a GGUF file or a Hugging Face folder. */
#include "core/fail.h"
#include "formats/gguf.h"
#include "formats/model_place.h"
#include "tokenizer/tokenizer_private.h"

cbe_status cbe_tokenizer_read(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                              cbe_remarks *remarks, cbe_error *err)
{
    bool is_folder;
    cbe_status st = cbe_model_place_look(path, "tokenizer.json", &is_folder, err);
    if (st != CBE_OK) return st;
    if (is_folder) return cbe_tokenizer_from_folder(out, path, inputs, remarks, err);
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
    cbe_remarks remarks = {0};
    const cbe_status st = cbe_tokenizer_read(out, path, NULL, &remarks, err);
    if (st == CBE_OK) cbe_remarks_give(&remarks, &(*out)->remarks);
    cbe_remarks_free(&remarks);
    return st;
}

const char *cbe_tokenizer_warning(const cbe_tokenizer *tokenizer, size_t i)
{
    return tokenizer ? cbe_remarks_line(&tokenizer->remarks, i) : NULL;
}
