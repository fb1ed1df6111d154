/* run_compare.c - what differs between two runs (run_identity.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extract/run_identity.h"
#include "extract/run_identity_keys.h"
#include "core/fail.h"
#include "core/memory.h"

enum {
    SHOWN = 60, /* bytes of a value in messages */
    MOST_INPUTS = 1 << 20
};

/* One of two runs. */
typedef struct {
    cbe_run_lookup *get;
    const void *context;
    size_t n;
    struct input {
        const char *role, *sha256,
            *name; /* borrowed; role and sha256 end at a blank, name at the end */
        size_t role_length, sha256_length;
    } * inputs; /* (n) */
} side;

static bool same_word(const char *a, size_t a_length, const char *b, size_t b_length)
{
    return a_length == b_length && memcmp(a, b, a_length) == 0;
}

static bool same_role(const struct input *a, const struct input *b)
{
    return same_word(a->role, a->role_length, b->role, b->role_length);
}

static bool same_file(const struct input *a, const struct input *b)
{
    return same_role(a, b) && same_word(a->sha256, a->sha256_length, b->sha256, b->sha256_length);
}

static cbe_status read_inputs(side *s, const char *where, cbe_error *err)
{
    const char *count = s->get(s->context, CBE_RUN_INPUTS);
    char *end = NULL;
    const unsigned long long n =
        count && *count >= '0' && *count <= '9' ? strtoull(count, &end, 10) : 0;
    if (!end || *end || n > MOST_INPUTS)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: does not say what the inputs of its run were",
                        where);
    if (!(s->inputs = cbe_alloc((size_t)n, sizeof *s->inputs, "inputs", err))) return CBE_ERR_NOMEM;
    for (s->n = 0; s->n < n; s->n++) {
        char key[CBE_RUN_COUNT];
        snprintf(key, sizeof key, CBE_RUN_INPUT "%zu", s->n + 1);
        const char *role = s->get(s->context, key), *sha256 = role ? strchr(role, ' ') : NULL;
        const char *name = sha256 ? strchr(sha256 + 1, ' ') : NULL;
        if (!name)
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: does not say what input %zu of its run was", where, s->n + 1);
        s->inputs[s->n] = (struct input){role, sha256 + 1, name + 1, (size_t)(sha256 - role),
                                         (size_t)(name - sha256 - 1)};
    }
    return CBE_OK;
}

/* Counts inputs among the first n that are the same as another one: of its role, or its file. */
static size_t count(const side *s, size_t n, const struct input *as,
                    bool (*same)(const struct input *, const struct input *))
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) found += same(&s->inputs[i], as);
    return found;
}

/* Returns the i-th of a side's inputs that have the role of another one. */
static const struct input *of_role(const side *s, const struct input *as, size_t i)
{
    for (size_t k = 0; k < s->n; k++)
        if (same_role(&s->inputs[k], as) && i-- == 0) return &s->inputs[k];
    return NULL;
}

/* Returns an input that one side has more often than the other; NULL: there is none. */
static const struct input *surplus(const side *s, const side *other)
{
    for (size_t i = 0; i < s->n; i++)
        if (count(s, i + 1, &s->inputs[i], same_file) >
            count(other, other->n, &s->inputs[i], same_file))
            return &s->inputs[i];
    return NULL;
}

/* Returns the option by which inputs of a role are given. */
static const char *option_of(const struct input *input)
{
    static const char *const options[][2] = {{"model", CBE_TERM("MODEL", "model")},
                                             {"tokens", CBE_OPTION("tokens")},
                                             {"hidden_states", CBE_OPTION("hidden-states")},
                                             {"decoder", CBE_OPTION("decoder")},
                                             {"text", CBE_OPTION("text")},
                                             {"held_out_text", CBE_OPTION("held-out-text")},
                                             {"lens", CBE_OPTION("lens")},
                                             {"init", CBE_OPTION("init")}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (same_word(input->role, input->role_length, options[i][0], strlen(options[i][0])))
            return options[i][1];
    return "input";
}

/* Lengths that printf takes. */
#define ROLE(input) (int)(input)->role_length, (input)->role

/* Tells how the inputs of both sides differ. @param old, new  an input that only this side has;
 * NULL: there is none */
static cbe_status other_inputs(const side *then, const side *now, const struct input *old,
                               const struct input *new, const cbe_run_words *w, cbe_error *err)
{
    const struct input *any = new ? new : old;
    const size_t n_then = count(then, then->n, any, same_role),
                 n_now = count(now, now->n, any, same_role);
    if (n_now == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: %s %s %.*s, which is not given %s; %s", w->where,
                        w->who, option_of(any), SHOWN, any->name, w->now, w->advice);
    if (n_then == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: %s no %s, and %s it is %.*s; %s", w->where,
                        w->who, option_of(any), w->now, SHOWN, any->name, w->advice);
    if (n_now == n_then && new) {
        char number[CBE_RUN_COUNT] = "";
        if (n_now > 1)
            snprintf(number, sizeof number, " %zu,",
                     count(now, (size_t)(new - now->inputs) + 1, new, same_role));
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: %s another input: %.*s%s %.*s%s %s; %s",
                        w->where, w->who, ROLE(new), number, SHOWN, new->name, n_now > 1 ? "," : "",
                        w->changed, w->advice);
    }
    if (n_now < n_then && old)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: %s another input: %.*s %.*s is not given %s; %s",
                        w->where, w->who, ROLE(old), SHOWN, old->name, w->now, w->advice);
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "%s: %s another input: %.*s %.*s was not among its inputs; %s", w->where,
                    w->who, ROLE(any), SHOWN, any->name, w->advice);
}

