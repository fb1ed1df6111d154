/*
 * sample.h - what evaluations of a lens objective go over: the rows and the entries of the
 * vocabulary in force.
 *
 * Rows of all processes are counted as one list, searched rows in front of held-out rows. So a
 * sample is the same however tokens are divided.
 */
#ifndef CBE_OBJECTIVE_LENS_SAMPLE_H
#define CBE_OBJECTIVE_LENS_SAMPLE_H

#include "objective/lens/state.h"

/** Takes count rows, evenly spread over span rows of all processes from row `first` on. */
void cbe_lens_activate(const cbe_lens_setup *setup, cbe_lens_sample *sample, size_t first,
                       size_t span, size_t count);

/** Divides n rows into pieces of at most `most`, none with rows of two groups of sequences
 * (core/groups.h): piece i is begin[i] .. begin[i + 1] - 1.
 * @param rows   (n) their numbers; NULL: 0 .. n - 1
 * @param all    rows of all processes: sequences with `least` or more rows, on average, are groups
 * by themselves
 * @param begin  [out] (n + 1 at most)
 * @return the number of pieces */
size_t cbe_lens_divide(const cbe_lens_setup *setup, size_t n, const size_t *rows, size_t all,
                       size_t least, size_t most, size_t *begin);

/** Calls of a cbe_objective: see cbe_objective_n_tokens, _set_part, _n_parts, _set_held_out,
 * _set_rough. */
size_t cbe_lens_n_tokens(const cbe_objective *self);
void cbe_lens_set_sample(cbe_objective *self, size_t n, size_t part);
size_t cbe_lens_n_parts(const cbe_objective *self, size_t n);
void cbe_lens_set_held_out(cbe_objective *self);
bool cbe_lens_set_rough(cbe_objective *self, bool rough);

#endif
