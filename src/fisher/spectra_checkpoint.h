/*
 * spectra_checkpoint.h - a file that keeps up with the sums of spectra, from which an interrupted
 * run goes on to the same bits. Each process has its own.
 *
 * Sums are whole between two batches of sequences, and the file is replaced as a whole then, once
 * enough time has passed. It is a safetensors file. Metadata: what the run is, by which another run
 * is refused, and "states at once", "groups done", "sequences done". Tensors, float64:
 *
 *   sums.<j>, gradient_sums.<j> [d (d + 3) / 2, 2]  of each hidden_states.<j> of the group in work
 *   variances.<j>, energies.<j> [d]                 of each that is done, in rank 0
 *
 * A sum is two numbers, high and low (math/long_sum.h).
 */
#ifndef CBE_FISHER_SPECTRA_CHECKPOINT_H
#define CBE_FISHER_SPECTRA_CHECKPOINT_H

#include <stdbool.h>

#include "fisher/moments.h"
#include "fisher/spectra.h"
#include "formats/safetensors.h"

/** Where a run stands. */
typedef struct {
    size_t states_at_once; /* of a group; the last may have fewer */
    size_t groups_done;
    size_t sequences_done; /* of this process, in the sums of the group in work */
} cbe_spectra_place;

/** All that a file holds, borrowed. */
typedef struct {
    cbe_spectra_place place;
    size_t hidden_size;
    const size_t *states;            /* (all of the run) rising */
    size_t n_done;                   /* the first of them, which are done */
    const cbe_state_spectrum *done;  /* (n_done); NULL: not in the file */
    size_t n_at_work;                /* states behind groups_done groups, which have sums */
    cbe_moments *hidden, *gradients; /* (n_at_work) */
} cbe_spectra_state;

/** Replaces the file.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM, CBE_ERR_NOMEM */
cbe_status cbe_spectra_checkpoint_save(const cbe_spectra_checkpoint *checkpoint,
                                       const cbe_spectra_state *state, cbe_error *err);

/** Opens the file and reads where its run stood.
 * @param n_states, n_sequences  of this run, which bound the place
 * @param file  [out] NULL: there is no such file, or the run is not to go on from it
 * @return CBE_OK; CBE_ERR_FORMAT (damaged); the status of checkpoint->compare; CBE_ERR_IO;
 * CBE_ERR_NOMEM */
cbe_status cbe_spectra_checkpoint_open(cbe_safetensors **file,
                                       const cbe_spectra_checkpoint *checkpoint, size_t n_states,
                                       size_t n_sequences, cbe_spectra_place *place,
                                       cbe_error *err);
/** Reads the sums of a state, all finite, into moments that are initialised.
 * @return CBE_OK, CBE_ERR_FORMAT */
cbe_status cbe_spectra_checkpoint_sums(const cbe_safetensors *file, size_t state,
                                       cbe_moments *hidden, cbe_moments *gradients, cbe_error *err);
/** Reads the lists of a state that is done; out->hidden_size is set, and the lists are allocated.
 * @return CBE_OK, CBE_ERR_FORMAT (also: no falling numbers of 0 or more) */
cbe_status cbe_spectra_checkpoint_spectrum(const cbe_safetensors *file, size_t state,
                                           cbe_state_spectrum *out, cbe_error *err);

#endif