static cbe_status compare_inputs(const side *then, const side *now, const cbe_run_words *w,
                                 cbe_error *err)
{
    const struct input *new = surplus(now, then), *old = surplus(then, now);
    if (new &&old && !same_role(new, old)) old = NULL;
    if (new || old) return other_inputs(then, now, old, new, w, err);
    for (size_t i = 0; i < now->n; i++) {
        const struct input *here = &now->inputs[i];
        const size_t place = count(now, i, here, same_role);
        const struct input *there = of_role(then, here, place);
        size_t was = 0;
        if (same_file(here, there)) continue;
        while (!same_file(of_role(then, here, was), here)) was++;
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: %s its inputs in another order: %.*s %zu, %.*s, is number %zu %s; %s",
                        w->where, w->who, ROLE(here), was + 1, SHOWN, here->name, place + 1, w->now,
                        w->advice);
    }
    return CBE_OK;
}

/* Whether a key is one of inputs, which are compared apart. */
static bool is_of_inputs(const char *key)
{
    return strcmp(key, CBE_RUN_INPUTS) == 0 ||
           strncmp(key, CBE_RUN_INPUT, strlen(CBE_RUN_INPUT)) == 0;
}

static cbe_status compare_values(const char *key, const char *then, const char *now,
                                 const cbe_run_words *w, cbe_error *err)
{
    if (then && now && strcmp(then, now) == 0) return CBE_OK;
    const char *name = key + (strncmp(key, "--", 2) == 0 ? 2 : 0);
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "%s: %s another " CBE_TERM("%s", "%s") ": %.*s, %s %.*s; %s", w->where, w->who,
                    key, name, SHOWN, then ? then : "not given", w->now, SHOWN,
                    now ? now : "not given", w->advice);
}

/* Refuses an option that the other run had and this one does not. */
static cbe_status compare_missing(const side *then, const side *now, const cbe_run_words *w,
                                  cbe_error *err)
{
    const char *names = then->get(then->context, CBE_RUN_OPTIONS);
    for (cbe_status st; names && *names;) {
        char key[64];
        const size_t length = strcspn(names, " ");
        snprintf(key, sizeof key, "%.*s", (int)(length < sizeof key ? length : sizeof key - 1),
                 names);
        const char *value = then->get(then->context, key);
        if (value && !now->get(now->context, key) &&
            (st = compare_values(key, value, NULL, w, err)) != CBE_OK)
            return st;
        names += length + strspn(names + length, " ");
    }
    return CBE_OK;
}

cbe_status cbe_run_identity_compare(const cbe_run_identity *identity, cbe_run_lookup *other,
                                    const void *context, const cbe_run_words *words, cbe_error *err)
{
    side then = {.get = other, .context = context},
         now = {.get = cbe_run_identity_get, .context = identity};
    cbe_status st = read_inputs(&then, words->where, err);
    if (st == CBE_OK) st = read_inputs(&now, words->where, err);
    if (st == CBE_OK) st = compare_inputs(&then, &now, words, err);
    for (size_t i = 0; i < identity->n && st == CBE_OK; i++) {
        const char *key = identity->texts[2 * i];
        if (!is_of_inputs(key) && strcmp(key, CBE_RUN_OPTIONS) != 0)
            st = compare_values(key, other(context, key), identity->texts[2 * i + 1], words, err);
    }
    if (st == CBE_OK) st = compare_missing(&then, &now, words, err);
    cbe_free(then.inputs);
    cbe_free(now.inputs);
    return st;
}
