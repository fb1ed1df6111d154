/* run_identity.c - see run_identity.h. */
#include "core/utf8_replace.h"
#include "extract/run_identity.h"

#include <stdio.h>
#include <string.h>

#include "extract/run_identity_keys.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/utf8.h"

void cbe_run_identity_free(cbe_run_identity *identity)
{
    for (size_t i = 0; i < 2 * identity->n; i++) cbe_free(identity->texts[i]);
    cbe_free(identity->texts);
    *identity = (cbe_run_identity){0};
}

static cbe_status make_room(cbe_run_identity *identity, cbe_error *err)
{
    enum { MORE = 32 };
    if (identity->n < identity->room) return CBE_OK;
    char **texts = cbe_alloc(identity->room + MORE, 2 * sizeof *texts, "record of the run", err);
    if (!texts) return CBE_ERR_NOMEM;
    if (identity->n) memcpy(texts, identity->texts, 2 * identity->n * sizeof *texts);
    cbe_free(identity->texts);
    identity->texts = texts;
    identity->room += MORE;
    return CBE_OK;
}

cbe_status cbe_run_identity_add(cbe_run_identity *identity, const char *key, const char *value,
                                cbe_error *err)
{
    char *pair[2] = {NULL, NULL};
    size_t length;
    cbe_status st = make_room(identity, err);
    if (st == CBE_OK) st = cbe_utf8_replace(&pair[0], key, strlen(key), &length, NULL, err);
    if (st == CBE_OK) st = cbe_utf8_replace(&pair[1], value, strlen(value), &length, NULL, err);
    if (st != CBE_OK) {
        cbe_free(pair[0]);
        return st;
    }
    memcpy(identity->texts + 2 * identity->n++, pair, sizeof pair);
    return CBE_OK;
}

cbe_status cbe_run_identity_add_count(cbe_run_identity *identity, const char *key, size_t value,
                                      cbe_error *err)
{
    char text[CBE_RUN_COUNT];
    snprintf(text, sizeof text, "%zu", value);
    return cbe_run_identity_add(identity, key, text, err);
}

cbe_status cbe_run_identity_add_layers(cbe_run_identity *out, size_t n, const size_t *layers,
                                       cbe_error *err)
{
    enum { DIGITS = 22 };
    size_t used = 0;
    char *list = cbe_alloc(n + 1, DIGITS, "record of the run", err);
    if (!list) return CBE_ERR_NOMEM;
    list[0] = 0;
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(list + used, DIGITS, "%s%zu", i ? "," : "", layers[i]);
    const cbe_status st = cbe_run_identity_add(out, "list of layers", list, err);
    cbe_free(list);
    return st;
}

cbe_status cbe_run_identity_add_options(cbe_run_identity *identity, size_t n,
                                        const cbe_run_option *options,
                                        bool (*matters)(const char *name), cbe_error *err)
{
    size_t size = 1;
    for (size_t i = 0; i < n; i++) size += strlen(options[i].name) + 3;
    char *key = cbe_alloc(size, 1, "record of the run", err),
         *names = cbe_alloc_zero(size, 1, "record of the run", err);
    cbe_status st = key && names ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0, used = 0; i < n && st == CBE_OK; i++) {
        if (!matters(options[i].name)) continue;
        snprintf(key, size, "--%s", options[i].name);
        used += (size_t)snprintf(names + used, size - used, "%s%s", used ? " " : "", key);
        st = cbe_run_identity_add(identity, key, options[i].value, err);
    }
    if (st == CBE_OK) st = cbe_run_identity_add(identity, CBE_RUN_OPTIONS, names, err);
    cbe_free(key);
    cbe_free(names);
    return st;
}

cbe_status cbe_run_identity_add_inputs(cbe_run_identity *identity, const cbe_inputs *inputs,
                                       cbe_error *err)
{
    const size_t n = inputs ? inputs->n : 0;
    cbe_status st = cbe_run_identity_add_count(identity, CBE_RUN_INPUTS, n, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const cbe_input *file = &inputs->files[i];
        const char *role = cbe_input_role_name(file->role), *slash = strrchr(file->path, '/');
        const char *name = slash && slash[1] ? slash + 1 : file->path;
        char key[CBE_RUN_COUNT];
        const size_t size = strlen(role) + strlen(name) + CBE_SHA256_TEXT + 3;
        char *value = cbe_alloc(size, 1, "record of the run", err);
        if (!value) return CBE_ERR_NOMEM;
        snprintf(key, sizeof key, CBE_RUN_INPUT "%zu", i + 1);
        snprintf(value, size, "%s %s %s", role, file->sha256, name);
        st = cbe_run_identity_add(identity, key, value, err);
        cbe_free(value);
    }
    return st;
}

const char *cbe_run_identity_get(const void *context, const char *key)
{
    const cbe_run_identity *identity = context;
    for (size_t i = 0; i < identity->n; i++)
        if (strcmp(identity->texts[2 * i], key) == 0) return identity->texts[2 * i + 1];
    return NULL;
}
