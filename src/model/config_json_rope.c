/*
 * config_json_rope.c - see config_json.h.
 *
 * transformers 5 has all values in rope_parameters, in some families one object for each kind of
 * block; transformers 4 has rope_theta (or rotary_emb_base) beside rope_scaling, whose kind older
 * files call "type". rope_scaling applies to global blocks only.
 */
#include <string.h>

#include "core/fail.h"
#include "model/config_json.h"
#include "formats/json_keys.h"

static const char original_key[] = "original_max_position_embeddings";

static cbe_status find_kind(const char *name, bool phi3, const char *path, cbe_rope_kind *out,
                            cbe_error *err)
{
    /* Older names of longrope; Phi 3's first files call it yarn. */
    if (strcmp(name, "su") == 0 || (phi3 && strcmp(name, "yarn") == 0)) name = "longrope";
    for (int i = 0; i < CBE_N_ROPES; i++)
        if (strcmp(name, cbe_rope_name((cbe_rope_kind)i)) == 0) {
            *out = (cbe_rope_kind)i;
            return CBE_OK;
        }
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: rotary scaling '%.40s' is not supported (known: default, linear, dynamic, "
                    "yarn, longrope, llama3)",
                    path, name);
}

/* Reads longrope's lists of divisors. */
static cbe_status read_divisors(yyjson_val *object, const char *path, cbe_rope *rope,
                                cbe_error *err)
{
    cbe_status st;
    size_t counts[2] = {0, 0};
    static const char *const names[2] = {"short_factor", "long_factor"};
    for (size_t i = 0; i < 2; i++)
        if ((st = cbe_json_doubles(object, names[i], CBE_MAX_ROTARY_PAIRS, path, rope->divisors[i],
                                   &counts[i], err)) != CBE_OK)
            return st;
    if (counts[0] == 0 || counts[0] != counts[1])
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: rotary scaling longrope needs short_factor and long_factor, as many "
                        "numbers in one as in the other",
                        path);
    rope->n_divisors = counts[0];
    return CBE_OK;
}

/* Refuses a number that a file gives as 0, which here stands for a missing key. */
static cbe_status check_not_zero(yyjson_val *object, const char *key, const char *path,
                                 double value, cbe_error *err)
{
    if (value != 0 || !cbe_json_get(object, key)) return CBE_OK;
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: rotary embedding: %s is 0, must be a positive number", path, key);
}

static bool uses_original(cbe_rope_kind kind)
{
    return kind == CBE_ROPE_YARN || kind == CBE_ROPE_LONGROPE || kind == CBE_ROPE_LLAMA3;
}

/* Reads the values of one kind of scaling, which other kinds ignore. */
static cbe_status check_used(yyjson_val *object, const char *path, cbe_rope *rope, cbe_error *err)
{
    const bool whole = rope->kind == CBE_ROPE_YARN || rope->kind == CBE_ROPE_LONGROPE;
    cbe_status st = CBE_OK;
    if (!whole) rope->attention_factor = 0; /* absent */
    if (whole) st = check_not_zero(object, "attention_factor", path, rope->attention_factor, err);
    if (st == CBE_OK && rope->kind != CBE_ROPE_DEFAULT)
        st = check_not_zero(object, "factor", path, rope->factor, err);
    if (st == CBE_OK && uses_original(rope->kind))
        st = check_not_zero(object, original_key, path, rope->original_context, err);
    return st;
}

