/* tuned_lens_config.c - see tuned_lens_config.h and lens/tuned_lens.h. */
#include "lens/tuned_lens_config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "files/input_list.h"
#include "formats/json_memory.h"
#include "files/mapped_file.h"
#include "formats/json_keys.h"
#include "core/utf8.h"
#include "core/utf8_replace.h"

enum { MOST_LAYERS = 10000, MOST_HIDDEN_SIZE = 1 << 24 };

static const char lens_type[] = "linear_tuned_lens";

struct cbe_tuned_lens_config {
    json_t *root; /* an object */
};

static cbe_status no_memory(cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_NOMEM, -1, "a lens's config.json does not fit memory");
}

void cbe_tuned_lens_config_free(cbe_tuned_lens_config *config)
{
    if (!config) return;
    json_decref(config->root);
    cbe_free(config);
}

const char *cbe_tuned_lens_config_get(const cbe_tuned_lens_config *config, const char *key)
{
    return json_string_value(json_object_get(config->root, key));
}

cbe_status cbe_tuned_lens_config_set(cbe_tuned_lens_config *config, const char *key,
                                     const char *value, cbe_error *err)
{
    if (value && cbe_utf8_valid_length(value, strlen(value)) != strlen(value))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "the value of '%s' in a lens's config.json is not UTF-8", key);
    cbe_json_begin();
    json_t *json = value ? json_string(value) : json_null();
    const bool set = json_object_set_new(config->root, key, json) == 0 && !cbe_json_short();
    cbe_json_end(NULL, 0);
    return set ? CBE_OK : no_memory(err);
}

/* Makes the keys of tuned-lens, in its order. */
static json_t *new_root(const char *base_model, const char *hash)
{
    return json_pack("{s:s, s:i, s:i, s:b, s:n, s:s?, s:s}", "base_model_name_or_path", base_model,
                     "d_model", 0, "num_hidden_layers", 0, "bias", 1, "base_model_revision",
                     "unembed_hash", hash, "lens_type", lens_type);
}

cbe_status cbe_tuned_lens_config_create(cbe_tuned_lens_config **out, const char *base_model,
                                        const cbe_decoder *decoder, cbe_error *err)
{
    char hash[CBE_UNEMBED_HASH_SIZE], *name = NULL;
    size_t length;
    cbe_status st;
    cbe_tuned_lens_config *config = cbe_alloc_zero(1, sizeof *config, "config of a lens", err);
    if (!config) return CBE_ERR_NOMEM;
    if (decoder) cbe_unembed_hash(decoder, hash);
    if ((st = cbe_utf8_replace(&name, base_model, strlen(base_model), &length, NULL, err)) !=
        CBE_OK)
        goto done;
    cbe_json_begin();
    config->root = new_root(name, decoder ? hash : NULL);
    cbe_json_end(NULL, 0);
    if (!config->root || cbe_json_short()) {
        st = no_memory(err);
        goto done;
    }
    *out = config;
    config = NULL;
done:
    cbe_free(name);
    cbe_tuned_lens_config_free(config);
    return st;
}

bool cbe_tuned_lens_config_differs(const cbe_tuned_lens_config *config, const cbe_decoder *decoder)
{
    char hash[CBE_UNEMBED_HASH_SIZE];
    const char *recorded = cbe_tuned_lens_config_get(config, "unembed_hash");
    if (!recorded) return false;
    cbe_unembed_hash(decoder, hash);
    return strcmp(recorded, hash) != 0;
}

static cbe_status check_type(const json_t *root, const char *path, cbe_error *err)
{
    const char *type = lens_type;
    const cbe_status st = cbe_json_string(root, "lens_type", path, &type, err);
    if (st != CBE_OK || strcmp(type, lens_type) == 0) return st;
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s: lens_type '%.80s' is not known; %s is read",
                    path, type, lens_type);
}

static cbe_status read_keys(const json_t *root, const char *path, size_t *n_layers,
                            size_t *hidden_size, bool *bias, cbe_error *err)
{
    cbe_status st;
    const char *text = NULL;
    if (!json_is_object(root))
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

cbe_status cbe_tuned_lens_config_read(cbe_tuned_lens_config **out, const char *path,
                                      size_t *n_layers, size_t *hidden_size, bool *bias,
                                      cbe_inputs *inputs, cbe_error *err)
{
    cbe_status st;
    cbe_mapped_file map = {0};
    json_error_t problem;
    cbe_tuned_lens_config *config = cbe_alloc_zero(1, sizeof *config, "config of a lens", err);
    if (!config) return CBE_ERR_NOMEM;
    if ((st = cbe_mapped_file_open(&map, path, err)) != CBE_OK) goto done;
    if ((st = cbe_inputs_add(inputs, CBE_INPUT_LENS, &map, err)) != CBE_OK) goto done;
    st = cbe_json_parse(&config->root, (const char *)map.data, map.size, JSON_REJECT_DUPLICATES,
                        path, &problem, err);
    if (st == CBE_ERR_FORMAT)
        cbe_fail(err, CBE_ERR_FORMAT, problem.position, "%s: line %d: %s", path, problem.line,
                 problem.text);
    if (st != CBE_OK) goto done;
    if ((st = read_keys(config->root, path, n_layers, hidden_size, bias, err)) != CBE_OK) goto done;
    *out = config;
    config = NULL;
done:
    cbe_mapped_file_close(&map);
    cbe_tuned_lens_config_free(config);
    return st;
}

cbe_status cbe_tuned_lens_config_write(const cbe_tuned_lens_config *config,
                                       const cbe_tuned_lens *lens, const char *path, cbe_error *err)
{
    cbe_json_begin();
    json_t *root = config ? json_copy(config->root) : new_root("", NULL);
    const bool whole =
        root &&
        json_object_set_new(root, "d_model", json_integer((json_int_t)lens->hidden_size)) == 0 &&
        json_object_set_new(root, "num_hidden_layers", json_integer((json_int_t)lens->n_layers)) ==
            0 &&
        json_object_set_new(root, "bias", json_boolean(lens->bias != NULL)) == 0 &&
        json_object_set_new(root, CBE_LENS_WRITTEN_BY, json_string("cbe " CBE_VERSION)) == 0;
    if (!whole) json_decref(root);
    char *text = cbe_json_end(whole ? root : NULL, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    const cbe_status st =
        text ? cbe_atomic_file_save(path, text, strlen(text), err) : no_memory(err);
    free(text);
    return st;
}
