/* pickle_tensors.c - see pickle_tensors.h. */
#include "formats/pickle_tensors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "formats/pickle.h"

enum { MOST_TEXT = 256 };

static cbe_status copy_text(const char *path, const cbe_pickle_value *v, const char *what,
                            char **out, cbe_error *err)
{
    const cbe_pickle_text t = v->as.text;
    bool plain = v->kind == CBE_PICKLE_TEXT && t.length > 0 && t.length <= MOST_TEXT;
    for (size_t i = 0; plain && i < t.length; i++)
        plain = (unsigned char)t.start[i] > 0x20 && t.start[i] != 0x7f;
    if (!plain)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: %s of its pickle is not a string of 1 to %d characters without blanks",
                        path, what, MOST_TEXT);
    *out = cbe_copy_string(t.start, t.length, err);
    return *out ? CBE_OK : CBE_ERR_NOMEM;
}

static bool is_size(const cbe_pickle_value *v)
{
    return v->kind == CBE_PICKLE_INTEGER && v->as.integer >= 0;
}

/* Reads sizes and strides, and checks that no element lies outside the storage. */
static cbe_status place(const cbe_pickle *pickle, const char *path, const cbe_pickle_value *v,
                        cbe_pickle_tensor *t, cbe_error *err)
{
    const cbe_pickle_value *storage = &pickle->values[v->as.tensor.storage],
                           *dims = &pickle->values[v->as.tensor.dims],
                           *strides = &pickle->values[v->as.tensor.strides];
    if (v->as.tensor.offset < 0 || storage->as.storage.n_elements < 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s': a negative offset or length of its storage", path,
                        t->name);
    t->offset = (size_t)v->as.tensor.offset;
    t->storage_elements = (size_t)storage->as.storage.n_elements;
    t->n_dims = dims->as.tuple.count;
    if (t->n_dims > CBE_MAX_DIMS || strides->as.tuple.count != t->n_dims)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s': %zu dimensions and %zu strides; as many of both, at most "
                        "%d, can be read",
                        path, t->name, t->n_dims, (size_t)strides->as.tuple.count, CBE_MAX_DIMS);
    size_t last = 0, product;
    bool fits = true;
    t->n_elements = 1;
    for (size_t i = 0; i < t->n_dims; i++) {
        if (!is_size(cbe_pickle_item(pickle, dims, i)) ||
            !is_size(cbe_pickle_item(pickle, strides, i)))
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: tensor '%s': a size or stride that is negative or no integer",
                            path, t->name);
        t->dims[i] = (size_t)cbe_pickle_item(pickle, dims, i)->as.integer;
        t->strides[i] = (size_t)cbe_pickle_item(pickle, strides, i)->as.integer;
        fits = fits && cbe_mul_size(t->n_elements, t->dims[i], &t->n_elements);
        if (t->dims[i] > 0)
            fits = fits && cbe_mul_size(t->dims[i] - 1, t->strides[i], &product) &&
                   cbe_add_size(last, product, &last);
    }
    if (!fits)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: tensor '%s': its size or strides overflow",
                        path, t->name);
    if (t->n_elements == 0) return CBE_OK;
    if (t->offset >= t->storage_elements || last >= t->storage_elements - t->offset)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s' leaves its storage: its last element is number %zu + %zu, "
                        "the storage has %zu",
                        path, t->name, t->offset, last, t->storage_elements);
    t->extent = last + 1;
    return CBE_OK;
}

static cbe_status record(const cbe_pickle *pickle, const char *path, const cbe_pickle_pair *p,
                         cbe_pickle_tensor *t, cbe_error *err)
{
    cbe_status st;
    const cbe_pickle_value *v = &pickle->values[p->value];
    if ((st = copy_text(path, &pickle->values[p->key], "a key", &t->name, err)) != CBE_OK)
        return st;
    if (v->kind != CBE_PICKLE_TENSOR)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: entry '%s' is %s, a state dict holds tensors only", path, t->name,
                        cbe_pickle_kind_name(v));
    const cbe_pickle_value *storage = &pickle->values[v->as.tensor.storage];
    t->dtype = storage->as.storage.dtype;
    if (t->dtype == CBE_N_DTYPES)
        return cbe_fail(
            err, CBE_ERR_UNSUPPORTED, -1,
            "%s: tensor '%s' is a %s: convert it to float32, float64, float16 or bfloat16", path,
            t->name, storage->as.storage.type);
    if ((st = copy_text(path, &pickle->values[storage->as.storage.key], "a storage's key",
                        &t->storage, err)) != CBE_OK)
        return st;
    if (strspn(t->storage, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz") !=
        strlen(t->storage))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: tensor '%s': '%.80s' cannot be the key of a storage", path, t->name,
                        t->storage);
    return place(pickle, path, v, t, err);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const cbe_pickle_tensor *)a)->name, ((const cbe_pickle_tensor *)b)->name);
}

static cbe_status collect(const cbe_pickle *pickle, const char *path, cbe_pickle_tensors *out,
                          cbe_error *err)
{
    cbe_status st;
    const cbe_pickle_value *dict = &pickle->values[pickle->result];
    if (dict->kind != CBE_PICKLE_DICT)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: holds %s, not a state dict of tensors", path,
                        cbe_pickle_kind_name(dict));
    size_t n = 0;
    for (uint32_t i = dict->as.dict.first; i != CBE_PICKLE_NOTHING; i = pickle->pairs[i].next) n++;
    if (!(out->tensors = cbe_alloc_zero(n, sizeof *out->tensors, "list of tensors", err)))
        return CBE_ERR_NOMEM;
    for (uint32_t i = dict->as.dict.first; i != CBE_PICKLE_NOTHING; i = pickle->pairs[i].next)
        if ((st = record(pickle, path, &pickle->pairs[i], &out->tensors[out->n++], err)) != CBE_OK)
            return st;
    qsort(out->tensors, n, sizeof *out->tensors, compare_names);
    for (size_t i = 1; i < n; i++)
        if (compare_names(&out->tensors[i - 1], &out->tensors[i]) == 0)
            return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: tensor '%s' is there twice", path,
                            out->tensors[i].name);
    return CBE_OK;
}

cbe_status cbe_pickle_tensors_read(cbe_pickle_tensors *out, const unsigned char *data, size_t size,
                                   const char *path, cbe_error *err)
{
    cbe_pickle_tensors made = {0};
    cbe_pickle pickle = {0};
    cbe_status st = cbe_pickle_read(&pickle, data, size, path, err);
    if (st == CBE_OK) st = collect(&pickle, path, &made, err);
    if (st == CBE_OK)
        *out = made;
    else
        cbe_pickle_tensors_free(&made);
    cbe_pickle_free(&pickle);
    return st;
}

void cbe_pickle_tensors_free(cbe_pickle_tensors *tensors)
{
    for (size_t i = 0; i < tensors->n; i++) {
        cbe_free(tensors->tensors[i].name);
        cbe_free(tensors->tensors[i].storage);
    }
    cbe_free(tensors->tensors);
    *tensors = (cbe_pickle_tensors){0};
}
