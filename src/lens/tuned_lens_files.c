/* tuned_lens_files.c - lens folders; see lens/tuned_lens.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lens/tuned_lens.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "files/path.h"
#include "lens/params.h"
#include "lens/tuned_lens_config.h"

static const char config_file[] = "config.json";

static const struct {
    const char *name, *file;
} formats[] = {{"pt", "params.pt"}, {"safetensors", "params.safetensors"}};
_Static_assert(sizeof formats / sizeof *formats == CBE_N_LENS_FORMATS, "in the order of the enum");

const char *cbe_lens_format_name(cbe_lens_format format)
{
    return formats[format].name;
}

const char *cbe_lens_format_file(cbe_lens_format format)
{
    return formats[format].file;
}

cbe_status cbe_tuned_lens_find(const char *folder, cbe_lens_format *format, cbe_error *err)
{
    bool there[CBE_N_LENS_FORMATS];
    cbe_path_kind kind;
    cbe_status st = cbe_path_look(folder, &kind, err);
    if (st != CBE_OK) return st;
    if (kind == CBE_PATH_NOTHING)
        return cbe_fail(err, CBE_ERR_IO, -1, "%s: cannot be opened: %s", folder, strerror(ENOENT));
    if (kind != CBE_PATH_FOLDER)
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "%s: is a file; a lens is a folder with %s and %s or %s", folder,
                        config_file, formats[0].file, formats[1].file);
    for (int i = 0; i < CBE_N_LENS_FORMATS; i++) {
        if ((st = cbe_path_has(folder, formats[i].file, &there[i], err)) != CBE_OK) return st;
    }
    if (there[CBE_LENS_PT] && there[CBE_LENS_SAFETENSORS])
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: holds both %s and %s, which may differ: move one of them away", folder,
                        formats[0].file, formats[1].file);
    if (!there[CBE_LENS_PT] && !there[CBE_LENS_SAFETENSORS])
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "%s: neither %s nor %s is in this folder: not a tuned lens", folder,
                        formats[0].file, formats[1].file);
    *format = there[CBE_LENS_PT] ? CBE_LENS_PT : CBE_LENS_SAFETENSORS;
    return CBE_OK;
}

/* Reads a name <i>.weight or <i>.bias; false for another name. */
static bool parse_name(const char *name, size_t n_layers, bool bias, size_t *layer, bool *is_bias)
{
    char again[32];
    for (size_t i = 0; i < 2; i++) {
        unsigned long long number;
        int end = 0;
        if (sscanf(name, i ? "%8llu.bias%n" : "%8llu.weight%n", &number, &end) != 1 || end == 0 ||
            name[end])
            continue;
        snprintf(again, sizeof again, "%llu.%s", number, i ? "bias" : "weight");
        if (strcmp(again, name) != 0 || number >= n_layers || (i == 1 && !bias)) continue;
        *layer = (size_t)number;
        *is_bias = i == 1;
        return true;
    }
    return false;
}

/* Checks that the file has every tensor of the lens with its shape, and no further tensors, before
 * memory is allocated for the lens. */
static cbe_status check_tensors(const cbe_lens_params *params, const char *path, size_t n_layers,
                                size_t d, bool bias, cbe_error *err)
{
    const size_t each = bias ? 2 : 1, n = cbe_lens_params_count(params);
    cbe_status st = CBE_OK;
    bool *there = cbe_alloc_zero(n_layers, each, "list of tensors", err);
    if (!there) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        cbe_tensor t;
        size_t layer;
        bool is_bias;
        if ((st = cbe_lens_params_tensor(params, i, &t, err)) != CBE_OK) break;
        if (!parse_name(t.name, n_layers, bias, &layer, &is_bias)) {
            st = cbe_fail(err, CBE_ERR_SHAPE, -1,
                          "%s: tensor '%.80s' has no place in a lens of %zu layers%s, which "
                          "config.json says it is",
                          path, t.name, n_layers, bias ? "" : " without bias");
            break;
        }
        there[each * layer + is_bias] = true;
        const size_t dims[] = {d, d};
        st = cbe_tensor_expect(&t, path, is_bias ? 1 : 2, dims, err);
    }
    for (size_t i = 0; i < each * n_layers && st == CBE_OK; i++)
        if (!there[i])
            st = cbe_fail(
                err, CBE_ERR_SHAPE, -1,
                "%s: tensor '%zu.%s' is missing; config.json says that the lens has %zu layers%s",
                path, i / each, i % each ? "bias" : "weight", n_layers, bias ? " with bias" : "");
    cbe_free(there);
    return st;
}

static cbe_status read_tensors(const cbe_lens_params *params, cbe_tuned_lens *lens, cbe_error *err)
{
    const size_t n = cbe_lens_params_count(params);
    for (size_t i = 0; i < n; i++) {
        cbe_tensor t;
        size_t layer;
        bool is_bias;
        cbe_status st = cbe_lens_params_tensor(params, i, &t, err);
        if (st != CBE_OK) return st;
        if (!parse_name(t.name, lens->n_layers, lens->bias != NULL, &layer, &is_bias))
            continue; /* cannot happen: names were checked */
        if ((st = cbe_lens_params_read(params, i, is_bias ? lens->bias[layer] : lens->weight[layer],
                                       err)) != CBE_OK)
            return st;
    }
    return CBE_OK;
}

