/* Second-order energies of directions, tokens apart in a subspace and sequences in all dimensions,
 * from gradients that are made up, against plain loops and differences. */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "fisher/apart.h"
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

static cbe_apart *apart_of(const problem *p, int kind, size_t at_once)
{
    const cbe_apart_options options = {.hidden_size = D,
                                       .m = M,
                                       .context_length = S,
                                       .skip_positions = SKIP,
                                       .first_sequence = 10,
                                       .n_sequences = B,
                                       .all_sequences = 10 + B,
                                       .n_draws = R,
                                       .max_batch = 2,
                                       .replacement = replacement_of(p, kind)};
    cbe_apart *q = NULL;
    cbe_assert_ok(cbe_apart_create(&q, &options, p->read, p->write, &err), &err);
    cbe_memory_fail_after(0);
    for (size_t first = 0; first < B; first += at_once)
        for (size_t draw = 0; draw < R; draw++) {
            const cbe_sampled_gradients g =
                batch_of(p, draw, first, first + at_once < B ? at_once : B - first);
            cbe_apart_add(q, &g);
        }
    cbe_memory_fail_after(-1);
    cbe_assert_ok(cbe_apart_complete(q, NULL, &err), &err);
    return q;
}

/* (D_n . r)(g_n . w) of a token and a draw. */
static double product(const problem *p, int kind, size_t s, size_t n, size_t draw, const double *r,
                      const double *w)
{
    const size_t at = (s * S + SKIP + n) * D;
    double read = 0, written = 0;
    for (size_t k = 0; k < D; k++) {
        const double less = kind == 2   ? (double)p->other[(s * ROWS + n) * D + k]
                            : kind == 1 ? p->mean[k]
                                        : 0;
        read += ((double)p->hidden[at + k] - less) * r[k];
        written += (double)p->grad[draw][at + k] * w[k];
    }
    return read * written;
}

/* What a direction of m coefficients reads and writes. */
static void expand(const problem *p, const double *a, double *r, double *w)
{
    memset(r, 0, D * sizeof *r);
    memset(w, 0, D * sizeof *w);
    for (size_t i = 0; i < M * D; i++) {
        r[i % D] += a[i / D] * p->read[i];
        w[i % D] += a[i / D] * p->write[i];
    }
}

/* The energy of removing n directions (n, M) together. The other 10 sequences have samples of
 * 0. */
static double apart(const problem *p, int kind, cbe_samples samples, size_t n, const double *a)
{
    double r[3][D], w[3][D], sum = 0;
    for (size_t j = 0; j < n; j++) expand(p, a + j * M, r[j], w[j]);
    for (size_t s = 0; s < B; s++)
        for (size_t t = 0; t < R * ROWS; t++) {
            if (samples != CBE_SAMPLES_ALL && s % 2 != (samples == CBE_SAMPLES_ODD)) continue;
            double x = 0;
            for (size_t j = 0; j < n; j++) x += product(p, kind, s, t / R, t % R, r[j], w[j]);
            sum += x * x;
        }
    const double count = samples == CBE_SAMPLES_ALL ? 10 + B : samples == CBE_SAMPLES_EVEN ? 8 : 7;
    return sum / (2 * count * R * ROWS);
}

/* Float32 rounds the products: 1e-5 of what they would be at their largest. */
static void apart__is_the_mean_over_tokens(void **state)
{
    (void)state;
    problem *p = make();
    cbe_test_random r = {7};
    double a[3 * M], moved[2 * M], energy[2], side[2][2], grad[2 * M];
    fill(&r, 3 * M, NULL, a);
    for (int kind = 0; kind < 6; kind++) {
        const size_t removed = kind / 3;
        cbe_apart *q = apart_of(p, kind % 3, 2);
        cbe_apart_set_removed(q, 1, a);
        cbe_apart_set_removed(q, removed, a + 2 * M);
        for (int samples = 0; samples < CBE_N_SAMPLES; samples++) {
            cbe_memory_fail_after(0);
            cbe_apart_eval(q, (cbe_samples)samples, 2, a, energy, grad);
            cbe_memory_fail_after(-1);
            for (size_t j = 0; j < 2; j++) {
                double both[2 * M];
                memcpy(both, a + j * M, M * sizeof *a);
                memcpy(both + M, a + 2 * M, M * sizeof *a);
                const double want = apart(p, kind % 3, (cbe_samples)samples, 1 + removed, both);
                cbe_assert_close(&energy[j], &want, 1, 0, 1e-5, "kind %d, samples %d", kind,
                                 samples);
            }
            for (size_t i = 0; i < M; i++) {
                const double step = 1e-2;
                for (size_t up = 0; up < 2; up++) {
                    memcpy(moved, a, sizeof moved);
                    for (size_t j = 0; j < 2; j++) moved[j * M + i] += up ? step : -step;
                    cbe_apart_eval(q, (cbe_samples)samples, 2, moved, side[up], NULL);
                }
                for (size_t j = 0; j < 2; j++) {
                    const double want = (side[1][j] - side[0][j]) / (2 * step);
                    cbe_assert_close(&grad[j * M + i], &want, 1, 1e-3 * energy[j], 1e-3,
                                     "gradient %zu", i);
                }
            }
        }
        cbe_apart_free(q);
    }
    free(p);
}

static void apart__has_the_same_bits_in_any_batches_and_threads(void **state)
{
    (void)state;
    problem *p = make();
    cbe_test_random r = {8};
    double a[3 * M], want[2 * M + 2], got[2 * M + 2];
    fill(&r, 3 * M, NULL, a);
    const int threads = omp_get_max_threads();
    cbe_apart *q = apart_of(p, 1, 5);
    cbe_apart_set_removed(q, 1, a + 2 * M);
    cbe_apart_eval(q, CBE_SAMPLES_ALL, 2, a, want, want + 2);
    cbe_apart_free(q);
    omp_set_num_threads(threads == 1 ? 3 : 1);
    q = apart_of(p, 1, 1);
    cbe_apart_set_removed(q, 1, a + 2 * M);
    cbe_apart_eval(q, CBE_SAMPLES_ALL, 2, a, got, got + 2);
    cbe_apart_free(q);
    omp_set_num_threads(threads);
    assert_memory_equal(got, want, sizeof want);
    free(p);
}

/* The sum of a sequence and a draw. */
static double inner(const problem *p, int kind, size_t s, size_t draw, const double *r,
                    const double *w)
{
    double sum = 0;
    for (size_t n = 0; n < ROWS; n++) sum += product(p, kind, s, n, draw, r, w);
    return sum;
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
            double want = 0, squares = 0;
            const double n = 10 + B;
            for (size_t i = 0; i < B * R; i++) {
                const double x = inner(p, kind, i / R, i % R, p->read + j * D, p->write + j * D);
                want += x * x / (2 * n * R * ROWS);
            }
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
        cmocka_unit_test(apart__is_the_mean_over_tokens),
        cmocka_unit_test(apart__has_the_same_bits_in_any_batches_and_threads),
        cmocka_unit_test(second_order__is_the_mean_of_squared_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
