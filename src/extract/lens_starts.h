/* lens_starts.h - the first vectors of the logit lens's basis, found cheaply: starts for a search
 * in the whole model. */
#ifndef CBE_EXTRACT_LENS_STARTS_H
#define CBE_EXTRACT_LENS_STARTS_H

#include "model/decoder.h"
#include "objective/ablation.h"
#include "search/search.h"

typedef struct {
    const cbe_decoder *decoder;
    size_t n_tokens;
    const float *hidden;   /* (N, d): a sample of some hundred tokens */
    cbe_ablation ablation; /* all but zero count as mean */
    uint64_t seed;
    size_t memory;                /* bytes that may be taken; 0: no limit */
    const cbe_start_list *starts; /* of the lens search */
} cbe_lens_starts_input;

/** Searches the lens on these tokens, coarsely.
 * @param n [in, out] vectors wanted; those found: none where memory is short
 * @param out (n, d) */
cbe_status cbe_lens_starts(const cbe_lens_starts_input *input, size_t *n, double *out,
                           cbe_error *err);

#endif
