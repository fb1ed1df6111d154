/* json_writer.c - see json_writer.h. */
#include "formats/json_writer.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/utf8_replace.h"
#include "formats/json_memory.h"

/* Notes that a value could not be built. */
static yyjson_mut_val *noted(cbe_json_writer *w, yyjson_mut_val *value)
{
    w->whole &= value != NULL;
    return value;
}

cbe_json_writer cbe_json_start(void)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(&cbe_json_memory);
    return (cbe_json_writer){doc, doc != NULL};
}

yyjson_mut_val *cbe_json_new_object(cbe_json_writer *w)
{
    return noted(w, yyjson_mut_obj(w->doc));
}

yyjson_mut_val *cbe_json_new_list(cbe_json_writer *w)
{
    return noted(w, yyjson_mut_arr(w->doc));
}

yyjson_mut_val *cbe_json_new_number(cbe_json_writer *w, double value)
{
    return noted(w, isfinite(value) ? yyjson_mut_real(w->doc, value) : yyjson_mut_null(w->doc));
}

yyjson_mut_val *cbe_json_new_count(cbe_json_writer *w, uint64_t value)
{
    return noted(w, yyjson_mut_uint(w->doc, value));
}

yyjson_mut_val *cbe_json_new_string(cbe_json_writer *w, const char *text)
{
    char *copy = NULL;
    size_t length;
    yyjson_mut_val *value = NULL;
    if (!text) return noted(w, yyjson_mut_null(w->doc));
    if (cbe_utf8_replace(&copy, text, strlen(text), &length, NULL, NULL) == CBE_OK)
        value = yyjson_mut_strncpy(w->doc, copy, length);
    cbe_free(copy);
    return noted(w, value);
}

yyjson_mut_val *cbe_json_new_strings(cbe_json_writer *w, const char *const *texts, size_t n)
{
    yyjson_mut_val *list = cbe_json_new_list(w);
    for (size_t i = 0; i < n; i++) cbe_json_append(w, list, cbe_json_new_string(w, texts[i]));
    return list;
}

void cbe_json_append(cbe_json_writer *w, yyjson_mut_val *list, yyjson_mut_val *value)
{
    w->whole &= yyjson_mut_arr_append(list, value);
}

void cbe_json_put(cbe_json_writer *w, yyjson_mut_val *object, const char *key,
                  yyjson_mut_val *value)
{
    yyjson_mut_val *name = value ? yyjson_mut_strcpy(w->doc, key) : NULL;
    if (name && yyjson_mut_obj_get(object, key))
        w->whole &= yyjson_mut_obj_replace(object, name, value);
    else
        w->whole &= name && yyjson_mut_obj_add(object, name, value);
}

void cbe_json_put_number(cbe_json_writer *w, yyjson_mut_val *object, const char *key, double value)
{
    cbe_json_put(w, object, key, cbe_json_new_number(w, value));
}

void cbe_json_put_count(cbe_json_writer *w, yyjson_mut_val *object, const char *key, uint64_t value)
{
    cbe_json_put(w, object, key, cbe_json_new_count(w, value));
}

void cbe_json_put_string(cbe_json_writer *w, yyjson_mut_val *object, const char *key,
                         const char *text)
{
    cbe_json_put(w, object, key, cbe_json_new_string(w, text));
}

void cbe_json_put_flag(cbe_json_writer *w, yyjson_mut_val *object, const char *key, bool value)
{
    cbe_json_put(w, object, key, noted(w, yyjson_mut_bool(w->doc, value)));
}

char *cbe_json_finish(cbe_json_writer *w, yyjson_mut_val *root, bool lines)
{
    char *text = NULL;
    const yyjson_write_flag flags = lines ? YYJSON_WRITE_PRETTY_TWO_SPACES : YYJSON_WRITE_NOFLAG;
    if (w->whole) text = yyjson_mut_val_write_opts(root, flags, &cbe_json_memory, NULL, NULL);
    cbe_json_drop(w);
    return text;
}

void cbe_json_drop(cbe_json_writer *w)
{
    yyjson_mut_doc_free(w->doc);
    *w = (cbe_json_writer){NULL, false};
}
