/*
 * bench_lens.c - time of one evaluation of the lens objective, against what the machine can do.
 *
 * Usage: bench_lens [N V d [rmsnorm|layernorm]]      defaults: 2048 49152 576, the shape of
 * SmolLM2-135M Random hidden states and weights. Times are for each direction; ratios are those of
 * the median to the floor (lens_case.h), and to the larger of N V exponentials and a direction's
 * share of what the whole evaluation has to read: Z, and W~ once, with gradient twice. The second
 * is far above the first where d is of the size of N.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lens_case.h"

enum { ROUNDS = 9, BATCH = 8 };

static lens_shape parse(int argc, char **argv)
{
    lens_shape shape = {2048, 49152, 576, CBE_NORM_RMS};
    bool right = argc == 1 || argc == 4 || argc == 5;
    if (right && argc > 1) {
        shape.n_tokens = strtoull(argv[1], NULL, 10);
        shape.vocab_size = strtoull(argv[2], NULL, 10);
        shape.hidden_size = strtoull(argv[3], NULL, 10);
    }
    if (right && argc == 5) {
        shape.norm =
            strcmp(argv[4], cbe_norm_name(CBE_NORM_LAYER)) == 0 ? CBE_NORM_LAYER : CBE_NORM_RMS;
        right = strcmp(argv[4], cbe_norm_name(shape.norm)) == 0;
    }
    if (!right || shape.n_tokens < 2 || shape.vocab_size < 2 || shape.hidden_size < BATCH) {
        fprintf(stderr, "usage: bench_lens [N V d [rmsnorm|layernorm]]\n");
        exit(2);
    }
    return shape;
}

static double floor_with_w(const lens_floor *floor, const lens_work *work)
{
    return fmax((floor->read + (work->gradient ? 2 : 1) * floor->read_w) / (double)work->batch,
                floor->exps);
}

int main(int argc, char **argv)
{
    static const lens_work work[] = {{1, false}, {1, true}, {BATCH, false}, {BATCH, true}};
    static const char *const names[] = {"1 direction, energy", "1 direction, and gradient",
                                        "8 directions, energy, each",
                                        "8 directions, and gradient, each"};
    enum { KINDS = sizeof work / sizeof *work };
    const lens_shape shape = parse(argc, argv);
    lens_case c;
    lens_time times[KINDS];
    lens_floor floor;
    lens_case_make(&c, shape, BATCH);
    lens_case_time(&c, ROUNDS, KINDS, work, times, &floor);
    const double entries = (double)shape.n_tokens * (double)shape.vocab_size;
    printf("N %zu, V %zu, d %zu, %s, kernels %s, %d threads, %.2f GB\n", shape.n_tokens,
           shape.vocab_size, shape.hidden_size, cbe_norm_name(shape.norm),
           cbe_lens_objective_kernels(c.objective), omp_get_max_threads(), 1e-9 * (double)c.bytes);
    printf("  %-33s %8.3f s   %.0f GFLOP/s\n", "setting the layer", c.set_layer_s,
           4e-9 * entries * (double)shape.hidden_size / c.set_layer_s);
    printf("  %-33s %8.4f s   %.1f GB/s\n", "reading Z", floor.read, 4e-9 * entries / floor.read);
    printf("  %-33s %8.4f s\n", "reading W~", floor.read_w);
    printf("  %-33s %8.4f s   %.2f G/s\n", "N V exponentials, cached", floor.exps,
           1e-9 * entries / floor.exps);
    for (size_t k = 0; k < KINDS; k++)
        printf("  %-33s %8.4f s   %.2f of the floor (best %.4f s, %.2f), with W~ %.2f\n", names[k],
               times[k].median, times[k].median / floor.seconds, times[k].best,
               times[k].best / floor.seconds, times[k].median / floor_with_w(&floor, &work[k]));
    printf("  %-33s %8.2f\n", "8 directions to 1, with gradient",
           times[3].median / times[1].median);
    lens_case_free(&c);
    return 0;
}
