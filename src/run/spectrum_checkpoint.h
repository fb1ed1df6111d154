/*
 * spectrum_checkpoint.h - the files that keep up with a run of spectrum, one of each process:
 * checkpoint.safetensors of process 0, checkpoint.<i>.safetensors of process i
 * (fisher/spectra_checkpoint.h). Here is what they are called, and what a run is, by which one of
 * another run is refused.
 */
#ifndef CBE_RUN_SPECTRUM_CHECKPOINT_H
#define CBE_RUN_SPECTRUM_CHECKPOINT_H

#include "extract/run_identity.h"
#include "run/run.h"

/** Start with {0}. Owns what it points to. */
typedef struct {
    cbe_run *run; /* borrowed */
    char *path;
    cbe_folder_mark folder;
    cbe_run_identity identity;
    cbe_spectra_checkpoint checkpoint; /* for cbe_spectra_options */
} cbe_spectrum_checkpoint;

/** Name of the file of process 0. */
#define CBE_SPECTRUM_CHECKPOINT "checkpoint.safetensors"

/** Describes a run whose inputs are open, and says what will come of files that are there. Writes
 * nothing. A process other than 0 that does not see the output folder keeps no file: it begins anew
 * when the run goes on. Not collective.
 * @param tokens  of all processes
 * @return CBE_OK; CBE_ERR_ARG (a file is there that is not cbe's); CBE_ERR_IO; CBE_ERR_SYSTEM;
 * CBE_ERR_NOMEM */
cbe_status cbe_spectrum_checkpoint_init(cbe_spectrum_checkpoint *checkpoint, cbe_run *run,
                                        const cbe_tokens *tokens, cbe_error *err);
/** Removes this process's file once the result is written. @return CBE_OK, CBE_ERR_IO */
cbe_status cbe_spectrum_checkpoint_remove(const cbe_spectrum_checkpoint *checkpoint,
                                          cbe_error *err);
void cbe_spectrum_checkpoint_free(cbe_spectrum_checkpoint *checkpoint);

#endif
