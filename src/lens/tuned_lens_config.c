/* tuned_lens_config.c - see tuned_lens_config.h and lens/tuned_lens.h. */
#include "lens/tuned_lens_config.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "files/input_list.h"
#include "files/mapped_file.h"
#include "formats/json_keys.h"
#include "formats/json_writer.h"
#include "core/utf8.h"

enum { MOST_LAYERS = 10000, MOST_HIDDEN_SIZE = 1 << 24 };

static const char lens_type[] = "linear_tuned_lens";

struct cbe_tuned_lens_config {
    cbe_json_writer writer;
    yyjson_mut_val *root; /* an object of the writer's */
};

static cbe_status no_memory(cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_NOMEM, -1, "a lens's config.json does not fit memory");
}

void cbe_tuned_lens_config_free(cbe_tuned_lens_config *config)
{
    if (!config) return;
    cbe_json_drop(&config->writer);
    cbe_free(config);
}

const char *cbe_tuned_lens_config_get(const cbe_tuned_lens_config *config, const char *key)
{
    return yyjson_mut_get_str(yyjson_mut_obj_get(config->root, key));
}

cbe_status cbe_tuned_lens_config_set(cbe_tuned_lens_config *config, const char *key,
                                     const char *value, cbe_error *err)
{
    if (value && cbe_utf8_valid_length(value, strlen(value)) != strlen(value))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "the value of '%s' in a lens's config.json is not UTF-8", key);
    cbe_json_put_string(&config->writer, config->root, key, value);
    return config->writer.whole ? CBE_OK : no_memory(err);
}

/* Makes the keys of tuned-lens, in its order. */
static yyjson_mut_val *new_root(cbe_json_writer *w, const char *base_model, const char *hash)
{
    yyjson_mut_val *root = cbe_json_new_object(w);
    cbe_json_put_string(w, root, "base_model_name_or_path", base_model);
    cbe_json_put_count(w, root, "d_model", 0);
    cbe_json_put_count(w, root, "num_hidden_layers", 0);
    cbe_json_put_flag(w, root, "bias", true);
    cbe_json_put_string(w, root, "base_model_revision", NULL);
    cbe_json_put_string(w, root, "unembed_hash", hash);
    cbe_json_put_string(w, root, "lens_type", lens_type);
    return root;
}

cbe_status cbe_tuned_lens_config_create(cbe_tuned_lens_config **out, const char *base_model,
                                        const cbe_decoder *decoder, cbe_error *err)
{
    char hash[CBE_UNEMBED_HASH_SIZE];
    cbe_tuned_lens_config *config = cbe_alloc_zero(1, sizeof *config, "config of a lens", err);
    if (!config) return CBE_ERR_NOMEM;
    if (decoder) cbe_unembed_hash(decoder, hash);
    config->writer = cbe_json_start();
    config->root = new_root(&config->writer, base_model, decoder ? hash : NULL);
    if (!config->writer.whole) {
        cbe_tuned_lens_config_free(config);
        return no_memory(err);
    }
    *out = config;
    return CBE_OK;
}

bool cbe_tuned_lens_config_differs(const cbe_tuned_lens_config *config, const cbe_decoder *decoder)
{
    char hash[CBE_UNEMBED_HASH_SIZE];
    const char *recorded = cbe_tuned_lens_config_get(config, "unembed_hash");
    if (!recorded) return false;
    cbe_unembed_hash(decoder, hash);
    return strcmp(recorded, hash) != 0;
}

static cbe_status check_type(yyjson_val *root, const char *path, cbe_error *err)
{
    const char *type = lens_type;
    const cbe_status st = cbe_json_string(root, "lens_type", path, &type, err);
    if (st != CBE_OK || strcmp(type, lens_type) == 0) return st;
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s: lens_type '%.80s' is not known; %s is read",
                    path, type, lens_type);
}

