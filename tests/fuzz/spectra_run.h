/* spectra_run.h - the small run whose checkpoints fuzz_spectra_checkpoint.c reads, and make_seeds.c
 * writes. */
#ifndef CBE_TESTS_SPECTRA_RUN_H
#define CBE_TESTS_SPECTRA_RUN_H

#include <string.h>

#include "core/fail.h"
#include "fisher/spectra_checkpoint.h"

enum { SPECTRA_WIDTH = 2, SPECTRA_STATES = 2, SPECTRA_SEQUENCES = 3 };

static const size_t spectra_states[SPECTRA_STATES] = {1, 4};

static inline cbe_status spectra_compare(void *context, const cbe_safetensors *file, cbe_error *err)
{
    const char *format = cbe_safetensors_metadata(file, "format");
    (void)context;
    return format && strcmp(format, "spectra, unfinished") == 0
               ? CBE_OK
               : cbe_fail(err, CBE_ERR_FORMAT, -1, "not a checkpoint of cbe spectrum");
}

static inline cbe_spectra_checkpoint spectra_run(const char *path)
{
    static const char *const pairs[] = {"format", "spectra, unfinished"};
    static const cbe_folder_mark anywhere = {0};
    return (cbe_spectra_checkpoint){.path = path,
                                    .folder = &anywhere,
                                    .resume = true,
                                    .n_pairs = 1,
                                    .pairs = pairs,
                                    .compare = spectra_compare};
}

#endif
