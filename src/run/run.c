/* run.c - see run.h and cbe/cbe.h. */
#include "run/run.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/pulse.h"
#include "core/sizes.h"
#include "math/gemm.h"

struct cbe_owned_text {
    cbe_owned_text *next;
    char *text;
};

static const cbe_run_command *const commands[] = {&cbe_command_extract, &cbe_command_probe,
                                                  &cbe_command_ablate, &cbe_command_fidelity,
                                                  &cbe_command_spectrum};

cbe_status cbe_run_create(cbe_run **out, const char *command, cbe_error *err)
{
    const cbe_run_command *found = NULL;
    for (size_t i = 0; command && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(command, commands[i]->name) == 0) found = commands[i];
    if (!out || !found)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "cbe_run_create: the command must be extract, probe, ablate, fidelity or spectrum%s",
            out ? "" : ", and out not NULL");
    cbe_run *run = cbe_alloc_zero(1, sizeof *run, "run", err);
    if (!run) return CBE_ERR_NOMEM;
    run->command = found;
    run->began = cbe_now();
    run->read.digests = found->digests;
    run->watch.side = CBE_IN_LIBRARY;
    run->team.group_size = 1;
    run->settings.options = found->options;
    run->settings.site = CBE_N_SITES;     /* not given */
    run->settings.output_optional = true; /* results can be read and saved later */
    run->settings.team = &run->team;
    run->settings.corpus.inputs = &run->read;
    if (found->begin) found->begin(&run->settings);
    const cbe_status st = cbe_options_reset(found->options, &run->settings, err);
    if (st != CBE_OK) {
        cbe_run_free(run);
        return st;
    }
    *out = run;
    return CBE_OK;
}

int cbe_run_leave(cbe_run *run, int status)
{
    cbe_team team = run->team;
    run->command->release(run);
    cbe_run_inputs_close(&run->in);
    cbe_inputs_free(&run->read);
    cbe_outputs_end(&run->outputs);
    cbe_basis_close(run->basis);
    cbe_options_free(run->command->options, &run->settings);
    for (cbe_owned_text *t = run->owned; t;) {
        cbe_owned_text *next = t->next;
        cbe_free(t->text);
        cbe_free(t);
        t = next;
    }
    cbe_free(run->shown);
    cbe_free(run->values);
    cbe_free(run);
    return cbe_team_end(&team, status);
}

void cbe_run_free(cbe_run *run)
{
    if (run) cbe_run_leave(run, 0);
}

/* ---- options ---- */

/* "model" is an argument of the program, and an option here. */
static const cbe_option model_option = {"model",
                                        0,
                                        OPT_STRING,
                                        offsetof(cbe_run_settings, corpus.model),
                                        NULL,
                                        "MODEL",
                                        "a .gguf file or a Hugging Face folder",
                                        NULL,
                                        NULL};

static const cbe_option *find_option(const cbe_run *run, const char *name)
{
    if (!name) return NULL;
    if (strcmp(name, model_option.name) == 0) return &model_option;
    return cbe_option_find(run->command->options, name, strlen(name));
}

/* A copy that lives as long as the run. */
static const char *own(cbe_run *run, const char *text, cbe_error *err)
{
    cbe_owned_text *t = cbe_alloc_zero(1, sizeof *t, "option", err);
    if (t && !(t->text = cbe_copy_string(text, strlen(text), err))) {
        cbe_free(t);
        t = NULL;
    }
    if (!t) return NULL;
    t->next = run->owned;
    run->owned = t;
    return t->text;
}

/* Nothing is set once a run has begun. */
static cbe_status check_open(const cbe_run *run, const char *caller, cbe_error *err)
{
    if (!run) return cbe_fail(err, CBE_ERR_ARG, -1, "%s: the run is NULL", caller);
    if (run->executed)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: the run was executed; create another one",
                        caller);
    return CBE_OK;
}

cbe_status cbe_run_set(cbe_run *run, const char *name, const char *value, cbe_error *err)
{
    cbe_status st = check_open(run, "cbe_run_set", err);
    if (st != CBE_OK) return st;
    const cbe_option *option = find_option(run, name);
    if (!option)
        return cbe_fail(err, CBE_ERR_ARG, -1, "'%s' is not an option of %s", name ? name : "NULL",
                        run->command->name);
    if (!value) return cbe_fail(err, CBE_ERR_ARG, -1, CBE_OPTION("%s") ": the value is NULL", name);
    const char *kept = own(run, value, err);
    return kept ? cbe_option_set(option, kept, &run->settings, err) : CBE_ERR_NOMEM;
}

const char *cbe_run_get(cbe_run *run, const char *name)
{
    char text[CBE_OPTION_TEXT];
    const cbe_option *option = run ? find_option(run, name) : NULL;
    if (!option) return NULL;
    if (option->kind == OPT_STRING)
        return *(const char *const *)((const char *)&run->settings + option->field);
    if (option == &model_option || !cbe_option_text(option, &run->settings, text, sizeof text))
        return NULL;
    cbe_free(run->shown);
    return run->shown = cbe_copy_string(text, strlen(text), NULL);
}

