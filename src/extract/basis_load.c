/*
 * basis_load.c - see extract/basis_file.h. The tensors are looked at when the file is opened, their
 * numbers when they are asked for; basis.json is checked as a whole, so that what follows can rely
 * on its types.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "extract/basis_file.h"
#include "formats/safetensors.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/input_list.h"
#include "formats/json_memory.h"
#include "files/mapped_file.h"
#include "files/path.h"
#include "formats/json_keys.h"

enum { NAME = 48, LAYER_DIGITS = 9, SHOWN_DIGITS = 12 /* of a SHA-256 in messages */ };

static const char tensors_name[] = "basis.safetensors", record_name[] = "basis.json";

struct cbe_basis_file {
    cbe_safetensors *file;
    char *path, *record_path; /* record_path NULL: no basis.json */
    cbe_mapped_file record_map;
    json_t *record; /* an object, whose known keys have the right types; NULL likewise */
    size_t hidden_size, n_layers, *layers;
};

void cbe_basis_close(cbe_basis_file *basis)
{
    if (!basis) return;
    cbe_safetensors_close(basis->file);
    json_decref(basis->record);
    cbe_mapped_file_close(&basis->record_map);
    cbe_free(basis->path);
    cbe_free(basis->record_path);
    cbe_free(basis->layers);
    cbe_free(basis);
}

/* i of layers.<i>.basis, written as it is by us: no sign, no leading zero. */
static bool layer_of(const char *name, size_t *layer)
{
    static const char before[] = "layers.", after[] = ".basis";
    if (strncmp(name, before, sizeof before - 1) != 0) return false;
    const char *digits = name + sizeof before - 1;
    const size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > LAYER_DIGITS || (digits[0] == '0' && n > 1) || strcmp(digits + n, after) != 0)
        return false;
    *layer = (size_t)strtoul(digits, NULL, 10);
    return true;
}

static int compare_layers(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static bool is_floating(cbe_dtype dtype)
{
    return dtype == CBE_F32 || dtype == CBE_F64 || dtype == CBE_F16 || dtype == CBE_BF16;
}

static cbe_status get_floating(const cbe_basis_file *b, const char *name, cbe_tensor *t,
                               cbe_error *err)
{
    const cbe_status st = cbe_safetensors_get(b->file, name, t, err);
    if (st == CBE_OK && !is_floating(t->dtype))
        return cbe_fail(err, CBE_ERR_SHAPE, -1, "%s: tensor '%s' is %s, must be floating point",
                        b->path, name, cbe_dtype_get(t->dtype)->name);
    return st;
}

/* A layer's tensors: their types and shapes. */
static cbe_status check_layer(cbe_basis_file *b, size_t layer, const char *name, cbe_error *err)
{
    char energies[NAME];
    cbe_tensor t;
    cbe_status st = get_floating(b, name, &t, err);
    if (st != CBE_OK) return st;
    if (t.n_dims != 2 || t.n_elements == 0)
        return cbe_fail(err, CBE_ERR_SHAPE, -1, "%s: tensor '%s' must be (d, k), a vector a column",
                        b->path, name);
    const size_t k = t.dims[1];
    if (b->n_layers && t.dims[0] != b->hidden_size)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: vectors of '%s' have %zu numbers, those of another layer %zu", b->path,
                        name, t.dims[0], b->hidden_size);
    b->hidden_size = t.dims[0];
    snprintf(energies, sizeof energies, "layers.%zu.energies", layer);
    if (!cbe_safetensors_has(b->file, energies)) return CBE_OK;
    if ((st = get_floating(b, energies, &t, err)) != CBE_OK) return st;
    return cbe_tensor_expect(&t, b->path, 1, &k, err);
}

