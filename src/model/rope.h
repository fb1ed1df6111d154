/*
 * rope.h - rotary position embeddings (Su et al. 2021, arXiv:2104.09864) and their rescaled forms.
 */
#ifndef CBE_MODEL_ROPE_H
#define CBE_MODEL_ROPE_H

#include <stddef.h>

typedef enum {
    CBE_ROPE_DEFAULT = 0, /* base^(-2 i / rotary size) */
    CBE_ROPE_LINEAR,      /* divided by factor */
    CBE_ROPE_LLAMA3,      /* long wavelengths divided by factor, short ones kept, blended between */
    CBE_N_ROPES
} cbe_rope_kind;

typedef struct {
    cbe_rope_kind kind;
    double base;
    double factor;                        /* linear and llama3 */
    double low_frequency, high_frequency; /* llama3: wavelengths in original contexts where the */
    double original_context;              /* blend begins and ends */
} cbe_rope;

/** Radians a position, in float64. @param frequencies [out] (rotary_size / 2) */
void cbe_rope_frequencies(const cbe_rope *rope, size_t rotary_size, double *frequencies);

/** @param table [out] (n_positions, 2, half): cosines, then sines, of position times frequency;
 *                     angles in float64, for a float32 angle of 1,000 radians is off by 6e-5 */
void cbe_rope_table(size_t n_positions, size_t half, const double *frequencies, float *table);

/** Rotates n_heads heads of 2 half numbers at x, one after another, by one position's row of the
 * table. Pairs are (i, i + half). */
void cbe_rope_rotate(size_t n_heads, size_t half, const float *table, float *x);

#endif
