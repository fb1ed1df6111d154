/*
 * bench_growth.c - how the time of an evaluation with gradient grows with N, V, d, batch and
 * threads.
 *
 * Usage: bench_growth [tokens|vocabulary|hidden|batch|threads]...      default: all One of them
 * varies, the others are those of SmolLM2-135M: N 2048, V 49152, d 576, RMSNorm, random weights,
 * all cores.
 */
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "lens_case.h"

enum { ROUNDS = 5, BATCH = 8 };

static const lens_shape base = {2048, 49152, 576, CBE_NORM_RMS};

/* One row of a table of N, V or d: times of one and of eight directions, to the floor and to the
 * first row. */
static void shape_row(size_t value, lens_shape shape, lens_time *first)
{
    static const lens_work work[] = {{1, true}, {BATCH, true}};
    lens_case c;
    lens_time times[2];
    lens_floor floor;
    lens_case_make(&c, shape, BATCH);
    lens_case_time(&c, ROUNDS, 2, work, times, &floor);
    lens_case_free(&c);
    if (first[0].median == 0) memcpy(first, times, sizeof times);
    printf("  %7zu %9.4f  %9.4f %6.2f %6.2f  %9.4f %6.2f %6.2f\n", value, floor.seconds,
           times[0].median, times[0].median / floor.seconds, times[0].median / first[0].median,
           times[1].median, times[1].median / floor.seconds, times[1].median / first[1].median);
    fflush(stdout);
}

static void shape_table(const char *name, size_t count, const size_t *values, size_t offset)
{
    lens_time first[2] = {{0, 0}, {0, 0}};
    printf("  %7s %9s  %9s %6s %6s  %9s %6s %6s\n", name, "floor, s", "1, s", "/floor", "/first",
           "8, s each", "/floor", "/first");
    for (size_t i = 0; i < count; i++) {
        lens_shape shape = base;
        memcpy((char *)&shape + offset, &values[i], sizeof values[i]);
        shape_row(values[i], shape, first);
    }
}

static void tokens(void)
{
    static const size_t values[] = {512, 1024, 2048, 4096};
    shape_table("N", sizeof values / sizeof *values, values, offsetof(lens_shape, n_tokens));
}

static void vocabulary(void)
{
    static const size_t values[] = {8192, 16384, 32768, 65536, 131072};
    shape_table("V", sizeof values / sizeof *values, values, offsetof(lens_shape, vocab_size));
}

static void hidden(void)
{
    static const size_t values[] = {256, 512, 1024, 2048};
    shape_table("d", sizeof values / sizeof *values, values, offsetof(lens_shape, hidden_size));
}

static void batch(void)
{
    static const lens_work work[] = {{1, true}, {2, true}, {4, true}, {8, true}, {16, true}};
    enum { KINDS = sizeof work / sizeof *work };
    lens_case c;
    lens_time times[KINDS];
    lens_floor floor;
    lens_case_make(&c, base, work[KINDS - 1].batch);
    lens_case_time(&c, ROUNDS, KINDS, work, times, &floor);
    lens_case_free(&c);
    printf("  %7s %9s %6s %6s\n", "batch", "s each", "/floor", "/first");
    for (size_t k = 0; k < KINDS; k++)
        printf("  %7zu %9.4f %6.2f %6.2f\n", work[k].batch, times[k].median,
               times[k].median / floor.seconds, times[k].median / times[0].median);
}

static void threads(void)
{
    const int cores = omp_get_max_threads();
    lens_time first[2] = {{0, 0}, {0, 0}};
    printf("  %7s %9s  %9s %6s %6s  %9s %6s %6s\n", "threads", "floor, s", "1, s", "/floor",
           "/first", "8, s each", "/floor", "/first");
    for (int n = 1; n <= cores; n = n == cores || 2 * n < cores ? 2 * n : cores) {
        omp_set_num_threads(n);
        shape_row((size_t)n, base, first);
    }
    omp_set_num_threads(cores);
}

typedef struct {
    const char *name;
    void (*run)(void);
} table;

static const table tables[] = {
    {"tokens", tokens}, {"vocabulary", vocabulary}, {"hidden", hidden},
    {"batch", batch},   {"threads", threads},
};
enum { TABLES = sizeof tables / sizeof *tables };

static const table *find(const char *name)
{
    for (size_t i = 0; i < TABLES; i++)
        if (strcmp(tables[i].name, name) == 0) return &tables[i];
    return NULL;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!find(argv[i])) {
            fprintf(stderr, "usage: bench_growth [tokens|vocabulary|hidden|batch|threads]...\n");
            return 2;
        }
    printf("energy and gradient, seconds for each direction; N %zu, V %zu, d %zu and %d threads "
           "where nothing else is said\n",
           base.n_tokens, base.vocab_size, base.hidden_size, omp_get_max_threads());
    for (int i = 1; i < argc; i++) find(argv[i])->run();
    for (size_t i = 0; i < TABLES && argc == 1; i++) tables[i].run();
    return 0;
}
