/* json_values.c - see json_values.h. */
#include "formats/json_values.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/memory.h"
#include "core/utf8_replace.h"

json_t *cbe_json_of_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *cbe_json_of_text(const char *text)
{
    char *copy = NULL;
    size_t length;
    if (!text) return json_null();
    if (cbe_utf8_replace(&copy, text, strlen(text), &length, NULL, NULL) != CBE_OK) return NULL;
    json_t *json = json_stringn(copy, length);
    cbe_free(copy);
    return json;
}

json_t *cbe_json_append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) == 0) return array;
    json_decref(array);
    return NULL;
}

json_t *cbe_json_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) == 0) return object;
    json_decref(object);
    return NULL;
}

json_t *cbe_json_join(json_t *object, json_t *more)
{
    const bool joined = json_object_update(object, more) == 0;
    json_decref(more);
    if (joined) return object;
    json_decref(object);
    return NULL;
}
