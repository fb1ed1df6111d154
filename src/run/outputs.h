/*
 * outputs.h - what a command reads and what it will write, said before any work: so that no output
 * takes the place of an input, of another output or of a file that is not cbe's, and what cannot be
 * written is found at once.
 *
 * Files are compared by device and inode, so by whatever name, link or mount they are reached.
 * Inputs come first, then the folder, then outputs.
 */
#ifndef CBE_RUN_OUTPUTS_H
#define CBE_RUN_OUTPUTS_H

#include <stdbool.h>
#include <stddef.h>

#include "run/inputs.h"
#include "run/own_files.h"
#include "files/folder_lock.h"
#include "files/path.h"

typedef struct cbe_known_file cbe_known_file;

typedef struct {
    size_t n, room;
    cbe_known_file *files; /* owned: inputs, open files and outputs */
    const char *folder;    /* of outputs; NULL: the command names a file */
    cbe_folder_lock lock;
    cbe_folder_mark mark; /* of the folder */
    cbe_status status;    /* of inputs; what failed first */
    cbe_error err;
} cbe_outputs;

/** Begins with what the process has open: standard input, output and error. *outputs must be
 * zeroed. */
void cbe_outputs_begin(cbe_outputs *outputs);
/** Gives the folder free again. */
void cbe_outputs_end(cbe_outputs *outputs); /* a zeroed one is allowed */

/* Inputs. A path of NULL, or one where nothing lies, is passed over; lack of memory is told by the
 * first output. */

/** @param option  as the user types it, "--vectors-file"; of an argument its name, "MODEL" */
void cbe_outputs_read(cbe_outputs *outputs, const char *option, const char *path);
/** A model: every file of its folder, or every part of a .gguf file. */
void cbe_outputs_read_model(cbe_outputs *outputs, const char *path);
/** A model and its texts or tokens. */
void cbe_outputs_read_corpus(cbe_outputs *outputs, const cbe_corpus *corpus);
/** All that extract and probe share. */
void cbe_outputs_read_run(cbe_outputs *outputs, const cbe_run_settings *run);
/** The files of a tuned lens in a folder, and those of a basis in a folder or beside a
 * basis.safetensors. */
void cbe_outputs_read_lens(cbe_outputs *outputs, const char *option, const char *folder);
void cbe_outputs_read_basis(cbe_outputs *outputs, const char *option, const char *path);

/** Makes the folder of all outputs, and says that it is in use until cbe_outputs_end.
 * @param folder  borrowed
 * @return CBE_OK; CBE_ERR_ARG (another run uses it); CBE_ERR_IO, CBE_ERR_SYSTEM, CBE_ERR_NOMEM */
cbe_status cbe_outputs_folder(cbe_outputs *outputs, const char *folder, cbe_error *err);
/** Before results are written: whether the folder is the one that was locked.
 * @return CBE_OK, also without a folder; CBE_ERR_IO: it was moved or replaced */
cbe_status cbe_outputs_check_folder(const cbe_outputs *outputs, cbe_error *err);
/** An output of that name in the folder. A file that is there already must be one of the kind.
 * @return CBE_OK; CBE_ERR_ARG (the file is an input or another output, or not cbe's); CBE_ERR_IO or
 *         CBE_ERR_SYSTEM (it cannot be written); CBE_ERR_NOMEM */
cbe_status cbe_outputs_write(cbe_outputs *outputs, const char *name, cbe_own_file kind,
                             cbe_error *err);
/** The same, whatever lies there: the command itself looks at what it is. */
cbe_status cbe_outputs_write_any(cbe_outputs *outputs, const char *name, cbe_error *err);
/** Makes the folder of a lens, with config.json and its parameters as outputs; one that holds
 * parameters in the other format, or a model, is refused.
 * @return what cbe_outputs_folder and cbe_outputs_write return */
cbe_status cbe_outputs_write_lens(cbe_outputs *outputs, const char *folder, cbe_lens_format format,
                                  cbe_error *err);
/** The output of a command that names a file: it may be any file but one of a model, and one in a
 * folder that a live run uses. */
cbe_status cbe_outputs_write_file(cbe_outputs *outputs, const char *path, cbe_error *err);

#endif
