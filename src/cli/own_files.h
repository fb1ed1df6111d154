/*
 * own_files.h - telling a file that cbe has written from any other, by what is in it: one that it
 * may write anew, from one that it may not.
 */
#ifndef CBE_CLI_OWN_FILES_H
#define CBE_CLI_OWN_FILES_H

#include <stdbool.h>

#include "cbe/status.h"

typedef enum {
    CLI_OWN_TENSORS,      /* of cbe capture, decoder or probe */
    CLI_OWN_BASIS,        /* basis.safetensors */
    CLI_OWN_BASIS_RECORD, /* basis.json */
    CLI_OWN_CHECKPOINT,   /* of cbe extract */
    CLI_OWN_LENS_CONFIG,  /* config.json; those of other programs' lenses are of the same form */
    CLI_OWN_LENS_PT,      /* params.pt, likewise */
    CLI_OWN_LENS_SAFETENSORS, /* params.safetensors, likewise */
    CLI_OWN_TRAIN_CHECKPOINT, /* of cbe lens train */
    CLI_OWN_TRAIN_TABLE,      /* train.csv */
    CLI_OWN_EVAL_RECORD,      /* eval.json */
    CLI_OWN_EVAL_TABLE,       /* eval.csv */
    CLI_OWN_TRANSFER_TABLE,   /* transfer.csv */
    CLI_OWN_ABLATION_RECORD,  /* ablate.json */
    CLI_OWN_ABLATION_TABLE,   /* ablate.csv */
    CLI_OWN_CHART,            /* any .svg */
    CLI_N_OWN_FILES
} cli_own_file;

/** Whether an existing file is one of that kind. What cannot be read is not.
 * @return CBE_OK; CBE_ERR_NOMEM and CBE_ERR_SYSTEM: it cannot be told */
cbe_status cli_is_own_file(cli_own_file kind, const char *path, bool *own, cbe_error *err);
/** What a file of the kind is called, as in "is no NAME". */
const char *cli_own_file_name(cli_own_file kind);

#endif