cbe_status cbe_tuned_lens_load(cbe_tuned_lens **out, cbe_tuned_lens_config **config,
                               const char *folder, cbe_inputs *inputs, cbe_error *err)
{
    cbe_status st;
    cbe_lens_format format;
    size_t n_layers = 0, d = 0;
    bool bias;
    char *config_path = NULL, *params_path = NULL;
    cbe_tuned_lens_config *keys = NULL;
    cbe_lens_params *params = NULL;
    cbe_tuned_lens *lens = NULL;
    if ((st = cbe_tuned_lens_find(folder, &format, err)) != CBE_OK) goto done;
    st = CBE_ERR_NOMEM;
    if (!(config_path = cbe_path_join(folder, config_file, err))) goto done;
    if (!(params_path = cbe_path_join(folder, formats[format].file, err))) goto done;
    if ((st = cbe_tuned_lens_config_read(&keys, config_path, &n_layers, &d, &bias, inputs, err)) !=
        CBE_OK)
        goto done;
    if ((st = cbe_lens_params_open(&params, params_path, format, err)) != CBE_OK) goto done;
    if ((st = cbe_lens_params_note(params, inputs, err)) != CBE_OK) goto done;
    if ((st = check_tensors(params, params_path, n_layers, d, bias, err)) != CBE_OK) goto done;
    if ((st = cbe_tuned_lens_create(&lens, n_layers, d, bias, err)) != CBE_OK) goto done;
    if ((st = read_tensors(params, lens, err)) != CBE_OK) goto done;
    *out = lens;
    lens = NULL;
    if (config) {
        *config = keys;
        keys = NULL;
    }
done:
    cbe_tuned_lens_free(lens);
    cbe_lens_params_close(params);
    cbe_tuned_lens_config_free(keys);
    cbe_free(config_path);
    cbe_free(params_path);
    return st;
}

/* Refuses a folder with a lens of the other format, which would make it ambiguous, or with a model,
 * which would lose its config.json. */
static cbe_status check_neighbours(const char *folder, cbe_lens_format format, cbe_error *err)
{
    static const char *const models[] = {"model.safetensors", "model.safetensors.index.json",
                                         "tokenizer.json"};
    const char *other = formats[format == CBE_LENS_PT ? CBE_LENS_SAFETENSORS : CBE_LENS_PT].file;
    bool there;
    cbe_status st = cbe_path_has(folder, other, &there, err);
    if (st != CBE_OK) return st;
    if (there)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: holds %s already; name another folder, or move it away", folder,
                        other);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if ((st = cbe_path_has(folder, models[i], &there, err)) != CBE_OK) return st;
        if (there)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "%s: holds a model (%s); name another folder for the lens", folder,
                            models[i]);
    }
    return CBE_OK;
}

cbe_status cbe_tuned_lens_prepare(const char *folder, cbe_lens_format format, cbe_error *err)
{
    cbe_status st = cbe_path_make_folder(folder, err);
    if (st != CBE_OK) return st;
    if ((st = check_neighbours(folder, format, err)) != CBE_OK) return st;
    char *path = cbe_path_join(folder, formats[format].file, err);
    if (!path) return CBE_ERR_NOMEM;
    st = cbe_atomic_file_check(path, err);
    cbe_free(path);
    return st;
}

cbe_status cbe_tuned_lens_save(const cbe_tuned_lens *lens, const cbe_tuned_lens_config *config,
                               const char *folder, cbe_lens_format format, cbe_error *err)
{
    cbe_status st;
    char *config_path = NULL, *params_path = NULL;
    if ((st = cbe_tuned_lens_prepare(folder, format, err)) != CBE_OK) return st;
    st = CBE_ERR_NOMEM;
    if (!(config_path = cbe_path_join(folder, config_file, err))) goto done;
    if (!(params_path = cbe_path_join(folder, formats[format].file, err))) goto done;
    if ((st = cbe_lens_params_save(lens, params_path, format, err)) != CBE_OK) goto done;
    st = cbe_tuned_lens_config_write(config, lens, config_path, err);
done:
    cbe_free(config_path);
    cbe_free(params_path);
    return st;
}

cbe_status cbe_tuned_lens_check(const cbe_tuned_lens *lens, const char *lens_path, size_t n_blocks,
                                size_t hidden_size, const char *model_path, cbe_error *err)
{
    if (lens->hidden_size != hidden_size || (n_blocks && lens->n_layers != n_blocks)) {
        char blocks[40] = "";
        if (n_blocks) snprintf(blocks, sizeof blocks, "%zu layers of ", n_blocks);
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: the lens is one for %zu layers of hidden size %zu, but %s has "
                        "%shidden size %zu: it was "
                        "made for another model",
                        lens_path, lens->n_layers, lens->hidden_size, model_path, blocks,
                        hidden_size);
    }
    return CBE_OK;
}
