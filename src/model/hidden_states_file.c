/* hidden_states_file.c - opening a file of hidden states; see model/hidden_states.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files/path.h"
#include "core/fail.h"
#include "core/memory.h"
#include "model/hidden_states_private.h"

static cbe_status read_shape(cbe_hidden_states *s, const char *path, cbe_error *err)
{
    size_t first = s->end;
    for (size_t i = 0; i < s->end; i++) {
        if (!s->names[i][0]) continue;
        cbe_tensor t;
        const cbe_status st = cbe_array_file_describe(s->file, s->names[i], &t, err);
        if (st != CBE_OK) return st;
        if (t.n_dims < 2 || t.n_dims > 3 || t.n_elements == 0)
            return cbe_fail(err, CBE_ERR_SHAPE, -1,
                            "%s: tensor '%s' has %zu dimensions and %zu elements; hidden states "
                            "are (B, S, d) or (N, d)",
                            path, s->names[i], t.n_dims, t.n_elements);
        if (t.dtype != CBE_F32 && t.dtype != CBE_F16 && t.dtype != CBE_BF16 && t.dtype != CBE_F64)
            return cbe_fail(err, CBE_ERR_SHAPE, -1,
                            "%s: tensor '%s' is %s; hidden states are floating-point numbers: save "
                            "them as float32, and ids as input_ids",
                            path, s->names[i], t.is_bool ? "BOOL" : cbe_dtype_get(t.dtype)->name);
        const size_t b = t.n_dims == 3 ? t.dims[0] : 1, c = t.dims[t.n_dims - 2],
                     d = t.dims[t.n_dims - 1];
        if (first == s->end) {
            first = i;
            s->n_sequences = b;
            s->context_length = c;
            s->hidden_size = d;
        } else if (b != s->n_sequences || c != s->context_length || d != s->hidden_size) {
            return cbe_fail(err, CBE_ERR_SHAPE, -1,
                            "%s: tensors '%s' and '%s' have different shapes", path,
                            s->names[first], s->names[i]);
        }
    }
    if (first == s->end)
        return cbe_fail(
            err, CBE_ERR_FORMAT, -1,
            "%s: no tensor is called hidden_states.<layer>; make the file with cbe capture", path);
    return CBE_OK;
}

static cbe_status read_ids(cbe_hidden_states *s, const char *path, cbe_error *err)
{
    const size_t n = s->n_sequences * s->context_length;
    cbe_tensor t;
    if (!cbe_array_file_has(s->file, "input_ids")) return CBE_OK;
    const cbe_status st = cbe_array_file_ids(s->file, "input_ids", &t, &s->ids, err);
    if (st != CBE_OK) return st;
    if (t.n_dims < 1 || t.n_dims > 2 || t.n_elements != n ||
        (s->n_sequences > 1 && (t.n_dims != 2 || t.dims[0] != s->n_sequences)))
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: input_ids must be int64, one for each of the %zu hidden states", path,
                        n);
    if (t.n_dims == 2) {
        s->n_sequences = t.dims[0];
        s->context_length = t.dims[1];
    }
    return CBE_OK;
}

/* Reads attention_mask or mask, whose zeros leave tokens out. */
static cbe_status read_mask(cbe_hidden_states *s, const char *path, cbe_error *err)
{
    const char *name = cbe_array_file_has(s->file, "attention_mask") ? "attention_mask" : "mask";
    const size_t n = s->n_sequences * s->context_length;
    int64_t *mask = NULL;
    char label[CBE_MESSAGE_SIZE];
    cbe_tensor t;
    if (!cbe_array_file_has(s->file, name)) return CBE_OK;
    cbe_status st = cbe_array_file_integers(s->file, name, &t, &mask, err);
    if (st != CBE_OK) return st;
    if (t.n_dims < 1 || t.n_dims > 2 || t.n_elements != n ||
        (t.n_dims == 2 && s->n_sequences > 1 && t.dims[0] != s->n_sequences)) {
        st =
            cbe_fail(err, CBE_ERR_SHAPE, -1,
                     "%s: %s must have one entry for each of the %zu hidden states", path, name, n);
        goto done;
    }
    if (t.n_dims == 2) {
        s->n_sequences = t.dims[0];
        s->context_length = t.dims[1];
    }
    snprintf(label, sizeof label, "%s: %s", path, name);
    st = cbe_hidden_states_take_mask(s, mask, label, err);
done:
    cbe_free(mask);
    return st;
}