static cbe_status find_layers(cbe_basis_file *b, cbe_error *err)
{
    const size_t n = cbe_safetensors_count(b->file);
    if (!(b->layers = cbe_alloc(n, sizeof *b->layers, "layers", err))) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        size_t layer;
        const char *name = cbe_safetensors_name(b->file, i);
        if (!layer_of(name, &layer)) continue;
        const cbe_status st = check_layer(b, layer, name, err);
        if (st != CBE_OK) return st;
        b->layers[b->n_layers++] = layer;
    }
    if (b->n_layers == 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: holds no basis: there is no tensor layers.<i>.basis", b->path);
    qsort(b->layers, b->n_layers, sizeof *b->layers, compare_layers);
    return CBE_OK;
}

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
        return cbe_fail(
            err, CBE_ERR_SHAPE, -1,
            "%s: hidden_size is not %zu, as it is in %s beside it; they do not belong together",
            b->record_path, b->hidden_size, tensors_name);
    return CBE_OK;
}

static cbe_status read_record(cbe_basis_file *b, cbe_error *err)
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

/* Paths of both files. Of files by other names, a basis.json in the folder says nothing. */
static cbe_status find_files(cbe_basis_file *b, const char *path, cbe_error *err)
{
    struct stat info;
    bool recorded = false;
    if (stat(path, &info) != 0)
        return cbe_fail(err, cbe_status_of_errno(errno), -1, "%s: cannot be opened: %s", path,
                        strerror(errno));
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const bool folder = S_ISDIR(info.st_mode);
    b->path =
        folder ? cbe_path_join(path, tensors_name, err) : cbe_copy_string(path, strlen(path), err);
    if (!b->path) return CBE_ERR_NOMEM;
    if (!folder && strcmp(name, tensors_name) != 0) return CBE_OK;
    char *parent = folder  ? cbe_copy_string(path, strlen(path), err)
                   : slash ? cbe_copy_string(path, (size_t)(slash - path) + (slash == path), err)
                           : cbe_copy_string(".", 1, err);
    cbe_status st = parent ? cbe_path_has(parent, record_name, &recorded, err) : CBE_ERR_NOMEM;
    if (st == CBE_OK && recorded && !(b->record_path = cbe_path_join(parent, record_name, err)))
        st = CBE_ERR_NOMEM;
    cbe_free(parent);
    return st;
}

cbe_status cbe_basis_open(cbe_basis_file **out, const char *path, cbe_error *err)
{
    cbe_basis_file *b = cbe_alloc_zero(1, sizeof *b, "basis", err);
    if (!b) return CBE_ERR_NOMEM;
    cbe_status st = find_files(b, path, err);
    if (st == CBE_OK) st = cbe_safetensors_open(&b->file, b->path, err);
    if (st == CBE_OK) st = find_layers(b, err);
    if (st == CBE_OK && b->record_path) st = read_record(b, err);
    if (st == CBE_OK)
        *out = b;
    else
        cbe_basis_close(b);
    return st;
}

const char *cbe_basis_path(const cbe_basis_file *basis)
{
    return basis->path;
}

const char *cbe_basis_record_path(const cbe_basis_file *basis)
{
    return basis->record_path;
}

size_t cbe_basis_hidden_size(const cbe_basis_file *basis)
{
    return basis->hidden_size;
}

size_t cbe_basis_n_layers(const cbe_basis_file *basis)
{
    return basis->n_layers;
}

const size_t *cbe_basis_layers(const cbe_basis_file *basis)
{
    return basis->layers;
}

static cbe_status get_layer(const cbe_basis_file *b, size_t layer, cbe_tensor *t, cbe_error *err)
{
    char name[NAME];
    snprintf(name, sizeof name, "layers.%zu.basis", layer);
    if (cbe_safetensors_has(b->file, name)) return cbe_safetensors_get(b->file, name, t, err);
    char list[256];
    size_t used = 0, i = 0;
    for (; i < b->n_layers && used + 24 < sizeof list; i++)
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%zu", i ? ", " : "", b->layers[i]);
    return cbe_fail(err, CBE_ERR_ARG, -1, "%s: has no basis of layer %zu; there are those of %s%s",
                    b->path, layer, list, i < b->n_layers ? " and more" : "");
}