static cbe_status read_keys(yyjson_val *root, const char *path, size_t *n_layers,
                            size_t *hidden_size, bool *bias, cbe_error *err)
{
    cbe_status st;
    const char *text = NULL;
    if (!yyjson_is_obj(root))
        return cbe_fail(err, CBE_ERR_FORMAT, 0, "%s: is not a JSON object", path);
    static const char *const needed[] = {"d_model", "num_hidden_layers"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!cbe_json_get(root, needed[i]))
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: key '%s' is missing: not the config.json of a tuned lens", path,
                            needed[i]);
    if ((st = check_type(root, path, err)) != CBE_OK) return st;
    if ((st = cbe_json_string(root, "base_model_name_or_path", path, &text, err)) != CBE_OK)
        return st;
    if ((st = cbe_json_string(root, "base_model_revision", path, &text, err)) != CBE_OK) return st;
    if ((st = cbe_json_string(root, "unembed_hash", path, &text, err)) != CBE_OK) return st;
    if ((st = cbe_json_size(root, "num_hidden_layers", MOST_LAYERS, path, n_layers, err)) != CBE_OK)
        return st;
    if ((st = cbe_json_size(root, "d_model", MOST_HIDDEN_SIZE, path, hidden_size, err)) != CBE_OK)
        return st;
    *bias = true;
    return cbe_json_bool(root, "bias", path, bias, err);
}

/* Of equal keys the last stays. */
static cbe_status copy_keys(cbe_tuned_lens_config *config, yyjson_val *root, cbe_error *err)
{
    yyjson_val *key, *value;
    cbe_json_writer *w = &config->writer;
    *w = cbe_json_start();
    config->root = cbe_json_new_object(w);
    CBE_JSON_EACH(root, walk, key, value)
    {
        cbe_json_put(w, config->root, yyjson_get_str(key), yyjson_val_mut_copy(w->doc, value));
    }
    return w->whole ? CBE_OK : no_memory(err);
}

cbe_status cbe_tuned_lens_config_read(cbe_tuned_lens_config **out, const char *path,
                                      size_t *n_layers, size_t *hidden_size, bool *bias,
                                      cbe_inputs *inputs, cbe_error *err)
{
    cbe_status st;
    cbe_mapped_file map = {0};
    yyjson_doc *doc = NULL;
    cbe_tuned_lens_config *config = cbe_alloc_zero(1, sizeof *config, "config of a lens", err);
    if (!config) return CBE_ERR_NOMEM;
    if ((st = cbe_mapped_file_open(&map, path, err)) != CBE_OK) goto done;
    if ((st = cbe_inputs_add(inputs, CBE_INPUT_LENS, &map, err)) != CBE_OK) goto done;
    if ((st = cbe_json_read(&doc, (const char *)map.data, map.size, path, err)) != CBE_OK)
        goto done;
    yyjson_val *root = yyjson_doc_get_root(doc);
    if ((st = read_keys(root, path, n_layers, hidden_size, bias, err)) != CBE_OK) goto done;
    if ((st = copy_keys(config, root, err)) != CBE_OK) goto done;
    *out = config;
    config = NULL;
done:
    yyjson_doc_free(doc);
    cbe_mapped_file_close(&map);
    cbe_tuned_lens_config_free(config);
    return st;
}

cbe_status cbe_tuned_lens_config_write(const cbe_tuned_lens_config *config,
                                       const cbe_tuned_lens *lens, const char *path, cbe_error *err)
{
    cbe_json_writer w = cbe_json_start();
    yyjson_mut_val *root =
        config ? yyjson_mut_val_mut_copy(w.doc, config->root) : new_root(&w, "", NULL);
    cbe_json_put_count(&w, root, "d_model", lens->hidden_size);
    cbe_json_put_count(&w, root, "num_hidden_layers", lens->n_layers);
    cbe_json_put_flag(&w, root, "bias", lens->bias != NULL);
    cbe_json_put_string(&w, root, CBE_LENS_WRITTEN_BY, "cbe " CBE_VERSION);
    char *text = cbe_json_finish(&w, root, true);
    const cbe_status st =
        text ? cbe_atomic_file_save(path, text, strlen(text), err) : no_memory(err);
    cbe_free(text);
    return st;
}