/* Reads an object of parameters, for one reach. */
static cbe_status read_parameters(yyjson_val *object, const char *path, bool phi3, cbe_rope *rope,
                                  double *share, cbe_error *err)
{
    cbe_status st;
    const char *kind = cbe_rope_name(rope->kind);
    bool truncate = true;
    const struct {
        const char *key;
        double *out;
    } numbers[] = {
        {"rope_theta", &rope->base},
        {"partial_rotary_factor", share},
        {"factor", &rope->factor},
        {"low_freq_factor", &rope->low_frequency},
        {"high_freq_factor", &rope->high_frequency},
        {original_key, &rope->original_context},
        {"attention_factor", &rope->attention_factor},
        {"beta_fast", &rope->beta_fast},
        {"beta_slow", &rope->beta_slow},
        {"mscale", &rope->mscale},
        {"mscale_all_dim", &rope->mscale_all},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if ((st = cbe_json_double(object, numbers[i].key, path, numbers[i].out, err)) != CBE_OK)
            return st;
    if ((st = cbe_json_bool(object, "truncate", path, &truncate, err)) != CBE_OK) return st;
    rope->fractional = !truncate;
    if ((st = cbe_json_string(object, "type", path, &kind, err)) != CBE_OK) return st;
    if ((st = cbe_json_string(object, "rope_type", path, &kind, err)) != CBE_OK) return st;
    if ((st = find_kind(kind, phi3, path, &rope->kind, err)) != CBE_OK) return st;
    if (rope->kind != CBE_ROPE_DEFAULT && rope->kind != CBE_ROPE_LONGROPE &&
        rope->kind != CBE_ROPE_YARN && !cbe_json_get(object, "factor"))
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: rotary scaling %s needs a factor", path,
                        cbe_rope_name(rope->kind));
    if ((st = check_used(object, path, rope, err)) != CBE_OK) return st;
    return rope->kind == CBE_ROPE_LONGROPE ? read_divisors(object, path, rope, err) : CBE_OK;
}

/* Reads the keys beside rope_scaling in files of transformers 4. */
static cbe_status read_root(yyjson_val *root, const char *path, cbe_config *config, cbe_error *err)
{
    cbe_status st;
    cbe_rope *global = &config->rope[CBE_REACH_GLOBAL], *local = &config->rope[CBE_REACH_LOCAL];
    const struct {
        const char *key;
        double *out;
    } numbers[] = {
        {"rotary_emb_base", &global->base},
        {"rope_theta", &global->base},
        {"rotary_pct", &config->rotary_share},
        {"partial_rotary_factor", &config->rotary_share},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if ((st = cbe_json_double(root, numbers[i].key, path, numbers[i].out, err)) != CBE_OK)
            return st;
    if (config->family->defaults.local_rope_base == 0) local->base = global->base;
    st = cbe_json_double(root, "rope_local_base_freq", path, &local->base, err);
    if (st != CBE_OK) return st;
    return cbe_json_size(root, "rotary_dim", CBE_CONFIG_SIZE_MAX, path, &config->rotary_size, err);
}

cbe_status cbe_config_json_rope(yyjson_val *root, const char *path, cbe_config *config,
                                cbe_error *err)
{
    cbe_status st;
    static const char *const reaches[CBE_N_REACHES] = {"full_attention", "sliding_attention"};
    const bool phi3 = config->family == cbe_family_find(CBE_FORMAT_HUGGING_FACE, "phi3", 4);
    double share[CBE_N_REACHES];
    if ((st = read_root(root, path, config, err)) != CBE_OK) return st;
    for (size_t i = 0; i < CBE_N_REACHES; i++) share[i] = config->rotary_share;

    const char *place = cbe_json_get(root, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    yyjson_val *given = cbe_json_get(root, place);
    if (given && !yyjson_is_obj(given)) return cbe_json_wrong_type(path, place, "an object", err);
    const bool local_apart = config->family->defaults.local_rope_base > 0;
    bool nested = false;
    for (size_t i = 0; i < CBE_N_REACHES; i++) nested |= cbe_json_get(given, reaches[i]) != NULL;
    for (size_t i = 0; i < CBE_N_REACHES; i++) {
        yyjson_val *object = nested ? cbe_json_get(given, reaches[i]) : given;
        if (!object || (!nested && local_apart && i == CBE_REACH_LOCAL)) continue;
        if (!yyjson_is_obj(object)) return cbe_json_wrong_type(path, reaches[i], "an object", err);
        st = read_parameters(object, path, phi3, &config->rope[i], &share[i], err);
        if (st != CBE_OK) return st;
    }
    if (share[CBE_REACH_LOCAL] != share[CBE_REACH_GLOBAL])
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: partial_rotary_factor differs between kinds of blocks, %g and %g",
                        path, share[CBE_REACH_GLOBAL], share[CBE_REACH_LOCAL]);
    config->rotary_share = share[CBE_REACH_GLOBAL];
    /* Phi 3 has original_max_position_embeddings in the root, which comes first. */
    for (size_t i = 0; i < CBE_N_REACHES; i++) {
        cbe_rope *rope = &config->rope[i];
        st = cbe_json_double(root, original_key, path, &rope->original_context, err);
        if (st == CBE_OK && uses_original(rope->kind))
            st = check_not_zero(root, original_key, path, rope->original_context, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}
