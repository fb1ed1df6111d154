/* tokenizer_open.c - the tokenizer of a model: from a GGUF file or a Hugging Face folder. */
#include "core/fail.h"
#include "files/path.h"
#include "formats/gguf.h"
#include "tokenizer/tokenizer.h"

cbe_status cbe_tokenizer_read(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                              cbe_remarks *remarks, cbe_error *err)
{
    cbe_path_kind kind;
    cbe_status st = cbe_path_look(path, &kind, err);
    if (st != CBE_OK) return st;
    if (kind == CBE_PATH_FOLDER) return cbe_tokenizer_from_folder(out, path, inputs, remarks, err);
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
