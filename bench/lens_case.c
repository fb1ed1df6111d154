/* lens_case.c - see lens_case.h. */
#include "lens_case.h"

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "objective/lens/state.h"
#include "core/memory.h"
#include "result_line.h"

static void check(cbe_status st, const cbe_error *err)
{
    if (st == CBE_OK) return;
    fprintf(stderr, "bench: %s\n", err->message);
    exit(1);
}

/* Steele, Lea and Flood's mixer: the i-th number needs no number before it, so rows are made in
 * parallel. */
static uint64_t mix(uint64_t i)
{
    i *= 0x9e3779b97f4a7c15u;
    i = (i ^ i >> 30) * 0xbf58476d1ce4e5b9u;
    i = (i ^ i >> 27) * 0x94d049bb133111ebu;
    return i ^ i >> 31;
}

/* The sum of four uniform numbers of 16 bits, its mean 0 and its variance 1. */
static float normal(uint64_t i)
{
    const uint64_t bits = mix(i);
    const float sum = (float)(bits & 0xffff) + (float)(bits >> 16 & 0xffff) +
                      (float)(bits >> 32 & 0xffff) + (float)(bits >> 48);
    return (sum / 65536 - 2) * 1.7320508f;
}

float *lens_case_numbers(size_t n, float scale)
{
    static uint64_t used = 1;
    cbe_error err;
    float *x = cbe_alloc(n, sizeof *x, "random numbers", &err);
    if (!x) check(CBE_ERR_NOMEM, &err);
    const uint64_t first = used;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) x[i] = scale * normal(first + i);
    used += n;
    return x;
}

static void unit_length(size_t d, double *v)
{
    double norm2 = 0;
    for (size_t k = 0; k < d; k++) norm2 += v[k] * v[k];
    for (size_t k = 0; k < d; k++) v[k] /= sqrt(norm2);
}

void lens_case_make(lens_case *c, lens_shape shape, size_t max_batch)
{
    const size_t d = shape.hidden_size, v = shape.vocab_size, numbers = max_batch * d;
    cbe_error err;
    *c = (lens_case){.shape = shape, .max_batch = max_batch};
    c->hidden = lens_case_numbers(shape.n_tokens * d, 1);
    c->decoder =
        (cbe_decoder){.hidden_size = d, .vocab_size = v, .norm = shape.norm, .norm_eps = 1e-5};
    /* Logits of the same variance for every d: that of SmolLM2's size with weights of 0.1. */
    c->decoder.unembedding = lens_case_numbers(v * d, 2.4f / sqrtf((float)d));
    c->decoder.gamma = lens_case_numbers(d, 0.1f);
    for (size_t k = 0; k < d; k++) c->decoder.gamma[k] += 1;
    c->directions = cbe_alloc(numbers, sizeof *c->directions, "directions", &err);
    c->grad = cbe_alloc(numbers, sizeof *c->grad, "gradients", &err);
    c->energy = cbe_alloc(max_batch, sizeof *c->energy, "energies", &err);
    if (!c->directions || !c->grad || !c->energy) check(CBE_ERR_NOMEM, &err);
    float *random = lens_case_numbers(numbers, 1);
    for (size_t i = 0; i < numbers; i++) c->directions[i] = (double)random[i];
    cbe_free(random);
    for (size_t j = 0; j < max_batch; j++) unit_length(d, c->directions + j * d);
    const cbe_lens_options options = {.n_tokens = shape.n_tokens,
                                      .ablation = CBE_ABLATE_MEAN,
                                      .kind = CBE_LOSS_KL,
                                      .max_batch = max_batch,
                                      .storage = CBE_LOGITS_FLOAT32};
    c->bytes = cbe_lens_objective_bytes(&c->decoder, &options) +
               (v * d + d + shape.n_tokens * d) * sizeof(float);
    check(cbe_lens_objective_create(&c->objective, &c->decoder, &options, &err), &err);
    lens_case_set_layer(c, (cbe_translator){NULL, NULL});
}

void lens_case_set_layer(lens_case *c, cbe_translator translator)
{
    cbe_error err;
    const double start = omp_get_wtime();
    check(cbe_lens_objective_set_layer(c->objective, c->hidden, translator, NULL, &err), &err);
    c->set_layer_s = omp_get_wtime() - start;
}

