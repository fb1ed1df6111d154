/*
 * config_json_rope.c - see config_json.h.
 *
 * transformers 5 has all values in rope_parameters, in gemma3 an object for each kind of block;
 * transformers 4 has rope_theta (or rotary_emb_base) beside rope_scaling, whose kind older files
 * call "type". rope_scaling applies to global blocks only. Where both objects are there,
 * transformers 5 drops rope_parameters, with its rope_theta, so both must say the same.
 */
#include <stddef.h>
#include <string.h>

#include "core/fail.h"
#include "model/config_json.h"
#include "formats/json_keys.h"

static const char original_key[] = "original_max_position_embeddings",
                  share_key[] = "partial_rotary_factor";

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

/* Numbers of an object of parameters. */
#define AT(field) offsetof(cbe_rope, field)
static const struct {
    const char *key;
    size_t offset;
} numbers[] = {
    {"rope_theta", AT(base)},
    {"factor", AT(factor)},
    {"low_freq_factor", AT(low_frequency)},
    {"high_freq_factor", AT(high_frequency)},
    {original_key, AT(original_context)},
    {"attention_factor", AT(attention_factor)},
    {"beta_fast", AT(beta_fast)},
    {"beta_slow", AT(beta_slow)},
    {"mscale", AT(mscale)},
    {"mscale_all_dim", AT(mscale_all)},
};
enum { N_NUMBERS = sizeof numbers / sizeof *numbers };

static double *number_of(cbe_rope *rope, size_t i)
{
    return (double *)(void *)((char *)rope + numbers[i].offset);
}

/* What objects and root say of one reach. */
typedef struct {
    cbe_rope rope;
    double share; /* rotated share of a head */
} parameters;

static bool are_same(parameters *a, parameters *b)
{
    bool same = a->rope.kind == b->rope.kind && a->share == b->share &&
                a->rope.fractional == b->rope.fractional &&
                a->rope.n_divisors == b->rope.n_divisors;
    for (size_t i = 0; i < N_NUMBERS; i++)
        same = same && *number_of(&a->rope, i) == *number_of(&b->rope, i);
    for (size_t i = 0; i < 2 * a->rope.n_divisors && same; i++)
        same = a->rope.divisors[i % 2][i / 2] == b->rope.divisors[i % 2][i / 2];
    return same;
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

/* Checks the values of one kind of scaling, which other kinds ignore. */
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

/* Reads an object of parameters over what is known before, for one reach. */
static cbe_status read_parameters(yyjson_val *object, const char *path, const cbe_config *config,
                                  parameters *out, cbe_error *err)
{
    cbe_status st;
    cbe_rope *rope = &out->rope;
    const char *kind = cbe_rope_name(rope->kind);
    bool truncate = true;
    const bool phi3 = config->family->keys == &cbe_phi3_keys;
    for (size_t i = 0; i < N_NUMBERS; i++)
        if ((st = cbe_json_double(object, numbers[i].key, path, number_of(rope, i), err)) != CBE_OK)
            return st;
    st = cbe_json_double(object, share_key, path, &out->share, err);
    if (st != CBE_OK) return st;
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

/* Reads the keys beside the objects. */
static cbe_status read_root(yyjson_val *root, const char *path, const cbe_config *config,
                            parameters out[CBE_N_REACHES], cbe_error *err)
{
    cbe_status st;
    const cbe_family_keys *keys = config->family->keys;
    const bool local_apart = config->family->defaults.local_rope_base > 0;
    parameters *global = &out[CBE_REACH_GLOBAL], *local = &out[CBE_REACH_LOCAL];
    const char *share = keys->rope_share ? keys->rope_share : share_key;
    for (size_t i = 0; i < CBE_N_REACHES; i++)
        out[i] = (parameters){config->rope[i], keys->rope_share ? config->rotary_share : 1};
    st = cbe_json_double(root, keys->rope_base, path, &global->rope.base, err);
    if (st != CBE_OK) return st;
    if ((st = cbe_json_double(root, share, path, &global->share, err)) != CBE_OK) return st;
    local->share = global->share;
    if (!local_apart) local->rope.base = global->rope.base;
    return local_apart ? cbe_json_double(root, "rope_local_base_freq", path, &local->rope.base, err)
                       : CBE_OK;
}

/* Names of objects of the two reaches. */
static const char *const reaches[CBE_N_REACHES] = {"full_attention", "sliding_attention"};

/* Finds rope_parameters or rope_scaling; *out NULL: it is not there, or empty. Only rope_parameters
 * of families whose kinds of blocks have bases apart has an object for each kind. */
static cbe_status find_object(yyjson_val *root, const char *path, const char *key, bool by_kind,
                              yyjson_val **out, cbe_error *err)
{
    *out = cbe_json_get(root, key);
    if (!*out) return CBE_OK;
    if (!yyjson_is_obj(*out)) return cbe_json_wrong_type(path, key, "an object", err);
    if (yyjson_obj_size(*out) == 0) *out = NULL;
    bool nested = false;
    for (size_t i = 0; i < CBE_N_REACHES; i++) nested |= cbe_json_at(*out, reaches[i]) != NULL;
    if (!*out || nested == by_kind) return CBE_OK;
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    nested ? "%s: %s: full_attention and sliding_attention have no place in this "
                             "model; transformers does not read them here"
                           : "%s: %s must have full_attention and sliding_attention in this model; "
                             "transformers reads nothing else there",
                    path, key);
}

/* Reads the objects over what the root says. */
static cbe_status read_objects(yyjson_val *root, const char *path, const cbe_config *config,
                               parameters out[CBE_N_REACHES], cbe_error *err)
{
    cbe_status st;
    yyjson_val *now, *scaling;
    const bool apart = config->family->defaults.local_rope_base > 0;
    parameters scaled[CBE_N_REACHES];
    memcpy(scaled, out, sizeof scaled);
    st = find_object(root, path, "rope_parameters", apart, &now, err);
    if (st == CBE_OK) st = find_object(root, path, "rope_scaling", false, &scaling, err);
    if (st != CBE_OK) return st;
    for (int i = 0; i < CBE_N_REACHES && now; i++) {
        yyjson_val *object = apart ? cbe_json_get(now, reaches[i]) : now;
        if (!object) continue;
        if (!yyjson_is_obj(object))
            return cbe_json_wrong_type(path, "rope_parameters", "an object of objects", err);
        if ((st = read_parameters(object, path, config, &out[i], err)) != CBE_OK) return st;
    }
    if (!scaling) return CBE_OK;
    if (apart) memcpy(scaled, out, sizeof scaled); /* rope_scaling is then added */
    /* Added to the default, as it is there, which has a rope_type already. */
    if (apart && cbe_json_get(scaling, "type") && !cbe_json_get(scaling, "rope_type"))
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: rope_scaling has type, but in this model transformers reads rope_type "
                        "alone; rename it",
                        path);
    for (int i = 0; i < CBE_N_REACHES; i++) {
        if (apart && i == CBE_REACH_LOCAL) continue;
        if ((st = read_parameters(scaling, path, config, &scaled[i], err)) != CBE_OK) return st;
        if (now && !are_same(&scaled[i], &out[i]))
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: rope_scaling and rope_parameters differ (with rope_theta); leave "
                            "out the one that is not meant",
                            path);
    }
    memcpy(out, scaled, sizeof scaled);
    return CBE_OK;
}

