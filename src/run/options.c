/* options.c - see options.h. */
#include "run/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

static void *field_of(const cbe_option *option, void *fields)
{
    return (char *)fields + option->field;
}

static cbe_status bad_value(const cbe_option *option, const char *value, const char *wanted,
                            cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_ARG, -1, CBE_OPTION("%s") " %s: %s expected", option->name, value,
                    wanted);
}

static bool parse_uint(const char *text, uint64_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    const unsigned long long x = strtoull(text, &end, 10);
    if (errno || *end) return false;
    *out = x;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A decimal number at the start of text, as people write one: no blank or plus before it, no
 * hexadecimal digits, no words. @return the text behind it; NULL: none is there */
static const char *parse_decimal(const char *text, double *out)
{
    const char *at = text + (*text == '-');
    const size_t whole = strspn(at, "0123456789");
    at += whole;
    const size_t fraction = *at == '.' ? strspn(at + 1, "0123456789") : 0;
    if (whole + fraction == 0) return NULL;
    if (*at == '.') at += 1 + fraction;
    if (*at == 'e' || *at == 'E') {
        const char *digits = at + 1 + (at[1] == '-' || at[1] == '+');
        if (is_digit(*digits)) at = digits + strspn(digits, "0123456789");
    }
    *out = strtod(text, NULL); /* which reads as far at the least */
    return at;
}

/* Bytes: 1073741824, 500M, 1.5G, 2GiB. */
static bool parse_size(const char *text, double *out)
{
    static const char units[] = "KMGT";
    double x = 0;
    const char *end = parse_decimal(text, &x);
    if (!end || !(x > 0) || !isfinite(x)) return false;
    const char *unit = *end ? strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
    if (unit) {
        for (const char *u = units; u <= unit; u++) x *= 1024;
        end++;
        if (*end == 'i') end++;
    }
    if (*end == 'B') end++;
    if (*end || x < 1 || x >= (double)(SIZE_MAX / 2)) return false;
    *out = x;
    return true;
}

static cbe_status parse_layers(const cbe_option *option, const char *value, cbe_ranges *out,
                               cbe_error *err)
{
    static const char wanted[] = "layers such as 0-29,31 or all";
    if (strcmp(value, "all") == 0) {
        cbe_free(out->ranges);
        *out = (cbe_ranges){true, 0, NULL};
        return CBE_OK;
    }
    size_t count = 1;
    for (const char *c = value; *c; c++) count += *c == ',';
    size_t(*ranges)[2] = cbe_alloc(count, sizeof *ranges, "layers", err);
    if (!ranges) return CBE_ERR_NOMEM;
    const char *at = value;
    for (size_t i = 0; i < count; i++) {
        char *end = NULL;
        errno = 0;
        bool good = *at >= '0' && *at <= '9';
        unsigned long long low = good ? strtoull(at, &end, 10) : 0, high = low;
        if (good && *end == '-') {
            at = end + 1;
            good = *at >= '0' && *at <= '9';
            high = good ? strtoull(at, &end, 10) : 0;
        }
        good =
            good && errno == 0 && high >= low && high < 100000 && *end == (i + 1 < count ? ',' : 0);
        if (!good) {
            cbe_free(ranges);
            return bad_value(option, value, wanted, err);
        }
        ranges[i][0] = (size_t)low;
        ranges[i][1] = (size_t)high;
        at = end + 1;
    }
    cbe_free(out->ranges);
    *out = (cbe_ranges){false, count, ranges};
    return CBE_OK;
}

static cbe_status parse_choice(const cbe_option *option, const char *value, int *out,
                               cbe_error *err)
{
    char wanted[200] = "";
    for (int i = 0; option->choices[i]; i++) {
        if (strcmp(value, option->choices[i]) == 0) {
            *out = i;
            return CBE_OK;
        }
        const size_t used = strlen(wanted);
        snprintf(wanted + used, sizeof wanted - used, "%s%s",
                 i == 0                   ? ""
                 : option->choices[i + 1] ? ", "
                                          : " or ",
                 option->choices[i]);
    }
    return bad_value(option, value, wanted, err);
}

static cbe_status add_file(cbe_file_names *files, const char *path, cbe_error *err)
{
    const char **grown = cbe_alloc(files->n + 1, sizeof *grown, "file names", err);
    if (!grown) return CBE_ERR_NOMEM;
    if (files->n) memcpy(grown, files->paths, files->n * sizeof *grown);
    grown[files->n] = path;
    cbe_free(files->paths);
    files->paths = grown;
    files->n++;
    return CBE_OK;
}

/* What the bounds take, in words. */
static void describe(const cbe_bounds *b, bool whole, char *out, size_t size)
{
    const char *kind = whole ? "a whole number" : "a number";
    if (b->above)
        snprintf(out, size, "%s above %.16g and %s %.16g", kind, b->low,
                 b->below ? "below" : "at most", b->high);
    else if (b->below)
        snprintf(out, size, "%s of %.16g or more, below %.16g,", kind, b->low, b->high);
    else
        snprintf(out, size, "%s of %.16g to %.16g", kind, b->low, b->high);
}

static cbe_status out_of_bounds(const cbe_option *option, const char *value, cbe_error *err)
{
    char wanted[128];
    if (option->bounds->refusal)
        return cbe_fail(err, CBE_ERR_ARG, -1, option->bounds->refusal, value);
    describe(option->bounds, option->kind == OPT_COUNT, wanted, sizeof wanted);
    return bad_value(option, value, wanted, err);
}

static bool is_within(const cbe_option *option, const char *value, double x)
{
    const cbe_bounds *b = option->bounds;
    if (option->preset && *option->preset == '-' && x == strtod(option->preset, NULL)) return true;
    if (*value == '-' && b->low >= 0) return false; /* -0 too */
    return (b->above ? x > b->low : x >= b->low) && (b->below ? x < b->high : x <= b->high);
}

static cbe_status set_count(const cbe_option *option, const char *value, size_t *out,
                            cbe_error *err)
{
    uint64_t count;
    char wanted[64];
    if (!parse_uint(value, &count) || (double)count < option->bounds->low) {
        snprintf(wanted, sizeof wanted, "a whole number of %.0f or more", option->bounds->low);
        return bad_value(option, value, wanted, err);
    }
    if (!is_within(option, value, (double)count)) return out_of_bounds(option, value, err);
    *out = (size_t)count;
    return CBE_OK;
}

static cbe_status set_number(const cbe_option *option, const char *value, double *out,
                             cbe_error *err)
{
    double x = 0;
    const char *end = parse_decimal(value, &x);
    if (!end || *end || !isfinite(x)) return bad_value(option, value, "a number", err);
    if (!is_within(option, value, x)) return out_of_bounds(option, value, err);
    *out = x;
    return CBE_OK;
}

static cbe_status set_share(const cbe_option *option, const char *value, double *out,
                            cbe_error *err)
{
    if (strcmp(value, "auto") != 0) return set_number(option, value, out, err);
    *out = CBE_SHARE_AUTO;
    return CBE_OK;
}

static cbe_status set_size(const cbe_option *option, const char *value, size_t *out, cbe_error *err)
{
    double x = 0;
    if (!parse_size(value, &x))
        return bad_value(option, value, "a size in bytes, or one such as 500M or 1.5G,", err);
    if (x < CBE_LEAST_SIZE || x > CBE_MOST_SIZE)
        return bad_value(option, value, "a size of 1000000 bytes to 1024T", err);
    *out = (size_t)x;
    return CBE_OK;
}

static cbe_status set_skip(const cbe_option *option, const char *value, cbe_skip *out,
                           cbe_error *err)
{
    uint64_t count = 0;
    const bool automatic = strcmp(value, "auto") == 0;
    if (!automatic && !parse_uint(value, &count))
        return bad_value(option, value, "a number of positions or auto", err);
    if ((double)count > CBE_MOST_TOKENS)
        return bad_value(option, value, "at most 1000000000000000 positions, or auto,", err);
    *out = (cbe_skip){automatic, (size_t)count};
    return CBE_OK;
}

static cbe_status set_flag(const cbe_option *option, const char *value, bool *out, cbe_error *err)
{
    const bool on = !value || strcmp(value, "true") == 0;
    if (!on && strcmp(value, "false") != 0) return bad_value(option, value, "true or false", err);
    *out = on;
    return CBE_OK;
}

const char *cbe_option_kind_name(cbe_option_kind kind)
{
    static const char *const names[] = {
        [OPT_FLAG] = "flag",      [OPT_COUNT] = "count", [OPT_NUMBER] = "number",
        [OPT_SIZE] = "size",      [OPT_SEED] = "seed",   [OPT_STRING] = "string",
        [OPT_CHOICE] = "choice",  [OPT_FILES] = "files", [OPT_LAYERS] = "layers",
        [OPT_SKIP] = "positions", [OPT_SHARE] = "share"};
    return names[kind];
}

cbe_status cbe_option_set(const cbe_option *option, const char *value, void *fields, cbe_error *err)
{
    void *field = field_of(option, fields);
    switch (option->kind) {
    case OPT_FLAG: return set_flag(option, value, field, err);
    case OPT_COUNT: return set_count(option, value, field, err);
    case OPT_SEED:
        if (!parse_uint(value, (uint64_t *)field))
            return bad_value(option, value, "a whole number", err);
        return CBE_OK;
    case OPT_NUMBER: return set_number(option, value, field, err);
    case OPT_SIZE: return set_size(option, value, field, err);
    case OPT_STRING: *(const char **)field = value; return CBE_OK;
    case OPT_CHOICE: return parse_choice(option, value, field, err);
    case OPT_FILES: return add_file(field, value, err);
    case OPT_LAYERS: return parse_layers(option, value, field, err);
    case OPT_SKIP: return set_skip(option, value, field, err);
    case OPT_SHARE: return set_share(option, value, field, err);
    }
    return CBE_ERR_INTERNAL;
}

const cbe_option *cbe_option_find(const cbe_option *options, const char *name, size_t length)
{
    for (const cbe_option *o = options; o->name; o++)
        if (strlen(o->name) == length && memcmp(o->name, name, length) == 0) return o;
    return NULL;
}

cbe_status cbe_options_reset(const cbe_option *options, void *fields, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (const cbe_option *o = options; o->name && st == CBE_OK; o++)
        if (o->preset) st = cbe_option_set(o, o->preset, fields, err);
    return st;
}

void cbe_options_free(const cbe_option *options, void *fields)
{
    for (const cbe_option *o = options; o->name; o++) {
        if (o->kind == OPT_FILES) cbe_free(((cbe_file_names *)field_of(o, fields))->paths);
        if (o->kind == OPT_LAYERS) cbe_free(((cbe_ranges *)field_of(o, fields))->ranges);
    }
}

bool cbe_option_text(const cbe_option *option, const void *fields, char *text, size_t size)
{
    const void *field = (const char *)fields + option->field;
    switch (option->kind) {
    case OPT_FLAG: snprintf(text, size, "%s", *(const bool *)field ? "true" : "false"); return true;
    case OPT_COUNT:
        if (!option->preset && *(const size_t *)field == 0) return false; /* not given */
        snprintf(text, size, "%zu", *(const size_t *)field);
        return true;
    case OPT_SIZE:
        if (*(const size_t *)field == 0) return false;
        snprintf(text, size, "%zu", *(const size_t *)field);
        return true;
    case OPT_NUMBER: snprintf(text, size, "%.17g", *(const double *)field); return true;
    case OPT_SHARE:
        if (*(const double *)field == CBE_SHARE_AUTO)
            snprintf(text, size, "auto");
        else
            snprintf(text, size, "%.17g", *(const double *)field);
        return true;
    case OPT_SEED:
        snprintf(text, size, "%llu", (unsigned long long)*(const uint64_t *)field);
        return true;
    case OPT_STRING:
        if (!*(const char *const *)field) return false;
        snprintf(text, size, "%s", *(const char *const *)field);
        return true;
    case OPT_CHOICE:
        if (!option->choices[*(const int *)field]) return false; /* behind the last: not given */
        snprintf(text, size, "%s", option->choices[*(const int *)field]);
        return true;
    case OPT_FILES: return false; /* inputs are recorded with their digests */
    case OPT_LAYERS: {
        const cbe_ranges *ranges = field;
        size_t used = 0;
        snprintf(text, size, "%s", ranges->all ? "all" : "");
        for (size_t i = 0; i < ranges->n && used < size; i++) {
            const size_t low = ranges->ranges[i][0], high = ranges->ranges[i][1];
            used += (size_t)snprintf(text + used, size - used, "%s%zu", i ? "," : "", low);
            if (high > low && used < size)
                used += (size_t)snprintf(text + used, size - used, "-%zu", high);
        }
        return true;
    }
    case OPT_SKIP: {
        const cbe_skip *skip = field;
        if (skip->automatic)
            snprintf(text, size, "auto");
        else
            snprintf(text, size, "%zu", skip->positions);
        return true;
    }
    }
    return false;
}
