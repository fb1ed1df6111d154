/*
 * run.h - a run as an object (cbe/cbe.h): options by name, inputs, what is done with them, and
 * results. run.c has what all runs share; extract.c, probe.c,
 * ablate.c, fidelity.c and spectrum.c each have one command.
 */
#ifndef CBE_RUN_RUN_H
#define CBE_RUN_RUN_H

#include "extract/run_record.h"
#include "cbe/cbe.h"
#include "ablate/ablation.h"
#include "fidelity/fidelity.h"
#include "fisher/spectrum_record.h"
#include "run/inputs.h"
#include "run/outputs.h"
#include "run/watch.h"

/** A command. */
typedef struct {
    const char *name;
    const cbe_option *options;
    bool digests; /* of inputs, for the record of the run */
    /** Sets what the options' defaults are not. */
    void (*begin)(cbe_run_settings *settings);
    cbe_status (*execute)(cbe_run *run, cbe_error *err);
    cbe_status (*save)(cbe_run *run, const char *path, cbe_error *err);
    /** NULL: the command has none. */
    size_t (*vectors)(const cbe_run *run, size_t place, const double **vectors);
    /** Numbers of the layer at a place of run->in.layers; scratch is run->values. */
    size_t (*values)(cbe_run *run, size_t place, const char *name, const double **values);
    void (*release)(cbe_run *run);
} cbe_run_command;

/** Tables of options; their fields are those of cbe_run_settings. */
extern const cbe_option cbe_extract_options[], cbe_probe_options[], cbe_ablate_options[],
    cbe_fidelity_rows[], cbe_spectrum_options[];
extern const cbe_run_command cbe_command_extract, cbe_command_probe, cbe_command_ablate,
    cbe_command_fidelity, cbe_command_spectrum;

typedef struct cbe_owned_text cbe_owned_text;

/** What a run of extract has found and says of itself. */
typedef struct {
    cbe_layer_result *results; /* (n_layers), owned */
    const cbe_layer_result *newest;
    cbe_run_record record;
    cbe_run_option *options; /* of the record, owned; their texts too */
    char *texts;
} cbe_extract_results;

/** What a run of probe has found. */
typedef struct {
    size_t n_vectors, hidden_size, n_tokens;
    double *vectors;   /* (m, d), owned */
    double *energies;  /* (n_layers, m), owned */
    double *constants; /* (n_layers, m), owned; NULL: not of optimal ablation */
    double *errors;    /* (n_layers, m), owned: standard errors of the energies */
    double *kappas;    /* (n_layers, m), owned; NULL: in another metric than the Euclidean one */
    double *ceilings;  /* (n_layers), owned */
    /* (n_layers, m, d) and (n_layers, m, N), owned; NULL: they went to a file */
    double *gradients, *per_token;
} cbe_probe_results;

/** What a run of ablate has found. */
typedef struct {
    cbe_layer_ablation *layers; /* (n_layers), owned with their effects */
    cbe_ablation_record record;
} cbe_ablate_results;

/** What a run of fidelity has found. */
typedef struct {
    cbe_layer_fidelity *layers; /* (n_layers), owned with what they own */
    double **vectors;           /* (n_layers) of the basis, (n_vectors, d), owned */
    cbe_fidelity_record record;
} cbe_fidelity_results;

/** What a run of spectrum has found. */
typedef struct {
    cbe_state_spectrum *spectra; /* (n_layers), owned */
    cbe_spectrum_record record;
} cbe_spectrum_results;

struct cbe_run {
    const cbe_run_command *command;
    cbe_run_settings settings;
    cbe_watch watch;
    cbe_team team;
    cbe_inputs read; /* files of the run */
    cbe_outputs outputs;
    cbe_run_inputs in;
    cbe_basis_file *basis;          /* of --init or --basis */
    double began;                   /* when the run was created */
    bool executed, executing, done; /* begun; at work; ended without an error */
    cbe_owned_text *owned;          /* values of options */
    char *shown;    /* what cbe_run_get returned last, where it is no text of its own */
    double *values; /* what cbe_run_values returned last, where it is no array of its own */
    union {
        cbe_extract_results extract;
        cbe_probe_results probe;
        cbe_ablate_results ablate;
        cbe_fidelity_results fidelity;
        cbe_spectrum_results spectrum;
    } results;
};

/** Joins other processes that a launcher started: for programs that may be started so. Before
 * cbe_run_execute; all processes call it alike. Threads and memory that were not asked for become
 * the process's share of its machine. */
cbe_status cbe_run_join(cbe_run *run, cbe_error *err);
/** Frees a run of several processes; all return the status of rank 0. */
int cbe_run_leave(cbe_run *run, int status);

/* What the runs of all commands do alike: shared.c. */

/** Room for n numbers in run->values. @return NULL: no memory */
double *cbe_run_scratch(cbe_run *run, size_t n);
/** Warns that the derangement given cannot be used. */
void cbe_warn_of_derangement(cbe_run *run);
/** The error of a run whose callback has returned false. @return CBE_ERR_CANCELLED */
cbe_status cbe_run_cancelled(cbe_error *err);
/** Tells that the layer at a place of run->in.layers is done. @return CBE_OK, CBE_ERR_CANCELLED */
cbe_status cbe_tell_layer(cbe_run *run, size_t place, cbe_error *err);

#endif
