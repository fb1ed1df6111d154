/* json_keys.c - see json_keys.h. */
#include "formats/json_keys.h"

#include "core/fail.h"

const json_t *cbe_json_get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

cbe_status cbe_json_wrong_type(const char *path, const char *key, const char *expected,
                               cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' must be %s", path, key, expected);
}

cbe_status cbe_json_size(const json_t *object, const char *key, size_t max, const char *path,
                         size_t *out, cbe_error *err)
{
    const json_t *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!json_is_integer(value)) return cbe_json_wrong_type(path, key, "an integer", err);
    const json_int_t number = json_integer_value(value);
    if (number < 1 || (unsigned long long)number > max)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is %lld, must be 1 to %zu", path,
                        key, (long long)number, max);
    *out = (size_t)number;
    return CBE_OK;
}

cbe_status cbe_json_double(const json_t *object, const char *key, const char *path, double *out,
                           cbe_error *err)
{
    const json_t *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!json_is_number(value)) return cbe_json_wrong_type(path, key, "a number", err);
    *out = json_number_value(value);
    return CBE_OK;
}

cbe_status cbe_json_bool(const json_t *object, const char *key, const char *path, bool *out,
                         cbe_error *err)
{
    const json_t *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!json_is_boolean(value)) return cbe_json_wrong_type(path, key, "true or false", err);
    *out = json_is_true(value);
    return CBE_OK;
}

cbe_status cbe_json_string(const json_t *object, const char *key, const char *path,
                           const char **out, cbe_error *err)
{
    const json_t *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!json_is_string(value)) return cbe_json_wrong_type(path, key, "a string", err);
    *out = json_string_value(value);
    return CBE_OK;
}

cbe_status cbe_json_doubles(const json_t *object, const char *key, size_t max, const char *path,
                            double *out, size_t *count, cbe_error *err)
{
    const json_t *value = cbe_json_get(object, key);
    if (!value) return CBE_OK;
    if (!json_is_array(value)) return cbe_json_wrong_type(path, key, "a list of numbers", err);
    const size_t n = json_array_size(value);
    if (n > max)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' has %zu numbers, at most %zu", path,
                        key, n, max);
    for (size_t i = 0; i < n; i++) {
        const json_t *number = json_array_get(value, i);
        if (!json_is_number(number))
            return cbe_json_wrong_type(path, key, "a list of numbers", err);
        out[i] = json_number_value(number);
    }
    *count = n;
    return CBE_OK;
}
