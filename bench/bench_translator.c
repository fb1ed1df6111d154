/*
 * bench_translator.c - an evaluation through a tuned lens x = h + A h + b beside the logit lens, in
 * alternating rounds.
 *
 * Usage: bench_translator [N V d]      defaults: 2048 49152 576, the shape of SmolLM2-135M A and b
 * are random; hidden states and decoder are the same on both sides.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "lens_case.h"
#include "result_line.h"

enum { TURNS = 3, ROUNDS = 5, BATCH = 8 };

int main(int argc, char **argv)
{
    static const lens_work work[] = {{1, false}, {1, true}, {BATCH, false}, {BATCH, true}};
    static const char *const names[] = {"1 direction, energy", "1 direction, and gradient",
                                        "8 directions, energy, each",
                                        "8 directions, and gradient, each"};
    enum { KINDS = sizeof work / sizeof *work, LENSES = 2 };
    lens_shape shape = {2048, 49152, 576, CBE_NORM_RMS};
    if (argc == 4)
        shape = (lens_shape){strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10),
                             strtoull(argv[3], NULL, 10), CBE_NORM_RMS};
    if ((argc != 1 && argc != 4) || shape.n_tokens < 2 || shape.vocab_size < 2 ||
        shape.hidden_size < BATCH) {
        fprintf(stderr, "usage: bench_translator [N V d]\n");
        return 2;
    }
    const size_t d = shape.hidden_size;
    float *weight = lens_case_numbers(d * d, 0.3f / sqrtf((float)d)),
          *bias = lens_case_numbers(d, 0.3f);
    const cbe_translator lenses[LENSES] = {{NULL, NULL}, {weight, bias}};
    double medians[LENSES][KINDS][TURNS], layer_s[LENSES][TURNS];
    lens_case c;
    lens_case_make(&c, shape, BATCH);
    for (size_t turn = 0; turn < TURNS; turn++)
        for (size_t lens = 0; lens < LENSES; lens++) {
            lens_time times[KINDS];
            lens_case_set_layer(&c, lenses[lens]);
            lens_case_time(&c, ROUNDS, KINDS, work, times, NULL);
            layer_s[lens][turn] = c.set_layer_s;
            for (size_t k = 0; k < KINDS; k++) medians[lens][k][turn] = times[k].median;
        }
    printf("N %zu, V %zu, d %zu, %d threads\n", shape.n_tokens, shape.vocab_size, d,
           omp_get_max_threads());
    printf("  %-33s %10s %10s %6s\n", "", "logit, s", "tuned, s", "ratio");
    for (size_t k = 0; k <= KINDS; k++) {
        double *sides[LENSES] = {k < KINDS ? medians[0][k] : layer_s[0],
                                 k < KINDS ? medians[1][k] : layer_s[1]};
        const double logit = bench_median(TURNS, sides[0]), tuned = bench_median(TURNS, sides[1]);
        printf("  %-33s %10.4f %10.4f %6.2f\n", k < KINDS ? names[k] : "setting the layer", logit,
               tuned, tuned / logit);
    }
    lens_case_free(&c);
    cbe_free(weight);
    cbe_free(bias);
    return 0;
}
