/*
 * checkpoint_state.h - what a checkpoint consists of, and the form of its file, for the files that
 * describe, write, read and tell it.
 *
 * The file is a safetensors file. Metadata: what the run is of, each part by a name that an error
 * can give. Tensors, float64 unless another type is given:
 *
 *   of each layer that is done
 *     layers.<i>.vectors [n, d], .records [n, R], .reports [n, Q],
 *     .controls [2, Q], .numbers [6]
 *   of each layer in work, after n vectors; there is one, or one of each group of processes
 *     points.<i>.vectors [n, d], .records [n, R], .random [4] int64,
 *     .runner_ups [m, d], .runner_up_energies [m], .runner_up_kinds [m] int64
 *
 * A record is a row of numbers in the order of its fields (checkpoint_rows.h): counts are exact in
 * them.
 */
#ifndef CBE_EXTRACT_CHECKPOINT_STATE_H
#define CBE_EXTRACT_CHECKPOINT_STATE_H

#include "extract/checkpoint.h"
#include "extract/run_identity.h"
#include "files/path.h"
#include "formats/safetensors.h"

enum { CBE_CHECKPOINT_NAME = 48 /* bytes of a tensor's name */ };

struct cbe_checkpoint {
    char *path;
    cbe_folder_mark folder; /* folder of path, when the run began */
    size_t n_layers;        /* of the run */
    size_t n_vectors;       /* k */
    size_t hidden_size;     /* d */
    cbe_run_identity identity;
    size_t n_done;
    const cbe_layer_result **done; /* (n_layers), borrowed */
    cbe_layer_result *loaded; /* (n_layers), read and not yet taken; n_vectors 0: none, or taken */
    size_t *layers;           /* (n_layers) of the run */
    /* (n_layers): where layers in work stood, read from the file or told by another group */
    cbe_stored_point *points;
    cbe_processes *run; /* not NULL: rank 0 of the run writes, and is told */
};

/** Describes the run in checkpoint->identity. */
cbe_status cbe_checkpoint_describe(cbe_checkpoint *checkpoint, const cbe_run_record *record,
                                   cbe_error *err);
/** Refuses a file of another run: what differs is named. */
cbe_status cbe_checkpoint_compare(const cbe_checkpoint *checkpoint, const cbe_safetensors *file,
                                  cbe_error *err);
/** Replaces the file.
 * @param point  where the search of `layer` stands, in place of the stored point; NULL: all stored
 * points stay */
cbe_status cbe_checkpoint_save(const cbe_checkpoint *checkpoint, size_t layer,
                               const cbe_search_point *point, cbe_error *err);

#endif
