/* same_run.c - see same_run.h. Rank 0 tells the others what its run is, by the pairs of
 * extract/run_identity.h. */
#include "run/same_run.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/sha256.h"

/* Not what a process has for itself, nor the paths of inputs, which are compared by their
 * content. */
static bool matters_to_all(const char *option)
{
    static const char *const others[] = {"threads", "memory",        "quiet",   "verbose",
                                         "tokens",  "hidden-states", "decoder", "init"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(option, others[i]) == 0) return false;
    return true;
}

cbe_status cbe_run_identity_add_settings(cbe_run_identity *out, const cbe_run_settings *run,
                                         bool (*matters)(const char *option), cbe_error *err)
{
    static const char tuned[] = "tuned=";
    const cbe_option *options = run->options;
    size_t count = 0, n = 0;
    while (options[count].name) count++;
    cbe_run_option *list = cbe_alloc(count, sizeof *list, "options", err);
    char *values = cbe_alloc(count, CBE_OPTION_TEXT, "options", err);
    cbe_status st = list && values ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < count && st == CBE_OK; i++) {
        char *value = values + i * CBE_OPTION_TEXT;
        if (options[i].field == offsetof(cbe_run_settings, site) && run->site == CBE_N_SITES)
            continue; /* not given */
        if (!cbe_option_text(&options[i], run, value, CBE_OPTION_TEXT)) continue;
        if (strcmp(options[i].name, "lens") == 0 && strncmp(value, tuned, strlen(tuned)) == 0)
            value[strlen(tuned)] = 0;
        list[n++] = (cbe_run_option){options[i].name, value};
    }
    if (st == CBE_OK) st = cbe_run_identity_add_options(out, n, list, matters, err);
    cbe_free(list);
    cbe_free(values);
    return st;
}

static cbe_status describe(cbe_run_identity *out, const cbe_run_settings *run,
                           const cbe_tokens *tokens, cbe_error *err)
{
    char ids[CBE_SHA256_TEXT];
    cbe_sha256_bytes(tokens->ids,
                     tokens->n_sequences * tokens->context_length * sizeof *tokens->ids, ids);
    cbe_status st = cbe_run_identity_add_settings(out, run, matters_to_all, err);
    if (st == CBE_OK)
        st = cbe_run_identity_add_count(out, "number of texts", run->corpus.text.n, err);
    if (st == CBE_OK) st = cbe_run_identity_add(out, "digest of the token ids", ids, err);
    return st == CBE_OK ? cbe_run_identity_add_inputs(out, run->corpus.inputs, err) : st;
}

/* Pairs one behind the other, each text with its 0. @param bytes NULL: only how many there are */
static size_t pack(const cbe_run_identity *identity, char *bytes)
{
    size_t size = 0;
    for (size_t i = 0; i < 2 * identity->n; i++) {
        const size_t length = strlen(identity->texts[i]) + 1;
        if (bytes) memcpy(bytes + size, identity->texts[i], length);
        size += length;
    }
    return size;
}

static cbe_status unpack(cbe_run_identity *out, const char *bytes, size_t size, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t at = 0; at < size && st == CBE_OK;) {
        const char *key = bytes + at, *value = key + strlen(key) + 1;
        st = cbe_run_identity_add(out, key, value, err);
        at += strlen(key) + strlen(value) + 2;
    }
    return st;
}

cbe_status cbe_check_same_run(const cbe_run_settings *run, const cbe_tokens *tokens, cbe_error *err)
{
    static const cbe_run_words words = {"the processes differ", "process 0 has", "here",
                                        "is another file here",
                                        "give all of them the same options and files"};
    cbe_processes *all = run->team->all;
    cbe_run_identity own = {0}, first = {0};
    if (cbe_processes_size(all) == 1) return CBE_OK;
    cbe_status st = cbe_processes_agree(all, describe(&own, run, tokens, err), err);
    size_t size = pack(&own, NULL);
    char *bytes = NULL;
    if (st != CBE_OK) goto done;
    cbe_processes_broadcast(all, sizeof size, &size);
    bytes = cbe_alloc(size, 1, "record of the run", err);
    if ((st = cbe_processes_agree(all, bytes ? CBE_OK : CBE_ERR_NOMEM, err)) != CBE_OK) goto done;
    if (cbe_processes_rank(all) == 0) pack(&own, bytes);
    cbe_processes_broadcast(all, size, bytes);
    st = unpack(&first, bytes, size, err);
    if (st == CBE_OK)
        st = cbe_run_identity_compare(&own, cbe_run_identity_get, &first, &words, err);
    st = cbe_processes_agree(all, st, err);
done:
    cbe_free(bytes);
    cbe_run_identity_free(&own);
    cbe_run_identity_free(&first);
    return st;
}
