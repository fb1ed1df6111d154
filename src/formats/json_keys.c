/* json_keys.c - see json_keys.h. */
#include "formats/json_keys.h"

#include "core/fail.h"

cbe_status cbe_json_wrong_type(const char *path, const char *key, const char *expected,
                               cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' must be %s", path, key, expected);
}

cbe_status cbe_json_size(yyjson_val *object, const char *key, size_t max, const char *path,
                         size_t *out, cbe_error *err)
{
    yyjson_val *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!yyjson_is_int(value)) return cbe_json_wrong_type(path, key, "an integer", err);
    if (yyjson_get_sint(value) < 1 || yyjson_get_uint(value) > max)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is %.20g, must be 1 to %zu", path,
                        key, yyjson_get_num(value), max);
    *out = (size_t)yyjson_get_uint(value);
    return CBE_OK;
}

cbe_status cbe_json_double(yyjson_val *object, const char *key, const char *path, double *out,
                           cbe_error *err)
{
    yyjson_val *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!yyjson_is_num(value)) return cbe_json_wrong_type(path, key, "a number", err);
    *out = yyjson_get_num(value);
    return CBE_OK;
}

cbe_status cbe_json_bool(yyjson_val *object, const char *key, const char *path, bool *out,
                         cbe_error *err)
{
    yyjson_val *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!yyjson_is_bool(value)) return cbe_json_wrong_type(path, key, "true or false", err);
    *out = yyjson_is_true(value);
    return CBE_OK;
}

cbe_status cbe_json_string(yyjson_val *object, const char *key, const char *path, const char **out,
                           cbe_error *err)
{
    yyjson_val *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!yyjson_is_str(value)) return cbe_json_wrong_type(path, key, "a string", err);
    *out = yyjson_get_str(value);
    return CBE_OK;
}

cbe_status cbe_json_doubles(yyjson_val *object, const char *key, size_t max, const char *path,
                            double *out, size_t *count, cbe_error *err)
{
    yyjson_val *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!yyjson_is_arr(value)) return cbe_json_wrong_type(path, key, "a list of numbers", err);
    size_t i;
    yyjson_val *number;
    const size_t n = yyjson_arr_size(value);
    if (n > max)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' has %zu numbers, at most %zu", path,
                        key, n, max);
    size_t size;
    yyjson_arr_foreach(value, i, size, number)
    {
        if (!yyjson_is_num(number)) return cbe_json_wrong_type(path, key, "a list of numbers", err);
        out[i] = yyjson_get_num(number);
    }
    *count = n;
    return CBE_OK;
}
