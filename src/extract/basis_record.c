/*
 * basis_record.c - what basis.json says of how a basis was made (basis_file.h). The file is
 * checked as a whole when it is read, so that later questions can rely on its types.
 */
#include <string.h>

#include "extract/basis_file_state.h"
#include "core/fail.h"
#include "files/input_list.h"
#include "formats/json_keys.h"
#include "formats/json_memory.h"

enum { SHOWN_DIGITS = 12 /* of a SHA-256 in messages */ };

static cbe_status wrong(const cbe_basis_file *b, const char *key, const char *expected,
                        cbe_error *err)
{
    return cbe_json_wrong_type(b->record_path, key, expected, err);
}

static cbe_status check_inputs(const cbe_basis_file *b, cbe_error *err)
{
    const json_t *inputs = json_object_get(b->record, "inputs"), *input;
    if (!json_is_array(inputs)) return wrong(b, "inputs", "a list", err);
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        input = json_array_get(inputs, i);
        const json_t *digest = json_object_get(input, "sha256");
        if (!json_is_string(json_object_get(input, "role")) ||
            !json_is_string(json_object_get(input, "path")) || !json_is_string(digest) ||
            json_string_length(digest) != CBE_SHA256_TEXT - 1 ||
            strspn(json_string_value(digest), "0123456789abcdef") != CBE_SHA256_TEXT - 1)
            return wrong(b, "inputs", "a list of objects with role, path and sha256", err);
    }
    return CBE_OK;
}

static cbe_status check_options(const cbe_basis_file *b, cbe_error *err)
{
    json_t *options = json_object_get(b->record, "options"), *value;
    const char *key;
    cbe_site site;
    if (!json_is_object(options)) return wrong(b, "options", "an object", err);
    json_object_foreach(options, key, value) if (!json_is_string(value)) return wrong(
        b, "options", "an object of strings", err);
    if (cbe_basis_option(b, "site") && !cbe_basis_site(b, &site))
        return wrong(b, "options.site", "pre or post", err);
    return CBE_OK;
}

static cbe_status check_record(const cbe_basis_file *b, cbe_error *err)
{
    cbe_status st;
    const json_t *format = json_object_get(b->record, "format"),
                 *width = json_object_get(b->record, "hidden_size");
    if (!json_is_string(format) || strcmp(json_string_value(format), "causal basis") != 0)
        return wrong(b, "format", "\"causal basis\"", err);
    if ((st = check_inputs(b, err)) != CBE_OK || (st = check_options(b, err)) != CBE_OK) return st;
    const json_t *skip = json_object_get(b->record, "skip_positions");
    if (!json_is_integer(skip) || json_integer_value(skip) < 0)
        return wrong(b, "skip_positions", "an integer, 0 or more", err);
    if (!json_is_integer(width) || json_integer_value(width) < 0 ||
        (uint64_t)json_integer_value(width) != b->hidden_size)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: hidden_size is not %zu, as it is in basis.safetensors beside it; they "
                        "do not belong together",
                        b->record_path, b->hidden_size);
    return CBE_OK;
}

cbe_status cbe_basis_read_record(cbe_basis_file *b, cbe_error *err)
{
    const cbe_mapped_file *map = &b->record_map;
    json_error_t problem;
    cbe_status st = cbe_mapped_file_open(&b->record_map, b->record_path, err);
    if (st != CBE_OK) return st;
    st = cbe_json_parse(&b->record, (const char *)map->data, map->size, JSON_REJECT_DUPLICATES,
                        b->record_path, &problem, err);
    if (st == CBE_ERR_FORMAT)
        cbe_fail(err, CBE_ERR_FORMAT, problem.position, "%s: line %d: %s", b->record_path,
                 problem.line, problem.text);
    return st == CBE_OK ? check_record(b, err) : st;
}

const char *cbe_basis_option(const cbe_basis_file *basis, const char *name)
{
    return json_string_value(json_object_get(json_object_get(basis->record, "options"), name));
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
    const json_t *json = json_object_get(basis->record, "skip_positions");
    if (!json) return false;
    *skip = (size_t)json_integer_value(json);
    return true;
}

static const char *text_of(const json_t *input, const char *key)
{
    return json_string_value(json_object_get(input, key));
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Returns the next recorded file of the model from *i on; NULL: there is no more. */
static const json_t *next_model_file(const cbe_basis_file *b, size_t *i)
{
    const json_t *inputs = json_object_get(b->record, "inputs");
    while (*i < json_array_size(inputs)) {
        const json_t *input = json_array_get(inputs, (*i)++);
        if (strcmp(text_of(input, "role"), "model") == 0) return input;
    }
    return NULL;
}

const char *cbe_basis_model(const cbe_basis_file *basis)
{
    size_t i = 0;
    const json_t *first = next_model_file(basis, &i);
    return first ? text_of(first, "path") : NULL;
}

/* Demands that a file of the model was recorded. More files may have been: a tokenizer, tensors
 * that happened to lie in its folder. */
static cbe_status match_file(const cbe_basis_file *b, const cbe_input *file, const char *model,
                             cbe_error *err)
{
    const char *path = file->path, *digest = file->sha256;
    const json_t *recorded, *same_name = NULL;
    for (size_t i = 0; (recorded = next_model_file(b, &i));) {
        if (strcmp(text_of(recorded, "sha256"), digest) == 0) return CBE_OK;
        if (strcmp(name_of(text_of(recorded, "path")), name_of(path)) == 0) same_name = recorded;
    }
    if (same_name)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: the basis was made from another model than %s: the SHA-256 of its %s "
                        "began with %.*s, here it is %.*s",
                        b->record_path, model, name_of(path), SHOWN_DIGITS,
                        text_of(same_name, "sha256"), SHOWN_DIGITS, digest);
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
