/*
 * outputs.h - what a command reads and what it will write, said before any work: so that no output
 * takes the place of an input, of another output or of a file that is not cbe's, and what cannot be
 * written is found at once.
 *
 * Files are compared by device and inode, so by whatever name, link or mount they are reached.
 * Inputs come first, then the folder, then outputs.
 */
#ifndef CBE_CLI_OUTPUTS_H
#define CBE_CLI_OUTPUTS_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/inputs.h"
#include "cli/own_files.h"
#include "files/folder_lock.h"
#include "files/path.h"

typedef struct cli_known_file cli_known_file;

typedef struct {
    size_t n, room;
    cli_known_file *files; /* owned: inputs, open files and outputs */
    const char *folder;    /* of outputs; NULL: the command names a file */
    cbe_folder_lock lock;
    cbe_folder_mark mark; /* of the folder */
    cbe_status status;    /* of inputs; what failed first */
    cbe_error err;
} cli_outputs;

/** Begins with what the process has open: standard input, output and error. *outputs must be
 * zeroed. */
void cli_outputs_begin(cli_outputs *outputs);
/** Gives the folder free again. */
void cli_outputs_end(cli_outputs *outputs); /* a zeroed one is allowed */

/* Inputs. A path of NULL, or one where nothing lies, is passed over; lack of memory is told by the
 * first output. */

/** @param option  as the user types it, "--vectors-file"; of an argument its name, "MODEL" */
void cli_outputs_read(cli_outputs *outputs, const char *option, const char *path);
/** A model: every file of its folder, or every part of a .gguf file. */
void cli_outputs_read_model(cli_outputs *outputs, const char *path);
/** A model and its texts or tokens. */
void cli_outputs_read_corpus(cli_outputs *outputs, const cli_corpus *corpus);
/** All that extract and probe share. */
void cli_outputs_read_run(cli_outputs *outputs, const cli_run *run);
/** The files of a tuned lens in a folder, and those of a basis in a folder or beside a
 * basis.safetensors. */
void cli_outputs_read_lens(cli_outputs *outputs, const char *option, const char *folder);
void cli_outputs_read_basis(cli_outputs *outputs, const char *option, const char *path);

/** Makes the folder of all outputs, and says that it is in use until cli_outputs_end.
 * @param folder  borrowed
 * @return CBE_OK; CBE_ERR_ARG (another run uses it); CBE_ERR_IO, CBE_ERR_SYSTEM, CBE_ERR_NOMEM */
cbe_status cli_outputs_folder(cli_outputs *outputs, const char *folder, cbe_error *err);
/** Before results are written: whether the folder is the one that was locked.
 * @return CBE_OK, also without a folder; CBE_ERR_IO: it was moved or replaced */
cbe_status cli_outputs_check_folder(const cli_outputs *outputs, cbe_error *err);
/** An output of that name in the folder. A file that is there already must be one of the kind.
 * @return CBE_OK; CBE_ERR_ARG (the file is an input or another output, or not cbe's); CBE_ERR_IO or
 *         CBE_ERR_SYSTEM (it cannot be written); CBE_ERR_NOMEM */
cbe_status cli_outputs_write(cli_outputs *outputs, const char *name, cli_own_file kind,
                             cbe_error *err);
/** The same, whatever lies there: the command itself looks at what it is. */
cbe_status cli_outputs_write_any(cli_outputs *outputs, const char *name, cbe_error *err);
/** Makes the folder of a lens, with config.json and its parameters as outputs; one that holds
 * parameters in the other format, or a model, is refused.
 * @return what cli_outputs_folder and cli_outputs_write return */
cbe_status cli_outputs_write_lens(cli_outputs *outputs, const char *folder, cbe_lens_format format,
                                  cbe_error *err);
/** The output of a command that names a file: it may be any file but one of a model, and one in a
 * folder that a live run uses. */
cbe_status cli_outputs_write_file(cli_outputs *outputs, const char *path, cbe_error *err);

#endif