size_t cbe_basis_n_vectors(const cbe_basis_file *basis, size_t layer)
{
    cbe_tensor t;
    return get_layer(basis, layer, &t, NULL) == CBE_OK ? t.dims[1] : 0;
}

/* get_layer, whose first n vectors are wanted. */
static cbe_status get_vectors(const cbe_basis_file *b, size_t layer, size_t n, cbe_tensor *t,
                              cbe_error *err)
{
    const cbe_status st = get_layer(b, layer, t, err);
    if (st == CBE_OK && n > t->dims[1])
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: the basis of layer %zu has %zu vector%s, %zu are asked for", b->path,
                        layer, t->dims[1], t->dims[1] == 1 ? "" : "s", n);
    return st;
}

/* Elements first .. first + n - 1 to out, `apart` numbers between them; room: (n) floats. */
static cbe_status read_doubles(const cbe_tensor *t, size_t first, size_t n, float *room,
                               double *out, size_t apart, cbe_error *err)
{
    if (t->dtype != CBE_F64) {
        const cbe_status st = cbe_tensor_to_float(t, first, n, room, err);
        for (size_t i = 0; i < n && st == CBE_OK; i++) out[i * apart] = (double)room[i];
        return st;
    }
    const unsigned char *data = t->data;
    for (size_t i = 0; i < n; i++)
        memcpy(out + i * apart, data + (first + i) * sizeof *out, sizeof *out);
    return CBE_OK;
}

cbe_status cbe_basis_vectors(const cbe_basis_file *b, size_t layer, size_t n, double *out,
                             cbe_error *err)
{
    cbe_tensor t;
    cbe_status st = get_vectors(b, layer, n, &t, err);
    if (st != CBE_OK) return st;
    const size_t d = b->hidden_size, k = t.dims[1];
    float *room = cbe_alloc(n, sizeof *room, "vectors of a basis", err);
    if (!room) return CBE_ERR_NOMEM;
    for (size_t row = 0; row < d && st == CBE_OK; row++)
        st = read_doubles(&t, row * k, n, room, out + row, d, err);
    for (size_t i = 0; i < n * d && st == CBE_OK; i++)
        if (!isfinite(out[i]))
            st = cbe_fail(err, CBE_ERR_NUMERIC, -1,
                          "%s: vector %zu of layer %zu has NaN or infinity in it", b->path, i / d,
                          layer);
    cbe_free(room);
    return st;
}

cbe_status cbe_basis_energies(const cbe_basis_file *b, size_t layer, size_t n, double *out,
                              cbe_error *err)
{
    cbe_tensor t;
    char name[NAME];
    cbe_status st = get_vectors(b, layer, n, &t, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < n; i++) out[i] = NAN;
    snprintf(name, sizeof name, "layers.%zu.energies", layer);
    if (!cbe_safetensors_has(b->file, name)) return CBE_OK;
    float *room = cbe_alloc(n, sizeof *room, "energies of a basis", err);
    if (!room) return CBE_ERR_NOMEM;
    if ((st = cbe_safetensors_get(b->file, name, &t, err)) == CBE_OK)
        st = read_doubles(&t, 0, n, room, out, 1, err);
    cbe_free(room);
    return st;
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

/* The next recorded file of the model from *i on; NULL: there is no more. */
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

/* A file of the model must be among those recorded, which may be more: a tokenizer, tensors that
 * happened to lie in its folder. */
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

cbe_status cbe_basis_note(const cbe_basis_file *b, cbe_inputs *inputs, cbe_input_role role,
                          cbe_error *err)
{
    const cbe_status st = cbe_safetensors_note(b->file, inputs, role, err);
    return st == CBE_OK && b->record ? cbe_inputs_add(inputs, role, &b->record_map, err) : st;
}
