/*
 * spectra.h - spectra of many layers' states from one pass over a text: covariances and second
 * moments of label-sampled gradients, added up together.
 *
 * Sums of a state take d (d + 3) numbers of 16 bytes (two matrices, half of each). Where the sums
 * of all states do not fit, the text is run again for each group of states that does. A run may
 * keep checkpoints (spectra_checkpoint.h), from which an interrupted one goes on to the same bits.
 */
#ifndef CBE_FISHER_SPECTRA_H
#define CBE_FISHER_SPECTRA_H

#include "files/path.h"
#include "fisher/sampled_gradients.h"
#include "fisher/spectrum.h"
#include "formats/safetensors.h"
#include "processes/processes.h"

/** The spectrum of one state. Owns its lists. */
typedef struct {
    size_t state;       /* hidden_states.<state> */
    size_t hidden_size; /* d */
    size_t n_tokens;    /* not skipped, of all processes */
    double *variances;  /* (d) eigenvalues of the covariance, falling */
    double *energies;   /* (d) nats, falling (spectrum.h) */
    cbe_spectrum_summary variance, energy;
} cbe_state_spectrum;

void cbe_state_spectrum_free(cbe_state_spectrum *spectrum); /* a zeroed struct is allowed */

/** How a run uses its memory. */
typedef struct {
    size_t n_states, n_groups; /* states of a group, and groups: passes over the text */
    size_t bytes;              /* of sums; gradients have the rest */
    cbe_sampled_gradients_plan gradients;
} cbe_spectra_plan;

/** Where and how often a run writes down its sums, and what it is. Borrowed. */
typedef struct {
    const char *path;              /* of this process; NULL: no file is kept */
    const cbe_folder_mark *folder; /* of path, when the run began */
    double seconds;                /* least time between two files */
    bool resume;                   /* goes on from the file, if there is one */
    size_t n_pairs;                /* of the file's metadata: keys and values that say what it is */
    const char *const *pairs;      /* (2 n_pairs) */
    /* Whether a file that was found is one of this run: another status than CBE_OK refuses it. */
    cbe_status (*compare)(void *context, const cbe_safetensors *file, cbe_error *err);
    /* Called once in each process, before work begins, when it goes on from a file: sequences that
     * its sums have of n, and states that are done. NULL: no call. */
    void (*found)(void *context, size_t n_sequences, size_t n_done);
    void *context;
} cbe_spectra_checkpoint;

/** What is done: `gradients` says of which tokens, and `memory` is that of all; its states
 * and what it calls but `progress` are set by the run. */
typedef struct {
    cbe_sampled_gradients_options gradients;
    size_t n_states;
    const size_t *states;     /* (n_states) rising */
    cbe_processes *processes; /* over which sequences are divided; NULL: one alone */
    const cbe_spectra_checkpoint *checkpoint; /* NULL: none */
    /* Called when a state is done, in processes of rank 0 alone; false cancels; NULL: no calls. */
    bool (*tell)(void *context, size_t place);
    void *context;
} cbe_spectra_options;

/** What cbe_spectra_run will choose. The least memory of all processes counts.
 * @return CBE_OK; CBE_ERR_ARG (too little memory) */
cbe_status cbe_spectra_choose(cbe_spectra_plan *plan, const cbe_model *model,
                              const cbe_spectra_options *options, cbe_error *err);
/** Computes spectra. Called by all processes; only rank 0 has results.
 * @param out  [out] (n_states), zeroed before; the caller frees them, also after a failure
 * @return as cbe_sampled_gradients_run, cbe_spectrum_solve, cbe_spectra_checkpoint_save; of a
 * checkpoint to go on from: CBE_ERR_FORMAT (damaged), CBE_ERR_ARG (of another run, or its sums of
 * many layers at once do not fit into memory) */
cbe_status cbe_spectra_run(const cbe_model *model, const cbe_spectra_options *options,
                           cbe_state_spectrum *out, cbe_error *err);

#endif
