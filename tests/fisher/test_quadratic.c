/* Second-order energies of directions in a subspace and in all dimensions, from gradients that are
 * made up, against plain loops and differences. */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "fisher/quadratic.h"
#include "fisher/second_order.h"
#include "support/random.h"

enum { D = 20, M = 6, S = 8, SKIP = 1, ROWS = S - SKIP, B = 5, R = 3, TOKENS = B * S };

static cbe_error err;

typedef struct {
    double read[M * D], write[M * D], mean[D];
    float hidden[TOKENS * D], other[B * ROWS * D], grad[R][TOKENS * D];
} problem;

static void fill(cbe_test_random *r, size_t n, float *floats, double *doubles)
{
    for (size_t i = 0; i < n; i++) {
        const double x = cbe_test_normal(r);
        if (floats) floats[i] = (float)x;
        if (doubles) doubles[i] = (double)(float)x;
    }
}

static problem *make(void)
{
    cbe_test_random r = {5};
    problem *p = malloc(sizeof *p);
    assert_non_null(p);
    fill(&r, M * D, NULL, p->read);
    fill(&r, M * D, NULL, p->write);
    fill(&r, D, NULL, p->mean);
    fill(&r, TOKENS * D, p->hidden, NULL);
    fill(&r, B * ROWS * D, p->other, NULL);
    for (size_t draw = 0; draw < R; draw++) fill(&r, TOKENS * D, p->grad[draw], NULL);
    return p;
}

static cbe_replacement replacement_of(const problem *p, int kind)
{
    return (cbe_replacement){kind == 1 ? p->mean : NULL, kind == 2 ? p->other : NULL};
}

/* Gradients of n sequences from `first` on. */
static cbe_sampled_gradients batch_of(const problem *p, size_t draw, size_t first, size_t n)
{
    return (cbe_sampled_gradients){
        draw, 3, 10 + first, n, p->hidden + first * S * D, p->grad[draw] + first * S * D};
}

static cbe_quadratic *quadratic_of(const problem *p, int kind, size_t at_once)
{
    const cbe_quadratic_options options = {.hidden_size = D,
                                           .m = M,
                                           .context_length = S,
                                           .skip_positions = SKIP,
                                           .first_sequence = 10,
                                           .n_sequences = B,
                                           .all_sequences = 10 + B,
                                           .n_draws = R,
                                           .replacement = replacement_of(p, kind)};
    cbe_quadratic *q = NULL;
    cbe_assert_ok(cbe_quadratic_create(&q, &options, p->read, p->write, &err), &err);
    cbe_memory_fail_after(0);
    for (size_t first = 0; first < B; first += at_once)
        for (size_t draw = 0; draw < R; draw++) {
            const cbe_sampled_gradients g =
                batch_of(p, draw, first, first + at_once < B ? at_once : B - first);
            cbe_quadratic_add(q, &g);
        }
    cbe_memory_fail_after(-1);
    cbe_assert_ok(cbe_quadratic_complete(q, NULL, &err), &err);
    return q;
}

/* sum over n of (D_n . r)(g_n . w) of a sample of one direction. */
static double inner(const problem *p, int kind, size_t s, size_t draw, const double *r,
                    const double *w)
{
    double sum = 0;
    for (size_t n = 0; n < ROWS; n++) {
        const size_t at = (s * S + SKIP + n) * D;
        double read = 0, written = 0;
        for (size_t k = 0; k < D; k++) {
            const double less = kind == 2   ? (double)p->other[(s * ROWS + n) * D + k]
                                : kind == 1 ? p->mean[k]
                                            : 0;
            read += ((double)p->hidden[at + k] - less) * r[k];
            written += (double)p->grad[draw][at + k] * w[k];
        }
        sum += read * written;
    }
    return sum;
}

/* The other 10 sequences have samples of 0. */
static double plain(const problem *p, int kind, cbe_samples samples, const double *a)
{
    double r[D] = {0}, w[D] = {0}, sum = 0;
    for (size_t i = 0; i < M * D; i++) {
        r[i % D] += a[i / D] * p->read[i];
        w[i % D] += a[i / D] * p->write[i];
    }
    for (size_t s = 0; s < B; s++)
        for (size_t draw = 0; draw < R; draw++)
            if (samples == CBE_SAMPLES_ALL || s % 2 == (samples == CBE_SAMPLES_ODD)) {
                const double x = inner(p, kind, s, draw, r, w);
                sum += x * x;
            }
    const double n = samples == CBE_SAMPLES_ALL ? 10 + B : samples == CBE_SAMPLES_EVEN ? 8 : 7;
    return sum / (2 * n * R * ROWS);
}