const char *cbe_run_option_at(const cbe_run *run, size_t i, const char **type, const char **help)
{
    const cbe_option *option = &model_option;
    for (size_t j = 0; run && j < i && option->name; j++)
        option = j == 0 ? run->command->options : option + 1;
    if (!run || !option->name) return NULL;
    if (type) *type = cbe_option_kind_name(option->kind);
    if (help) *help = option->help;
    return option->name;
}

/* ---- inputs from memory ---- */

cbe_status cbe_run_set_states(cbe_run *run, const cbe_hidden_states *states, cbe_error *err)
{
    const cbe_status st = check_open(run, "cbe_run_set_states", err);
    if (st == CBE_OK) run->settings.given_states = states;
    return st;
}

cbe_status cbe_run_set_decoder(cbe_run *run, const cbe_decoder *decoder, cbe_error *err)
{
    const cbe_status st = check_open(run, "cbe_run_set_decoder", err);
    if (st == CBE_OK) run->settings.given_decoder = decoder;
    return st;
}

cbe_status cbe_run_set_model(cbe_run *run, const cbe_model *model, cbe_error *err)
{
    const cbe_status st = check_open(run, "cbe_run_set_model", err);
    if (st == CBE_OK) run->settings.given_model = model;
    return st;
}

cbe_status cbe_run_set_lens(cbe_run *run, const cbe_tuned_lens *lens, cbe_error *err)
{
    const cbe_status st = check_open(run, "cbe_run_set_lens", err);
    if (st == CBE_OK) run->settings.given_lens = lens;
    return st;
}

cbe_status cbe_run_set_vectors(cbe_run *run, size_t m, size_t hidden_size, const double *v,
                               cbe_error *err)
{
    const cbe_status st = check_open(run, "cbe_run_set_vectors", err);
    if (st != CBE_OK) return st;
    if (run->command != &cbe_command_probe || !v || m == 0 || hidden_size == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_run_set_vectors: %s",
                        run->command != &cbe_command_probe ? "vectors are for a run of probe"
                                                           : "there are no vectors");
    const size_t n = cbe_times(m, hidden_size, 1);
    double *copy = cbe_alloc(n, sizeof *copy, "vectors", err);
    if (!copy) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i])) {
            cbe_free(copy);
            return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                            "cbe_run_set_vectors: vector %zu has NaN or infinity in it",
                            i / hidden_size);
        }
    memcpy(copy, v, n * sizeof *copy);
    cbe_probe_results *p = &run->results.probe;
    cbe_free(p->vectors);
    p->vectors = copy;
    p->n_vectors = m;
    p->hidden_size = hidden_size;
    return CBE_OK;
}

void cbe_run_set_callback(cbe_run *run, cbe_callback *callback, void *context)
{
    if (run)
        run->watch = (cbe_watch){.callback = callback, .context = context, .side = run->watch.side};
}

/* ---- execution ---- */

cbe_status cbe_run_join(cbe_run *run, cbe_error *err)
{
    return cbe_team_start(&run->team, &run->settings.corpus, err);
}

static void tell_pulse(void *watch)
{
    cbe_tell(watch, CBE_EVENT_PULSE, "", 0, 0);
}

cbe_status cbe_run_execute(cbe_run *run, cbe_error *err)
{
    cbe_status st = check_open(run, "cbe_run_execute", err);
    if (st != CBE_OK) return st;
    const int threads = omp_get_max_threads();
    cbe_gemm_enter();
    run->executed = run->executing = true;
    cbe_pulse_set(tell_pulse, &run->watch);
    st = run->command->execute(run, err);
    cbe_pulse_set(NULL, NULL);
    run->executing = false;
    run->done = st == CBE_OK;
    cbe_gemm_leave();
    omp_set_num_threads(threads);
    return st;
}

cbe_status cbe_run_save(cbe_run *run, const char *path, cbe_error *err)
{
    if (!run || !run->done || !path || run->settings.output)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_run_save: %s",
                        !run    ? "the run is NULL"
                        : !path ? "the path is NULL"
                        : !run->done
                            ? "the run has no results"
                            : "the results are where " CBE_TERM("output", "output") " says");
    return run->command->save(run, path, err);
}

/* ---- results ---- */

/* The place of a layer among those of the run. */
static bool find_layer(const cbe_run *run, size_t layer, size_t *place)
{
    for (size_t i = 0; run && (run->done || run->executing) && i < run->in.n_layers; i++)
        if (run->in.layers[i] == layer) {
            *place = i;
            return true;
        }
    return false;
}

size_t cbe_run_layers(const cbe_run *run, const size_t **layers)
{
    if (!run || (!run->done && !run->executing)) return 0;
    if (layers) *layers = run->in.layers;
    return run->in.n_layers;
}

size_t cbe_run_vectors(const cbe_run *run, size_t layer, const double **vectors)
{
    size_t place;
    const double *ignored;
    return find_layer(run, layer, &place) && run->command->vectors
               ? run->command->vectors(run, place, vectors ? vectors : &ignored)
               : 0;
}

size_t cbe_run_values(cbe_run *run, size_t layer, const char *name, const double **values)
{
    size_t place;
    const double *ignored;
    return name && find_layer(run, layer, &place)
               ? run->command->values(run, place, name, values ? values : &ignored)
               : 0;
}
