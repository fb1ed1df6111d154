/* basis_file.c - see basis_file.h. The tensors are looked at when the file is opened, and their
 * numbers read when they are asked for. */
#include "extract/basis_file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "extract/basis_file_state.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/input_list.h"
#include "files/path.h"

enum { NAME = 48, LAYER_DIGITS = 9 };

static const char tensors_name[] = "basis.safetensors", record_name[] = "basis.json";

void cbe_basis_close(cbe_basis_file *basis)
{
    if (!basis) return;
    cbe_safetensors_close(basis->file);
    yyjson_doc_free(basis->record_doc);
    cbe_mapped_file_close(&basis->record_map);
    cbe_free(basis->path);
    cbe_free(basis->record_path);
    cbe_free(basis->layers);
    cbe_free(basis);
}

/* Takes i from layers.<i>.basis, written as cbe writes it: no sign, no leading zero. */
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

/* Checks what a layer's vectors read and write, where the file says it. */
static cbe_status check_pairs(const cbe_basis_file *b, size_t layer, const size_t *dims,
                              cbe_error *err)
{
    char names[2][NAME];
    bool has[2];
    for (size_t i = 0; i < 2; i++) {
        snprintf(names[i], sizeof names[i], "layers.%zu.%s", layer, i ? "write" : "read");
        has[i] = cbe_safetensors_has(b->file, names[i]);
    }
    if (has[0] != has[1])
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: has '%s' and no '%s'; give both or neither",
                        b->path, names[has[1]], names[has[0]]);
    for (size_t i = 0; i < 2 && has[0]; i++) {
        cbe_tensor t;
        cbe_status st = get_floating(b, names[i], &t, err);
        if (st == CBE_OK) st = cbe_tensor_expect(&t, b->path, 2, dims, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Checks the types and shapes of a layer's tensors. */
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
    if ((st = check_pairs(b, layer, t.dims, err)) != CBE_OK) return st;
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

/* Finds the paths of both files. A basis.json says nothing of tensors in a file of another name. */
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
    if (!out || !path)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_basis_open: %s is NULL",
                        out ? "the path" : "out");
    cbe_basis_file *b = cbe_alloc_zero(1, sizeof *b, "basis", err);
    if (!b) return CBE_ERR_NOMEM;
    cbe_status st = find_files(b, path, err);
    if (st == CBE_OK) st = cbe_safetensors_open(&b->file, b->path, err);
    if (st == CBE_OK) st = find_layers(b, err);
    if (st == CBE_OK && b->record_path) st = cbe_basis_read_record(b, err);
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

/* Finds a layer whose first n vectors are wanted. */
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

/* Reads elements first .. first + n - 1 to every `apart`-th number of out; room: (n) floats. */
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

/* Reads the first n columns of a (d, k) tensor of a layer as rows. */
static cbe_status read_columns(const cbe_basis_file *b, const cbe_tensor *t, size_t layer, size_t n,
                               double *out, cbe_error *err)
{
    cbe_status st = CBE_OK;
    const size_t d = b->hidden_size, k = t->dims[1];
    float *room = cbe_alloc(n, sizeof *room, "vectors of a basis", err);
    if (!room) return CBE_ERR_NOMEM;
    for (size_t row = 0; row < d && st == CBE_OK; row++)
        st = read_doubles(t, row * k, n, room, out + row, d, err);
    for (size_t i = 0; i < n * d && st == CBE_OK; i++)
        if (!isfinite(out[i]))
            st = cbe_fail(err, CBE_ERR_NUMERIC, -1,
                          "%s: vector %zu of layer %zu has NaN or infinity in it", b->path, i / d,
                          layer);
    cbe_free(room);
    return st;
}

cbe_status cbe_basis_vectors(const cbe_basis_file *b, size_t layer, size_t n, double *out,
                             cbe_error *err)
{
    if (!b || (!out && n > 0))
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_basis_vectors: %s is NULL",
                        b ? "out" : "the basis");
    cbe_tensor t;
    const cbe_status st = get_vectors(b, layer, n, &t, err);
    return st == CBE_OK ? read_columns(b, &t, layer, n, out, err) : st;
}

/* Finds one of the tensors beside a layer's basis; false: the file has none. */
static bool find_beside(const cbe_basis_file *b, size_t layer, const char *what, cbe_tensor *t)
{
    char name[NAME];
    snprintf(name, sizeof name, "layers.%zu.%s", layer, what);
    return cbe_safetensors_has(b->file, name) &&
           cbe_safetensors_get(b->file, name, t, NULL) == CBE_OK;
}

static bool same_numbers(const cbe_tensor *a, const cbe_tensor *b)
{
    return a->dtype == b->dtype && a->n_bytes == b->n_bytes &&
           memcmp(a->data, b->data, a->n_bytes) == 0;
}

bool cbe_basis_is_oblique(const cbe_basis_file *b, size_t layer)
{
    cbe_tensor basis, read, write;
    return find_beside(b, layer, "basis", &basis) && find_beside(b, layer, "read", &read) &&
           find_beside(b, layer, "write", &write) &&
           !(same_numbers(&basis, &read) && same_numbers(&basis, &write));
}

cbe_status cbe_basis_pairs(const cbe_basis_file *b, size_t layer, size_t n, double *read,
                           double *write, cbe_error *err)
{
    cbe_tensor t;
    cbe_status st = get_vectors(b, layer, n, &t, err);
    if (st != CBE_OK) return st;
    if (!find_beside(b, layer, "read", &t))
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: does not say what vectors of layer %zu read",
                        b->path, layer);
    st = read_columns(b, &t, layer, n, read, err);
    if (st == CBE_OK && find_beside(b, layer, "write", &t))
        st = read_columns(b, &t, layer, n, write, err);
    return st;
}

cbe_status cbe_basis_energies(const cbe_basis_file *b, size_t layer, size_t n, double *out,
                              cbe_error *err)
{
    if (!b || (!out && n > 0))
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_basis_energies: %s is NULL",
                        b ? "out" : "the basis");
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

cbe_status cbe_basis_note(const cbe_basis_file *b, cbe_inputs *inputs, cbe_input_role role,
                          cbe_error *err)
{
    const cbe_status st = cbe_safetensors_note(b->file, inputs, role, err);
    return st == CBE_OK && b->record ? cbe_inputs_add(inputs, role, &b->record_map, err) : st;
}
