/* rows.h - the rows of Z, wherever they are kept. */
#ifndef CBE_OBJECTIVE_LENS_ROWS_H
#define CBE_OBJECTIVE_LENS_ROWS_H

#include "objective/lens/state.h"

/** Makes rows of Z anew, in a thread of a parallel region.
 * @param n        at most CBE_LENS_BLOCK
 * @param shifted  their shifts are known, and taken off; else norm2 and inverse_s are filled in
 * @param out      [out] (n, stride) */
void cbe_lens_make_rows(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                        cbe_lens_threads *threads, size_t thread, size_t n, const size_t *rows,
                        bool shifted, float *out);
/** Puts a row away (z (V), shifted), and brings back into z what will be read from there. */
void cbe_lens_keep_row(const cbe_lens_setup *setup, cbe_lens_layer *layer, size_t row, float *z);
/** Most rows that one call of cbe_lens_get_rows gives. */
size_t cbe_lens_rows_at_once(const cbe_lens_setup *setup);
/** Gives n stored rows: pointers good until the thread's next call. */
void cbe_lens_get_rows(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                       cbe_lens_threads *threads, size_t thread, size_t n, const size_t *rows,
                       const float **out);

#endif
