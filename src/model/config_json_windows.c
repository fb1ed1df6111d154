/* config_json_windows.c - see config_json.h. */
#include <string.h>

#include "core/fail.h"
#include "formats/json_keys.h"
#include "model/config_json.h"

static cbe_status unknown_kind(const char *path, const char *key, const char *kind, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s: %s: attention '%.40s' is not supported",
                    path, key, kind ? kind : "?");
}

/* Reads a list of kinds, one for each block. */
static cbe_status read_kinds(yyjson_val *list, const char *path, const char *key,
                             cbe_config *config, cbe_error *err)
{
    const size_t n = config->sizes.n_layers;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) != n || n > CBE_MAX_LOCAL_BLOCKS)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: key '%s' must list one kind for each of the %zu blocks", path, key, n);
    for (size_t i = 0; i < n; i++) {
        const char *kind = yyjson_get_str(yyjson_arr_get(list, i));
        const bool local =
            kind && (strcmp(kind, "sliding_attention") == 0 || strcmp(kind, "local") == 0);
        if (!local && (!kind || (strcmp(kind, "full_attention") != 0 &&
                                 strcmp(kind, "attention") != 0 && strcmp(kind, "global") != 0)))
            return unknown_kind(path, key, kind, err);
        config->local[i] = local;
    }
    return CBE_OK;
}

/* Reads GPT-Neo's list: [[["global", "local"], 12]] means global, local, 12 times. */
static cbe_status read_attention_types(yyjson_val *types, const char *path, cbe_config *config,
                                       cbe_error *err)
{
    static const char key[] = "attention_types";
    const size_t n = config->sizes.n_layers;
    size_t filled = 0;
    for (size_t i = 0; i < yyjson_arr_size(types); i++) {
        yyjson_val *item = yyjson_arr_get(types, i), *kinds = yyjson_arr_get(item, 0);
        const int64_t times = yyjson_get_sint(yyjson_arr_get(item, 1));
        for (int64_t t = 0; t < times && yyjson_arr_size(kinds) > 0; t++)
            for (size_t k = 0; k < yyjson_arr_size(kinds); k++) {
                const char *kind = yyjson_get_str(yyjson_arr_get(kinds, k));
                const bool local = kind && strcmp(kind, "local") == 0;
                if (!local && (!kind || strcmp(kind, "global") != 0))
                    return unknown_kind(path, key, kind, err);
                if (filled == n || filled == CBE_MAX_LOCAL_BLOCKS) goto count;
                config->local[filled++] = local;
            }
    }
    if (filled == n) return CBE_OK;
count:
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: key '%s' must describe as many blocks as there are, %zu", path, key, n);
}

/* Reads the window, which blocks are local where a rule says it, and that rule's numbers. */
static cbe_status read_rule(yyjson_val *root, const char *path, cbe_config *config, size_t *period,
                            size_t *from, cbe_error *err)
{
    cbe_status st;
    const cbe_family_keys *keys = config->family->keys;
    bool used = true;
    if (config->family->defaults.window_rule == CBE_WINDOW_FROM) {
        double first = (double)*from; /* read as a number, since it may be 0 */
        used = false;
        if ((st = cbe_json_bool(root, "use_sliding_window", path, &used, err)) != CBE_OK) return st;
        st = cbe_json_double(root, "max_window_layers", path, &first, err);
        if (st != CBE_OK) return st;
        *from = first >= 0 && first < CBE_MAX_LOCAL_BLOCKS ? (size_t)first : CBE_MAX_LOCAL_BLOCKS;
    }
    /* null means no window; so does a use_sliding_window that is not true. */
    if (!used || yyjson_is_null(cbe_json_at(root, keys->window))) config->window = 0;
    if (!used) return CBE_OK;
    st = cbe_json_size(root, keys->window, CBE_CONFIG_SIZE_MAX, path, &config->window, err);
    if (st != CBE_OK || !keys->period) return st;
    return cbe_json_size(root, keys->period, CBE_CONFIG_SIZE_MAX, path, period, err);
}

/* Reads GPT-Neo's lists; without any, blocks are global and local in turns, 24 of them. */
static cbe_status read_lists(yyjson_val *root, const char *path, cbe_config *config, cbe_error *err)
{
    enum { USUAL_BLOCKS = 24 };
    yyjson_val *list = cbe_json_get(root, "attention_layers");
    if (list) return read_kinds(list, path, "attention_layers", config, err);
    if ((list = cbe_json_get(root, "attention_types")))
        return read_attention_types(list, path, config, err);
    if (config->sizes.n_layers != USUAL_BLOCKS)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key 'attention_types' is missing", path);
    for (size_t i = 1; i < USUAL_BLOCKS; i += 2) config->local[i] = true;
    return CBE_OK;
}

cbe_status cbe_config_json_windows(yyjson_val *root, const char *path, cbe_config *config,
                                   cbe_error *err)
{
    cbe_status st;
    const cbe_family_defaults *defaults = &config->family->defaults;
    size_t period = defaults->window_period, from = 28; /* transformers' max_window_layers */
    if (defaults->window_rule == CBE_WINDOW_NONE) return CBE_OK;
    if ((st = read_rule(root, path, config, &period, &from, err)) != CBE_OK) return st;
    yyjson_val *list = config->family->keys->layer_types ? cbe_json_get(root, "layer_types") : NULL;
    if (list) {
        st = read_kinds(list, path, "layer_types", config, err);
        if (config->window == 0) memset(config->local, 0, sizeof config->local);
        return st;
    }
    if (config->window == 0) return CBE_OK;
    if (defaults->window_rule == CBE_WINDOW_LISTED) return read_lists(root, path, config, err);
    return cbe_config_set_windows(config, defaults->window_rule, period, from, path, err);
}
