/*
 * basis_record.c - what basis.json says of how a basis was made (basis_file.h). The file is
 * checked as a whole when it is read, so that later questions can rely on its types.
 */
#include <string.h>

#include "extract/basis_file_state.h"
#include "core/fail.h"
#include "files/input_list.h"
#include "files/path.h"
#include "formats/json_keys.h"
#include "formats/json.h"

enum { SHOWN_DIGITS = 12 /* of a SHA-256 in messages */ };

static cbe_status wrong(const cbe_basis_file *b, const char *key, const char *expected,
                        cbe_error *err)
{
    return cbe_json_wrong_type(b->record_path, key, expected, err);
}

static cbe_status check_inputs(const cbe_basis_file *b, cbe_error *err)
{
    yyjson_val *inputs = cbe_json_at(b->record, "inputs"), *input;
    size_t i, n;
    if (!yyjson_is_arr(inputs)) return wrong(b, "inputs", "a list", err);
    yyjson_arr_foreach(inputs, i, n, input)
    {
        yyjson_val *digest = cbe_json_at(input, "sha256");
        if (!yyjson_is_str(cbe_json_at(input, "role")) ||
            !yyjson_is_str(cbe_json_at(input, "path")) || !yyjson_is_str(digest) ||
            yyjson_get_len(digest) != CBE_SHA256_TEXT - 1 ||
            strspn(yyjson_get_str(digest), "0123456789abcdef") != CBE_SHA256_TEXT - 1)
            return wrong(b, "inputs", "a list of objects with role, path and sha256", err);
    }
    return CBE_OK;
}

static cbe_status check_options(const cbe_basis_file *b, cbe_error *err)
{
    yyjson_val *options = cbe_json_at(b->record, "options"), *key, *value;
    cbe_site site;
    if (!yyjson_is_obj(options)) return wrong(b, "options", "an object", err);
    CBE_JSON_EACH(options, walk, key, value)
    {
        if (!yyjson_is_str(value)) return wrong(b, "options", "an object of strings", err);
    }
    if (cbe_basis_option(b, "site") && !cbe_basis_site(b, &site))
        return wrong(b, "options.site", "pre or post", err);
    return CBE_OK;
}

static cbe_status check_record(const cbe_basis_file *b, cbe_error *err)
{
    cbe_status st;
    yyjson_val *format = cbe_json_at(b->record, "format"),
               *width = cbe_json_at(b->record, "hidden_size");
    if (!yyjson_is_str(format) || strcmp(yyjson_get_str(format), "causal basis") != 0)
        return wrong(b, "format", "\"causal basis\"", err);
    if ((st = check_inputs(b, err)) != CBE_OK || (st = check_options(b, err)) != CBE_OK) return st;
    yyjson_val *skip = cbe_json_at(b->record, "skip_positions");
    if (!yyjson_is_int(skip) || yyjson_get_sint(skip) < 0)
        return wrong(b, "skip_positions", "an integer, 0 or more", err);
    if (!yyjson_is_int(width) || yyjson_get_sint(width) < 0 ||
        (uint64_t)yyjson_get_sint(width) != b->hidden_size)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: hidden_size is not %zu, as it is in basis.safetensors beside it; they "
                        "do not belong together",
                        b->record_path, b->hidden_size);
    return CBE_OK;
}

cbe_status cbe_basis_read_record(cbe_basis_file *b, cbe_error *err)
{
    const cbe_mapped_file *map = &b->record_map;
    cbe_status st = cbe_mapped_file_open(&b->record_map, b->record_path, err);
    if (st != CBE_OK) return st;
    st = cbe_json_read(&b->record_doc, (const char *)map->data, map->size, b->record_path, err);
    if (st != CBE_OK) return st;
    b->record = yyjson_doc_get_root(b->record_doc);
    return check_record(b, err);
}

const char *cbe_basis_option(const cbe_basis_file *basis, const char *name)
{
    return cbe_json_text(cbe_json_at(basis->record, "options"), name);
}

bool cbe_basis_site(const cbe_basis_file *basis, cbe_site *site)
{
    const char *name = cbe_basis_option(basis, "site");
    for (int i = 0; name && i < CBE_N_SITES; i++) {
        if (strcmp(name, cbe_site_name((cbe_site)i)) != 0) continue;
        *site = (cbe_site)i;
        return true;
    }
    return false;
}

bool cbe_basis_skip_positions(const cbe_basis_file *basis, size_t *skip)
{
    yyjson_val *json = cbe_json_at(basis->record, "skip_positions");
    if (!json) return false;
    *skip = (size_t)yyjson_get_sint(json);
    return true;
}

/* Returns the next recorded file of the model from *i on; NULL: there is no more. */
static yyjson_val *next_model_file(const cbe_basis_file *b, size_t *i)
{
    yyjson_val *inputs = cbe_json_at(b->record, "inputs");
    while (*i < yyjson_arr_size(inputs)) {
        yyjson_val *input = yyjson_arr_get(inputs, (*i)++);
        if (strcmp(cbe_json_text(input, "role"), "model") == 0) return input;
    }
    return NULL;
}

const char *cbe_basis_model(const cbe_basis_file *basis)
{
    size_t i = 0;
    yyjson_val *first = next_model_file(basis, &i);
    return first ? cbe_json_text(first, "path") : NULL;
}

/* Demands that a file of the model was recorded. More files may have been: a tokenizer, tensors
 * that happened to lie in its folder. */
static cbe_status match_file(const cbe_basis_file *b, const cbe_input *file, const char *model,
                             cbe_error *err)
{
    const char *path = file->path, *digest = file->sha256;
    yyjson_val *recorded, *same_name = NULL;
    for (size_t i = 0; (recorded = next_model_file(b, &i));) {
        if (strcmp(cbe_json_text(recorded, "sha256"), digest) == 0) return CBE_OK;
        if (strcmp(cbe_path_name(cbe_json_text(recorded, "path")), cbe_path_name(path)) == 0)
            same_name = recorded;
    }
    if (same_name)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: the basis was made from another model than %s: the SHA-256 of its %s "
                        "began with %.*s, here it is %.*s",
                        b->record_path, model, cbe_path_name(path), SHOWN_DIGITS,
                        cbe_json_text(same_name, "sha256"), SHOWN_DIGITS, digest);
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "%s: the basis was made from another model than %s: from %s, and no file of it "
                    "has the SHA-256 %.*s.. of %s",
                    b->record_path, model, cbe_basis_model(b), SHOWN_DIGITS, digest, path);
}

cbe_status cbe_basis_check_model(const cbe_basis_file *b, const char *model,
                                 const cbe_inputs *inputs, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < inputs->n && cbe_basis_model(b) && st == CBE_OK; i++)
        if (inputs->files[i].role == CBE_INPUT_MODEL)
            st = match_file(b, &inputs->files[i], model, err);
    return st;
}
