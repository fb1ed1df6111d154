/*
 * lens_case.h - the case that benchmarks of the lens objective time: a layer of random hidden
 * states and weights.
 *
 * The floor of an evaluation is the larger of two times: reading the stored logits Z once, and N V
 * exponentials on cached data by the kernel in use. Both are measured between evaluations, in the
 * same rounds, so that changes of the machine's speed affect all times. Benchmarks end the process
 * with a message if they cannot go on.
 */
#ifndef CBE_BENCH_LENS_CASE_H
#define CBE_BENCH_LENS_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "model/decoder.h"
#include "objective/lens/objective.h"

typedef struct {
    size_t n_tokens, vocab_size, hidden_size; /* N, V, d */
    cbe_norm norm;
} lens_shape;

typedef struct {
    lens_shape shape;
    size_t max_batch;
    cbe_decoder decoder; /* arrays are owned by the case */
    float *hidden;       /* (N, d) */
    double *directions;  /* (max_batch, d), of length 1 */
    double *energy, *grad;
    cbe_objective *objective;
    size_t bytes;       /* bytes of the objective's and the decoder's arrays */
    double set_layer_s; /* seconds of setting the layer */
} lens_case;

/** Makes the layer and sets it; lens_case_free frees it. The number of threads is OpenMP's at the
 * call. */
void lens_case_make(lens_case *c, lens_shape shape, size_t max_batch);
void lens_case_free(lens_case *c);
/** Sets the layer again, through a translator of random entries or the logit lens (NULL, NULL). */
void lens_case_set_layer(lens_case *c, cbe_translator translator);

/** n random numbers of variance scale^2, approximately normal; freed with cbe_free. */
float *lens_case_numbers(size_t n, float scale);

/** A kind of work: `batch` directions evaluated together, with or without gradient. */
typedef struct {
    size_t batch;
    bool gradient;
} lens_work;

typedef struct {
    double median, best; /* seconds for each direction */
} lens_time;

typedef struct {
    double read, exps, seconds; /* best seconds to read Z; best of N V exponentials; the larger */
    /* seconds to read W~, which an evaluation does once, and twice with gradient */
    double read_w;
} lens_floor;

/** Times `count` kinds of work in turn, `rounds` times (at most LENS_CASE_ROUNDS). @param floor
 * NULL skips it */
enum { LENS_CASE_ROUNDS = 32 };
void lens_case_time(lens_case *c, size_t rounds, size_t count, const lens_work *work,
                    lens_time *times, lens_floor *floor);

#endif
