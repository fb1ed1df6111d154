/*
 * own_files.h - telling a file that cbe has written from any other, by what is in it: one that it
 * may write anew, from one that it may not.
 */
#ifndef CBE_RUN_OWN_FILES_H
#define CBE_RUN_OWN_FILES_H

#include <stdbool.h>

#include "cbe/status.h"

typedef enum {
    CBE_OWN_TENSORS,       /* of cbe capture, decoder or probe */
    CBE_OWN_BASIS,         /* basis.safetensors */
    CBE_OWN_BASIS_RECORD,  /* basis.json */
    CBE_OWN_VECTORS_TABLE, /* vectors.csv */
    CBE_OWN_CHECKPOINT,    /* of cbe extract */
    CBE_OWN_LENS_CONFIG,   /* config.json; those of other programs' lenses are of the same form */
    CBE_OWN_LENS_PT,       /* params.pt, likewise */
    CBE_OWN_LENS_SAFETENSORS, /* params.safetensors, likewise */
    CBE_OWN_TRAIN_CHECKPOINT, /* of cbe lens train */
    CBE_OWN_TRAIN_TABLE,      /* train.csv */
    CBE_OWN_EVAL_RECORD,      /* eval.json */
    CBE_OWN_EVAL_TABLE,       /* eval.csv */
    CBE_OWN_TRANSFER_TABLE,   /* transfer.csv */
    CBE_OWN_ABLATION_RECORD,  /* ablate.json */
    CBE_OWN_ABLATION_TABLE,   /* ablate.csv */
    CBE_OWN_FIDELITY_RECORD,  /* fidelity.json */
    CBE_OWN_FIDELITY_TABLE,   /* fidelity.csv */
    CBE_OWN_SPECTRUM_RECORD,  /* spectrum.json */
    CBE_OWN_SPECTRUM_TABLE,   /* spectrum.csv */
    CBE_OWN_SPECTRUM_CHECKPOINT,
    CBE_OWN_CHART, /* any .svg */
    CBE_N_OWN_FILES
} cbe_own_file;

/** Whether an existing file is one of that kind. What cannot be read is not.
 * @return CBE_OK; CBE_ERR_NOMEM and CBE_ERR_SYSTEM: it cannot be told */
cbe_status cbe_is_own_file(cbe_own_file kind, const char *path, bool *own, cbe_error *err);
/** What a file of the kind is called, as in "is no NAME". */
const char *cbe_own_file_name(cbe_own_file kind);

#endif