/* Float32 rounds the products: 1e-5 of what they would be at their largest. */
static void quadratic__is_the_mean_of_squared_forms(void **state)
{
    (void)state;
    problem *p = make();
    cbe_test_random r = {7};
    double a[2 * M], moved[2 * M], energy[2], side[2][2], grad[2 * M];
    fill(&r, 2 * M, NULL, a);
    for (int kind = 0; kind < 3; kind++) {
        cbe_quadratic *q = quadratic_of(p, kind, 2);
        for (int samples = 0; samples < CBE_N_SAMPLES; samples++) {
            cbe_memory_fail_after(0);
            cbe_quadratic_eval(q, (cbe_samples)samples, 2, a, energy, grad);
            cbe_memory_fail_after(-1);
            for (size_t j = 0; j < 2; j++) {
                const double want = plain(p, kind, (cbe_samples)samples, a + j * M);
                cbe_assert_close(&energy[j], &want, 1, 0, 1e-5, "kind %d, samples %d", kind,
                                 samples);
            }
            for (size_t i = 0; i < M; i++) {
                for (size_t up = 0; up < 2; up++) {
                    memcpy(moved, a, sizeof moved);
                    for (size_t j = 0; j < 2; j++) moved[j * M + i] += up ? 1e-4 : -1e-4;
                    cbe_quadratic_eval(q, (cbe_samples)samples, 2, moved, side[up], NULL);
                }
                for (size_t j = 0; j < 2; j++) {
                    const double want = (side[1][j] - side[0][j]) / 2e-4;
                    cbe_assert_close(&grad[j * M + i], &want, 1, 1e-6 * energy[j], 1e-6,
                                     "gradient %zu", i);
                }
            }
        }
        cbe_quadratic_free(q);
    }
    free(p);
}

static void quadratic__has_the_same_bits_in_any_batches_and_threads(void **state)
{
    (void)state;
    problem *p = make();
    cbe_test_random r = {8};
    double a[3 * M], want[3 * M + 3], got[3 * M + 3];
    fill(&r, 3 * M, NULL, a);
    const int threads = omp_get_max_threads();
    cbe_quadratic *q = quadratic_of(p, 1, 5);
    cbe_quadratic_eval(q, CBE_SAMPLES_ALL, 3, a, want, want + 3);
    cbe_quadratic_free(q);
    omp_set_num_threads(threads == 1 ? 3 : 1);
    q = quadratic_of(p, 1, 1);
    cbe_quadratic_eval(q, CBE_SAMPLES_ALL, 3, a, got, got + 3);
    cbe_quadratic_free(q);
    omp_set_num_threads(threads);
    assert_memory_equal(got, want, sizeof want);
    free(p);
}

static void second_order__is_the_mean_of_squared_sums(void **state)
{
    (void)state;
    problem *p = make();
    for (int kind = 0; kind < 3; kind++) {
        double energy[M], error[M];
        cbe_second_order sums = {.hidden_size = D,
                                 .m = M,
                                 .context_length = S,
                                 .skip_positions = SKIP,
                                 .first_sequence = 10,
                                 .all_sequences = 10 + B,
                                 .n_draws = R,
                                 .read = p->read,
                                 .write = p->write,
                                 .replacement = replacement_of(p, kind)};
        cbe_assert_ok(cbe_second_order_init(&sums, &err), &err);
        for (size_t draw = 0; draw < R; draw++) {
            const cbe_sampled_gradients g = batch_of(p, draw, 0, B);
            cbe_second_order_add(&sums, &g);
        }
        cbe_second_order_complete(&sums, NULL);
        cbe_second_order_energies(&sums, energy, error);
        for (size_t j = 0; j < M; j++) {
            double a[M] = {0}, squares = 0;
            a[j] = 1;
            const double want = plain(p, kind, CBE_SAMPLES_ALL, a), n = 10 + B;
            cbe_assert_close(&energy[j], &want, 1, 0, 1e-12, "kind %d, direction %zu", kind, j);
            for (size_t s = 0; s < B; s++) {
                double own = 0;
                for (size_t draw = 0; draw < R; draw++) {
                    const double x = inner(p, kind, s, draw, p->read + j * D, p->write + j * D);
                    own += x * x / (2 * R * ROWS);
                }
                squares += own * own;
            }
            const double se = sqrt((squares / n - want * want) / (n - 1));
            cbe_assert_close(&error[j], &se, 1, 0, 1e-10, "error %zu", j);
        }
        cbe_second_order_free(&sums);
    }
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quadratic__is_the_mean_of_squared_forms),
        cmocka_unit_test(quadratic__has_the_same_bits_in_any_batches_and_threads),
        cmocka_unit_test(second_order__is_the_mean_of_squared_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
