/*
 * rope.h - rotary position embeddings (Su et al. 2021, arXiv:2104.09864) and their scaled forms.
 */
#ifndef CBE_MODEL_ROPE_H
#define CBE_MODEL_ROPE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum {
    CBE_ROPE_DEFAULT = 0, /* base^(-2 i / rotary size) */
    CBE_ROPE_LINEAR,      /* frequencies divided by factor */
    CBE_ROPE_DYNAMIC,     /* a larger base for sequences longer than max_context */
    CBE_ROPE_YARN,        /* Peng et al. 2023, arXiv:2309.00071 */
    CBE_ROPE_LONGROPE,    /* Ding et al. 2024, arXiv:2402.13753: divisors only */
    CBE_ROPE_LLAMA3,      /* long wavelengths divided by factor, short ones kept, blended between */
    CBE_N_ROPES
} cbe_rope_kind;

enum { CBE_MAX_ROTARY_PAIRS = 512 };

typedef struct {
    cbe_rope_kind kind;
    double base;
    /* Used by linear, dynamic, yarn and llama3; by longrope for attention_factor only. */
    double factor;
    /* llama3: turns in the original context at which the blend begins and ends */
    double low_frequency, high_frequency;
    double original_context;     /* llama3, yarn, longrope: positions before scaling */
    double max_context;          /* dynamic */
    double beta_fast, beta_slow; /* yarn: turns at which the blend begins and ends */
    double mscale, mscale_all;   /* yarn: give attention_factor if it is not given */
    bool fractional;             /* yarn: the blend may begin and end between pairs */
    double attention_factor;     /* factor of cosines and sines */
    /* Further divisors of frequencies, none or one for each pair: for sequences up to
     * original_context, and for longer sequences. */
    size_t n_divisors;
    double divisors[2][CBE_MAX_ROTARY_PAIRS];
} cbe_rope;

/** Name of a kind in config.json: "default", "linear", .. */
const char *cbe_rope_name(cbe_rope_kind kind);

/** Computes frequencies, in radians a position, for sequences of context_length, in float64.
 * @param frequencies [out] (rotary_size / 2) */
void cbe_rope_frequencies(const cbe_rope *rope, size_t rotary_size, size_t context_length,
                          double *frequencies);

/** Fills a table of cosines and sines.
 * @param scale  factor of all entries @param table  [out] (n_positions, 2, half): cosines, then
 *  sines, of position times frequency. Angles are float64, since a float32 angle of 1,000 radians
 *  is off by 6e-5 */
void cbe_rope_table(size_t n_positions, size_t half, const double *frequencies, double scale,
                    float *table);

/** Rotates the first 2 half numbers of each head of x (n_heads, head_size), in place, by one
 * position's row of the table. Pairs are (i, i + half). */
void cbe_rope_rotate(size_t n_heads, size_t head_size, size_t half, const float *table, float *x);
/** Backward pass of cbe_rope_rotate, in place: rotates gradients back, times the table's scale. */
void cbe_rope_rotate_back(size_t n_heads, size_t head_size, size_t half, const float *table,
                          float *grad);

#endif
