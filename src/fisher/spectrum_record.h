/*
 * spectrum_record.h - the result files of spectra: spectrum.json and spectrum.csv
 * (docs/formats.md).
 */
#ifndef CBE_FISHER_SPECTRUM_RECORD_H
#define CBE_FISHER_SPECTRUM_RECORD_H

#include "fisher/spectra.h"

/** Description of the run, for spectrum.json. Borrowed. */
typedef struct {
    const char *model, *tokens; /* paths; tokens NULL: texts */
    size_t n_texts;
    const char *const *texts;
    const char *site; /* "pre", "post" */
    uint64_t seed;
    size_t n_sequences, context_length, skip_positions, n_tokens, n_draws;
} cbe_spectrum_record;

/** Writes spectrum.json and spectrum.csv to a folder that exists.
 * @param layers  (n) the layer of each spectrum
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM, CBE_ERR_NOMEM */
cbe_status cbe_spectrum_save(const char *folder, size_t n, const size_t *layers,
                             const cbe_state_spectrum *spectra, const cbe_spectrum_record *record,
                             cbe_error *err);

#endif