/* Settles the rotated share of a head. Families without a key for it rotate all of a head, unless
 * their embeddings are scaled, where transformers fails with another share. */
static cbe_status settle_share(const char *path, cbe_config *config,
                               const parameters said[CBE_N_REACHES], cbe_error *err)
{
    if (config->family->keys->rope_share) {
        config->rotary_share = said[CBE_REACH_GLOBAL].share;
        return CBE_OK;
    }
    for (size_t i = 0; i < CBE_N_REACHES; i++)
        if (said[i].rope.kind != CBE_ROPE_DEFAULT && said[i].share != 1)
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                            "%s: %s is %g, which a %s model with scaled rotary embeddings does not "
                            "have; leave it out",
                            path, share_key, said[i].share, config->sizes.architecture);
    return CBE_OK;
}

/* Settles the original context. Phi 3 has it in the root, with a default; elsewhere a key in the
 * root comes first too, but where kinds of blocks have objects of their own. */
static cbe_status settle_original(yyjson_val *root, const char *path, cbe_config *config,
                                  cbe_rope *rope, cbe_error *err)
{
    const cbe_family_defaults *defaults = &config->family->defaults;
    if (defaults->local_rope_base > 0) return CBE_OK;
    if (defaults->original_context > 0) rope->original_context = defaults->original_context;
    const cbe_status st = cbe_json_double(root, original_key, path, &rope->original_context, err);
    return st == CBE_OK && uses_original(rope->kind)
               ? check_not_zero(root, original_key, path, rope->original_context, err)
               : st;
}

cbe_status cbe_config_json_rope(yyjson_val *root, const char *path, cbe_config *config,
                                cbe_error *err)
{
    cbe_status st;
    const cbe_family_keys *keys = config->family->keys;
    if (keys->rotary_size)
        return cbe_json_size(root, keys->rotary_size, CBE_CONFIG_SIZE_MAX, path,
                             &config->rotary_size, err);
    parameters said[CBE_N_REACHES];
    if ((st = read_root(root, path, config, said, err)) != CBE_OK) return st;
    if ((st = read_objects(root, path, config, said, err)) != CBE_OK) return st;
    for (size_t i = 0; i < CBE_N_REACHES; i++) {
        config->rope[i] = said[i].rope;
        if ((st = settle_original(root, path, config, &config->rope[i], err)) != CBE_OK) return st;
    }
    return settle_share(path, config, said, err);
}
