/* checkpoint_identity.c - what the run of a checkpoint is, by which another run is refused
 * (checkpoint_state.h). */
#include <string.h>

#include "extract/checkpoint_state.h"
#include "core/fail.h"
#include "core/memory.h"

static const char format[] = "causal basis extraction, unfinished";
static const char form[] = "3"; /* of the metadata */
static const char format_key[] = "format", form_key[] = "form of the record",
                  version_key[] = "version of cbe";

/* Whether an option decides on the result. Options that say where and how fast do not, nor do the
 * paths of inputs, which are known by their content. */
static bool matters(const char *option)
{
    static const char *const without[] = {"output", "threads", "memory",        "resume",
                                          "text",   "tokens",  "hidden-states", "decoder",
                                          "init",   "model",   "divide"};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (strcmp(option, without[i]) == 0) return false;
    return true;
}

/* Adds the options that decide on the result. A lens that lies in files is known by its files. */
static cbe_status describe_options(cbe_run_identity *out, const cbe_run_record *record,
                                   cbe_error *err)
{
    static const char tuned[] = "tuned=";
    cbe_run_option *options =
        cbe_alloc(record->n_options, sizeof *options, "record of the run", err);
    if (!options) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < record->n_options; i++) {
        options[i] = record->options[i];
        if (strcmp(options[i].name, "lens") == 0 &&
            strncmp(options[i].value, tuned, strlen(tuned)) == 0)
            options[i].value = "tuned";
    }
    const cbe_status st =
        cbe_run_identity_add_options(out, record->n_options, options, matters, err);
    cbe_free(options);
    return st;
}

cbe_status cbe_checkpoint_describe(cbe_checkpoint *c, const cbe_run_record *record, cbe_error *err)
{
    cbe_run_identity *out = &c->identity;
    const struct {
        const char *key, *text; /* text NULL: the count */
        size_t count;
    } plain[] = {{format_key, format, 0},
                 {form_key, form, 0},
                 {version_key, CBE_VERSION, 0},
                 {"instruction set", record->kernels, 0},
                 {"keeping of logits", record->logits, 0},
                 {"number of tokens", NULL, record->n_tokens},
                 /* The number of processes decides on the order of sums. */
                 {"number of processes of a layer", NULL, record->n_processes},
                 {"number of texts", NULL, record->n_texts}};
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < sizeof plain / sizeof *plain && st == CBE_OK; i++)
        st = plain[i].text ? cbe_run_identity_add(out, plain[i].key, plain[i].text, err)
                           : cbe_run_identity_add_count(out, plain[i].key, plain[i].count, err);
    if (st == CBE_OK) st = describe_options(out, record, err);
    if (st == CBE_OK) st = cbe_run_identity_add_layers(out, c->n_layers, c->layers, err);
    return st == CBE_OK ? cbe_run_identity_add_inputs(out, record->inputs, err) : st;
}

static const char *look_up(const void *file, const char *key)
{
    return cbe_safetensors_metadata(file, key);
}

/* Every searching process reads the file; only the process that writes it knows what the run is. */
cbe_status cbe_checkpoint_compare(const cbe_checkpoint *c, const cbe_safetensors *file,
                                  cbe_error *err)
{
    const char *path = cbe_safetensors_path(file),
               *its_format = cbe_safetensors_metadata(file, format_key);
    const char *its_form = cbe_safetensors_metadata(file, form_key),
               *version = cbe_safetensors_metadata(file, version_key);
    const cbe_run_words words = {path, "the run that was interrupted had", "now", "has changed",
                                 "give the same again, or leave out " CBE_OPTION("resume")};
    if (c->run) return CBE_OK;
    if (!its_format || strcmp(its_format, format) != 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: not a checkpoint of cbe extract", path);
    if (version && strcmp(version, CBE_VERSION) != 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: %s another version of cbe: %s, now %s; %s", path,
                        words.who, version, CBE_VERSION, words.advice);
    if (!its_form || strcmp(its_form, form) != 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: the record of its run has the form of an earlier cbe, which cannot be "
                        "compared; leave out " CBE_OPTION("resume"),
                        path);
    return cbe_run_identity_compare(&c->identity, look_up, file, &words, err);
}