/* Reads a derangement of all tokens, or of the tokens that a mask leaves. */
static cbe_status read_derangement(cbe_hidden_states *s, const char *path, cbe_error *err)
{
    const size_t n = s->n_sequences * s->context_length, n_left = s->kept ? s->n_kept : n;
    cbe_tensor t;
    if (!cbe_array_file_has(s->file, "derangement")) return CBE_OK;
    const cbe_status st = cbe_array_file_ids(s->file, "derangement", &t, &s->derangement, err);
    if (st != CBE_OK) return st;
    if (t.n_elements != n && t.n_elements != n_left)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: derangement must be int64, one for each of the %zu hidden states",
                        path, n_left);
    if (t.n_elements == n_left) return CBE_OK;
    cbe_free(s->derangement); /* a derangement that sends to tokens left out cannot be used */
    s->derangement = NULL;
    return CBE_OK;
}

/* i of hidden_states.<i>, at most four digits; -1 for another name. */
static long layer_of(const char *name)
{
    static const char prefix[] = "hidden_states.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return -1;
    const char *digits = name + sizeof prefix - 1;
    const size_t length = strlen(digits);
    if (length == 0 || length > 4 || strspn(digits, "0123456789") != length) return -1;
    if (length > 1 && digits[0] == '0') return -1;
    return strtol(digits, NULL, 10);
}

/* Names the array of a .npy file: hidden_states.<i> if the file is called so, else
 * hidden_states.0. */
static void name_single(char name[CBE_LAYER_NAME], const char *path)
{
    const char *base = cbe_path_name(path);
    const size_t length = strlen(base);
    snprintf(name, CBE_LAYER_NAME, "%.*s",
             length > 4 && length < CBE_LAYER_NAME ? (int)(length - 4) : 0, base);
    if (layer_of(name) < 0) snprintf(name, CBE_LAYER_NAME, "hidden_states.0");
}

cbe_status cbe_hidden_states_open(cbe_hidden_states **out, const char *path, cbe_error *err)
{
    if (!out || !path)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_hidden_states_open: %s is NULL",
                        out ? "the path" : "out");
    char single[CBE_LAYER_NAME];
    cbe_hidden_states *s = cbe_alloc_zero(1, sizeof *s, "hidden states", err);
    if (!s) return CBE_ERR_NOMEM;
    name_single(single, path);
    cbe_status st = cbe_array_file_open(&s->file, path, single, err);
    if (st != CBE_OK) goto done;
    const size_t n = cbe_array_file_count(s->file);
    for (size_t i = 0; i < n; i++) {
        const long layer = layer_of(cbe_array_file_name(s->file, i));
        if (layer >= 0 && (size_t)layer + 1 > s->end) s->end = (size_t)layer + 1;
    }
    if (!(s->names = cbe_alloc_zero(s->end, sizeof *s->names, "hidden states", err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        const char *name = cbe_array_file_name(s->file, i);
        const long layer = layer_of(name);
        if (layer >= 0) snprintf(s->names[layer], sizeof s->names[layer], "%s", name);
    }
    const char *blocks = cbe_array_file_metadata(s->file, "n_layers");
    if (blocks) s->n_blocks = (size_t)strtoull(blocks, NULL, 10);
    if ((st = read_shape(s, path, err)) != CBE_OK) goto done;
    if ((st = read_ids(s, path, err)) != CBE_OK) goto done;
    if ((st = read_mask(s, path, err)) != CBE_OK) goto done;
    if ((st = read_derangement(s, path, err)) != CBE_OK) goto done;
    *out = s;
    return CBE_OK;
done:
    cbe_hidden_states_close(s);
    return st;
}

cbe_status cbe_hidden_states_note(const cbe_hidden_states *states, cbe_inputs *inputs,
                                  cbe_error *err)
{
    return states->file ? cbe_array_file_note(states->file, inputs, CBE_INPUT_HIDDEN_STATES, err)
                        : CBE_OK;
}
