/*
 * bench_lens.c - time of one evaluation of the lens objective, against what the machine can do.
 *
 * Usage: bench_lens [N V d [layernorm]]      defaults: 2048 49152 576, the shape of SmolLM2-135M
 * Random hidden states and weights. Prints medians of several runs, and ratios within this run.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "causal/kernels.h"
#include "cbe/objective.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static unsigned long long sequence = 1;
static float normal(void)
{
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        sequence = sequence * 6364136223846793005ull + 1442695040888963407ull;
        sum += (float)(sequence >> 40) / 16777216.0f;
    }
    return sum - 6;
}

static float *normals(size_t n, float scale)
{
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64); /* as the library's own arrays */
    if (!x) exit(1);
    for (size_t i = 0; i < n; i++) x[i] = scale * normal();
    return x;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { RUNS = 9 };

static double median_eval(cbe_objective *o, size_t m, const double *v, double *energy, double *grad)
{
    double seconds[RUNS];
    for (int r = 0; r < RUNS; r++) {
        const double t = now();
        cbe_error err;
        if (cbe_objective_eval(o, m, v, energy, grad, NULL, &err) != CBE_OK) {
            fprintf(stderr, "%s\n", err.message);
            exit(1);
        }
        seconds[r] = now() - t;
    }
    qsort(seconds, RUNS, sizeof *seconds, compare);
    return seconds[RUNS / 2];
}

/* Seconds to read n x v floats with all threads. */
static double read_seconds(const float *z, size_t n, size_t v, double *guard)
{
    double best = 1e9;
    for (int r = 0; r < RUNS; r++) {
        double sum = 0;
        const double t = now();
#pragma omp parallel for reduction(+ : sum)
        for (size_t i = 0; i < n; i++) {
            float s = 0;
#pragma omp simd reduction(+ : s)
            for (size_t j = 0; j < v; j++) s += z[i * v + j];
            sum += (double)s;
        }
        best = fmin(best, now() - t);
        *guard += sum;
    }
    return best;
}

/* Seconds for n rows of v exponentials and their sum, on data that stays in cache. */
static double exp_seconds(const cbe_kernels *k, const float *z, size_t n, size_t v, double *guard)
{
    double best = 1e9;
    for (int r = 0; r < RUNS; r++) {
        double sum = 0;
        const double t = now();
#pragma omp parallel for reduction(+ : sum)
        for (size_t i = 0; i < n; i++) {
            const size_t row = (size_t)omp_get_thread_num();
            sum += k->row_sum(v, z + row * v, z + row * v, NULL, 0.1f, 0.01f, 0, true);
        }
        best = fmin(best, now() - t);
        *guard += sum;
    }
    return best;
}

int main(int argc, char **argv)
{
    const size_t n = argc > 3 ? strtoull(argv[1], NULL, 10) : 2048;
    const size_t vocab = argc > 3 ? strtoull(argv[2], NULL, 10) : 49152;
    const size_t d = argc > 3 ? strtoull(argv[3], NULL, 10) : 576;
    const cbe_norm norm = argc > 4 && strcmp(argv[4], "layernorm") == 0 ? CBE_NORM_LAYER : CBE_NORM_RMS;
    enum { BATCH = 8 };
    float *hidden = normals(n * d, 1), *w = normals(vocab * d, 0.1f), *gamma = normals(d, 0.1f);
    for (size_t k = 0; k < d; k++) gamma[k] += 1;
    cbe_decoder decoder = {d, vocab, norm, 1e-5, 0, gamma, NULL, w, NULL};
    cbe_lens_options options = {n, CBE_ABLATE_MEAN, CBE_OBJECTIVE_KL, NULL, NULL, BATCH, NULL, NULL, CBE_LOGITS_FLOAT32};
    cbe_objective *o = NULL;
    cbe_error err;
    double *v = malloc(BATCH * d * sizeof *v), *grad = malloc(BATCH * d * sizeof *grad), energy[BATCH];
    if (cbe_lens_objective_create(&o, &decoder, &options, &err) != CBE_OK ||
        cbe_lens_objective_set_layer(o, hidden, (cbe_translator){NULL, NULL}, &err) != CBE_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    double t = now();
    if (cbe_lens_objective_set_layer(o, hidden, (cbe_translator){NULL, NULL}, &err) != CBE_OK) return 1;
    t = now() - t;
    for (size_t j = 0; j < BATCH; j++) {
        double norm2 = 0;
        for (size_t k = 0; k < d; k++) v[j * d + k] = (double)normal(), norm2 += v[j * d + k] * v[j * d + k];
        for (size_t k = 0; k < d; k++) v[j * d + k] /= sqrt(norm2);
    }
    double guard = 0;
    float *z = normals(vocab * 64, 1), *large = aligned_alloc(64, (n * vocab * sizeof *large + 63) / 64 * 64);
    if (large) memset(large, 0, n * vocab * sizeof *large);
    const double read = large ? read_seconds(large, n, vocab, &guard) : 0;
    free(large);
    const cbe_kernels *kernels = cbe_kernels_choose(NULL);
    const double exps = exp_seconds(kernels, z, n, vocab, &guard);
    const double one = median_eval(o, 1, v, energy, grad), one_energy = median_eval(o, 1, v, energy, NULL);
    const double batch = median_eval(o, BATCH, v, energy, grad);
    const double batch_energy = median_eval(o, BATCH, v, energy, NULL);
    const double bytes = 4.0 * (double)n * (double)vocab, floor_s = read > exps ? read : exps;
    printf("N %zu, V %zu, d %zu, kernels %s, %d threads\n", n, vocab, d, kernels->name,
           omp_get_max_threads());
    printf("setting a layer           %8.3f s   %.0f GFLOP/s\n", t,
           4e-9 * (double)n * (double)vocab * (double)d / t);
    printf("reading Z                 %8.4f s   %.1f GB/s\n", read, 1e-9 * bytes / read);
    printf("N V exponentials, cached  %8.4f s   %.2f G/s\n", exps, 1e-9 * bytes / 4 / exps);
    printf("floor                     %8.4f s\n", floor_s);
    printf("1 direction, energy       %8.4f s   %.2f of the floor\n", one_energy, one_energy / floor_s);
    printf("1 direction, and gradient %8.4f s   %.2f of the floor\n", one, one / floor_s);
    printf("8 directions, energy      %8.4f s each   %.2f of the floor\n", batch_energy / BATCH,
           batch_energy / BATCH / floor_s);
    printf("8 directions, and gradient%8.4f s each   %.2f of the floor, %.2f of one alone\n", batch / BATCH,
           batch / BATCH / floor_s, batch / BATCH / one);
    if (guard == 1) printf("\n"); /* keeps the measured loops */
    cbe_objective_free(o);
    free(hidden);
    free(w);
    free(gamma);
    free(v);
    free(grad);
    free(z);
    return 0;
}