void lens_case_free(lens_case *c)
{
    cbe_objective_free(c->objective);
    cbe_free(c->hidden);
    cbe_free(c->decoder.unembedding);
    cbe_free(c->decoder.gamma);
    cbe_free(c->directions);
    cbe_free(c->energy);
    cbe_free(c->grad);
}

/* Keeps what is only timed: a sum that nobody reads could be left out. */
static volatile double sink;

/* Seconds to read n numbers with all threads. As the kernels do, each thread walks rows of its own
 * and asks for what comes from memory 64 KB ahead; as many sums as it takes not to wait for an
 * addition. */
static double read_seconds(size_t n, const float *x)
{
    enum { ROW = 49152, SUMS = 64, AHEAD = 16384, LINE = CBE_ALIGNMENT / sizeof(float) };
    double total = 0;
    const double start = omp_get_wtime();
#pragma omp parallel for schedule(static) reduction(+ : total)
    for (size_t row = 0; row < n; row += ROW) {
        const size_t end = n - row < ROW ? n : row + ROW;
        float sums[SUMS] = {0};
        for (size_t i = row; i + SUMS <= end; i += SUMS) {
            for (size_t k = 0; k < SUMS; k += LINE) __builtin_prefetch(x + i + k + AHEAD, 0, 2);
            for (size_t k = 0; k < SUMS; k++) sums[k] += x[i + k];
        }
        for (size_t k = 0; k < SUMS; k++) total += (double)sums[k];
    }
    const double seconds = omp_get_wtime() - start;
    sink = total;
    return seconds;
}

/* Seconds of N V exponentials and their sums with all threads, by the kernel, on a piece of a row
 * that stays in cache. */
static double exp_seconds(const cbe_lens_objective *o)
{
    enum { PIECE = 49152 };
    const size_t v = o->setup.vocab_size, piece = v < PIECE ? v : PIECE;
    double total = 0;
    const double start = omp_get_wtime();
#pragma omp parallel for schedule(static) reduction(+ : total)
    for (size_t row = 0; row < o->setup.n_rows; row++) {
        const float *z =
            o->layer.z + (size_t)omp_get_thread_num() % o->setup.n_rows * o->setup.stride;
        for (size_t i = 0; i < v; i += piece)
            total += o->setup.kernels->row_sum(v - i < piece ? v - i : piece, z, z, NULL, 0.1f,
                                               0.01f, 0, true);
    }
    const double seconds = omp_get_wtime() - start;
    sink = total;
    return seconds;
}

void lens_case_time(lens_case *c, size_t rounds, size_t count, const lens_work *work,
                    lens_time *times, lens_floor *floor)
{
    enum { KINDS = 16 };
    static double seconds[KINDS][LENS_CASE_ROUNDS];
    lens_floor least = {INFINITY, INFINITY, 0, INFINITY};
    if (count > KINDS || rounds > LENS_CASE_ROUNDS) abort();
    for (size_t r = 0; r < rounds; r++) {
        if (floor) {
            const cbe_lens_objective *o = (const cbe_lens_objective *)c->objective;
            least.read =
                fmin(least.read, read_seconds(o->setup.n_rows * o->setup.stride, o->layer.z));
            least.read_w = fmin(
                least.read_w, read_seconds(o->setup.vocab_size * o->setup.hidden_size, o->layer.w));
            least.exps = fmin(least.exps, exp_seconds(o));
        }
        for (size_t k = 0; k < count; k++) {
            cbe_error err;
            const double start = omp_get_wtime();
            check(cbe_objective_eval(c->objective, work[k].batch, c->directions, c->energy,
                                     work[k].gradient ? c->grad : NULL, NULL, &err),
                  &err);
            seconds[k][r] = (omp_get_wtime() - start) / (double)work[k].batch;
        }
    }
    for (size_t k = 0; k < count; k++) {
        times[k].median = bench_median(rounds, seconds[k]);
        times[k].best = seconds[k][0];
    }
    if (!floor) return;
    least.seconds = fmax(least.read, least.exps);
    *floor = least;
}
