/* spectrum_checkpoint.c - see spectrum_checkpoint.h. */
#include "run/spectrum_checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"
#include "files/sha256.h"
#include "math/kernels.h"
#include "run/same_run.h"

static const char format_key[] = "format", format[] = "spectra, unfinished",
                  version_key[] = "version of cbe";

/* Options that say where and how fast do not decide on the result, nor do the paths of inputs,
 * which are known by their content. Layers and site are compared as what they came to. */
static bool matters(const char *option)
{
    static const char *const without[] = {"output",  "threads", "memory", "quiet",
                                          "verbose", "resume",  "text",   "tokens",
                                          "layers",  "site",    "model",  "checkpoint-seconds"};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (strcmp(option, without[i]) == 0) return false;
    return true;
}

static cbe_status describe(cbe_run_identity *out, const cbe_run *run, const cbe_tokens *tokens,
                           cbe_error *err)
{
    const cbe_run_inputs *in = &run->in;
    const cbe_kernels *kernels = cbe_kernels_choose(NULL);
    char ids[CBE_SHA256_TEXT];
    cbe_sha256_bytes(tokens->ids,
                     tokens->n_sequences * tokens->context_length * sizeof *tokens->ids, ids);
    const struct {
        const char *key, *text; /* text NULL: the count */
        size_t count;
    } plain[] = {{format_key, format, 0},
                 {version_key, CBE_VERSION, 0},
                 {"instruction set", kernels ? kernels->name : "none", 0},
                 {"number of processes", NULL, cbe_processes_size(run->team.all)},
                 {"process", NULL, cbe_processes_rank(run->team.all)},
                 {"site", cbe_site_name(in->options.site), 0},
                 {"number of skipped positions", NULL, in->options.skip_positions},
                 {"number of texts", NULL, run->settings.corpus.text.n}};
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < sizeof plain / sizeof *plain && st == CBE_OK; i++)
        st = plain[i].text ? cbe_run_identity_add(out, plain[i].key, plain[i].text, err)
                           : cbe_run_identity_add_count(out, plain[i].key, plain[i].count, err);
    if (st == CBE_OK) st = cbe_run_identity_add_settings(out, &run->settings, matters, err);
    if (st == CBE_OK) st = cbe_run_identity_add_layers(out, in->n_layers, in->layers, err);
    if (st == CBE_OK) st = cbe_run_identity_add(out, "digest of the token ids", ids, err);
    return st == CBE_OK ? cbe_run_identity_add_inputs(out, &run->read, err) : st;
}

static const char *look_up(const void *file, const char *key)
{
    return cbe_safetensors_metadata(file, key);
}

static cbe_status compare(void *context, const cbe_safetensors *file, cbe_error *err)
{
    const cbe_spectrum_checkpoint *c = context;
    const char *path = cbe_safetensors_path(file),
               *its_format = cbe_safetensors_metadata(file, format_key);
    const cbe_run_words words = {path, "the run that was interrupted had", "now", "has changed",
                                 "give the same again, or leave out " CBE_OPTION("resume")};
    if (!its_format || strcmp(its_format, format) != 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: not a checkpoint of cbe spectrum", path);
    return cbe_run_identity_compare(&c->identity, look_up, file, &words, err);
}

static void found(void *context, size_t n_sequences, size_t n_done)
{
    const cbe_spectrum_checkpoint *c = context;
    cbe_note(&c->run->watch,
             "resume: %zu of %zu layers are done, and sums of %zu sequences of the next ones",
             n_done, c->run->in.n_layers, n_sequences);
}

/* The path of this process's file; NULL: it does not see the folder, or lacks memory. */
static cbe_status choose_path(cbe_spectrum_checkpoint *c, const char *folder, cbe_error *err)
{
    enum { NAME = 48 };
    char name[NAME] = CBE_SPECTRUM_CHECKPOINT;
    const size_t rank = cbe_processes_rank(c->run->team.all);
    cbe_path_kind kind;
    if (rank > 0) {
        const cbe_status st = cbe_path_look(folder, &kind, err);
        if (st != CBE_OK || kind != CBE_PATH_FOLDER) return st;
        snprintf(name, NAME, "checkpoint.%zu.safetensors", rank);
    }
    c->path = cbe_path_join(folder, name, err);
    return c->path ? CBE_OK : CBE_ERR_NOMEM;
}

/* Says what becomes of a file that is there. */
static cbe_status look_at_file(const cbe_spectrum_checkpoint *c, cbe_error *err)
{
    cbe_watch *watch = &c->run->watch;
    const bool resume = c->run->settings.resume;
    cbe_path_kind kind;
    bool own = true;
    cbe_status st = cbe_path_look(c->path, &kind, err);
    if (st != CBE_OK) return st;
    if (kind == CBE_PATH_NOTHING) {
        if (resume) cbe_note(watch, "resume: there is no %s; the run begins", c->path);
        return CBE_OK;
    }
    if (resume) return CBE_OK;
    st = cbe_is_own_file(CBE_OWN_SPECTRUM_CHECKPOINT, c->path, &own, err);
    if (st == CBE_OK && !own)
        st = cbe_fail(err, CBE_ERR_ARG, -1, "%s: is no %s: move it away", c->path,
                      cbe_own_file_name(CBE_OWN_SPECTRUM_CHECKPOINT));
    if (st == CBE_OK)
        cbe_warn(watch,
                 "%s is of a run that was interrupted, and will be replaced: " CBE_OPTION(
                     "resume") " goes on with it",
                 c->path);
    return st;
}

cbe_status cbe_spectrum_checkpoint_init(cbe_spectrum_checkpoint *c, cbe_run *run,
                                        const cbe_tokens *tokens, cbe_error *err)
{
    const cbe_run_settings *s = &run->settings;
    c->run = run;
    if (!s->output) return CBE_OK;
    cbe_status st = choose_path(c, s->output, err);
    if (st != CBE_OK || !c->path) return st;
    c->folder = cbe_folder_mark_of_file(c->path);
    cbe_tell(&run->watch, CBE_EVENT_CHECKPOINT, c->path, 0, 0);
    if ((st = look_at_file(c, err)) != CBE_OK) return st;
    if ((st = describe(&c->identity, run, tokens, err)) != CBE_OK) return st;
    c->checkpoint = (cbe_spectra_checkpoint){.path = c->path,
                                             .folder = &c->folder,
                                             .seconds = (double)s->checkpoint_seconds,
                                             .resume = s->resume,
                                             .n_pairs = c->identity.n,
                                             .pairs = (const char *const *)c->identity.texts,
                                             .compare = compare,
                                             .found = found,
                                             .context = c};
    return CBE_OK;
}

cbe_status cbe_spectrum_checkpoint_remove(const cbe_spectrum_checkpoint *c, cbe_error *err)
{
    if (!c->path || unlink(c->path) == 0 || errno == ENOENT) return CBE_OK;
    return cbe_fail(err, cbe_status_of_errno(errno), -1,
                    "%s: the checkpoint of a run that is done cannot be removed: %s", c->path,
                    strerror(errno));
}

void cbe_spectrum_checkpoint_free(cbe_spectrum_checkpoint *c)
{
    cbe_free(c->path);
    cbe_run_identity_free(&c->identity);
    *c = (cbe_spectrum_checkpoint){0};
}
