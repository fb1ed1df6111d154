/* Starting directions: Gram matrices against plain loops, and eigenvectors of the right
 * matrices. */
#include "search/candidates.h"

#include <math.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/random.h"

enum { D = 7, V = 1100, N = 1050, EACH = 4 }; /* more rows than one block of 1,024 */

typedef struct {
    cbe_decoder decoder;
    float unembedding[V * D], gamma[D], hidden[N * D], weight[D * D];
    double gram[D * D];
} fixture;

static cbe_error err;

static void fill(fixture *f, cbe_norm norm)
{
    cbe_test_random r = {1};
    for (size_t i = 0; i < V * D; i++)
        f->unembedding[i] = (float)cbe_test_normal(&r) * (float)(1 + i % D);
    for (size_t i = 0; i < N * D; i++)
        f->hidden[i] = (float)cbe_test_normal(&r) * (float)(D - i % D) + 0.5f;
    for (size_t i = 0; i < D * D; i++) f->weight[i] = 0.2f * (float)cbe_test_normal(&r);
    for (size_t i = 0; i < D; i++) f->gamma[i] = 1 + 0.1f * (float)i;
    f->decoder = (cbe_decoder){.hidden_size = D,
                               .vocab_size = V,
                               .norm = norm,
                               .norm_eps = 1e-5,
                               .gamma = f->gamma,
                               .unembedding = f->unembedding};
}

/* C W~' W~ C as it reads. */
static void gram_ref(const fixture *f, double *gram)
{
    memset(gram, 0, D * D * sizeof *gram);
    for (size_t t = 0; t < V; t++) {
        double row[D], mean = 0;
        for (size_t k = 0; k < D; k++) {
            row[k] = (double)f->unembedding[t * D + k] * (double)f->gamma[k];
            mean += row[k] / D;
        }
        for (size_t k = 0; k < D && f->decoder.norm == CBE_NORM_LAYER; k++) row[k] -= mean;
        for (size_t i = 0; i < D; i++)
            for (size_t j = 0; j < D; j++) gram[i * D + j] += row[i] * row[j];
    }
}

/* sum of D_n D_n' / |h_n|^2. */
static void moment_ref(const fixture *f, cbe_ablation ablation, double *moment)
{
    double mean[D] = {0};
    memset(moment, 0, D * D * sizeof *moment);
    for (size_t n = 0; n < N && ablation != CBE_ABLATE_ZERO; n++)
        for (size_t k = 0; k < D; k++) mean[k] += (double)f->hidden[n * D + k] / N;
    for (size_t n = 0; n < N; n++) {
        const float *h = f->hidden + n * D;
        double norm2 = 0;
        for (size_t k = 0; k < D; k++) norm2 += (double)h[k] * (double)h[k];
        for (size_t i = 0; i < D; i++)
            for (size_t j = 0; j < D; j++)
                moment[i * D + j] += ((double)h[i] - mean[i]) * ((double)h[j] - mean[j]) / norm2;
    }
}

static double trace(const double *a)
{
    double sum = 0;
    for (size_t k = 0; k < D; k++) sum += a[k * D + k];
    return sum;
}

/* The rows of v are orthonormal eigenvectors of a with falling values, the largest of them. */
static void assert_leading(const double *v, size_t n, const double *a, const char *what)
{
    double before = HUGE_VAL, sum = 0;
    for (size_t i = 0; i < n; i++) {
        double product[D] = {0}, want[D], value = 0;
        for (size_t k = 0; k < D; k++)
            for (size_t l = 0; l < D; l++) product[k] += a[k * D + l] * v[i * D + l];
        for (size_t k = 0; k < D; k++) value += v[i * D + k] * product[k];
        for (size_t k = 0; k < D; k++) want[k] = value * v[i * D + k];
        /* Products in float32 over 1,100 terms: 1e-6 of the trace at most. */
        cbe_assert_close(product, want, D, 2e-6 * trace(a), 0, "%s: vector %zu", what, i);
        assert_true(value <= before);
        before = value;
        sum += value;
        for (size_t j = 0; j <= i; j++) {
            double dot = 0;
            const double one = i == j;
            for (size_t k = 0; k < D; k++) dot += v[i * D + k] * v[j * D + k];
            cbe_assert_close(&dot, &one, 1, 1e-12, 0, "%s: vectors %zu and %zu", what, i, j);
        }
    }
    /* What is left is shared by eigenvalues none of which is larger than the last one taken. */
    assert_true(trace(a) - sum <= (double)(D - n) * before * (1 + 1e-6) + 1e-6 * trace(a));
}

static void gram__meets_plain_loops(void **state)
{
    (void)state;
    static fixture f;
    for (int norm = 0; norm < CBE_N_NORMS; norm++) {
        double want[D * D];
        fill(&f, (cbe_norm)norm);
        cbe_assert_ok(cbe_unembedding_gram(&f.decoder, f.gram, &err), &err);
        gram_ref(&f, want);
        cbe_assert_close(f.gram, want, D * D, 1e-6 * trace(want), 0, "%s",
                         cbe_norm_name((cbe_norm)norm));
    }
}

static void singular__are_the_leading_eigenvectors_of_the_gram_matrix(void **state)
{
    (void)state;
    static fixture f;
    double out[D * D], gram[D * D];
    for (int norm = 0; norm < CBE_N_NORMS; norm++) {
        fill(&f, (cbe_norm)norm);
        cbe_assert_ok(cbe_unembedding_gram(&f.decoder, f.gram, &err), &err);
        const cbe_candidate_input input = {
            &f.decoder, f.gram, {NULL, NULL}, N, f.hidden, CBE_ABLATE_MEAN, NULL, 0, N, 0, NULL};
        cbe_assert_ok(cbe_candidates_singular(&input, D, out, &err), &err);
        gram_ref(&f, gram);
        assert_leading(out, D, gram, cbe_norm_name((cbe_norm)norm));
    }
    /* After centring, (1, .., 1) is in no logit: it comes last. */
    for (size_t k = 1; k < D; k++)
        cbe_assert_close(&out[(D - 1) * D + k], &out[(D - 1) * D], 1, 1e-4, 0, "null");
}

static void singular__see_through_the_translator(void **state)
{
    (void)state;
    static fixture f;
    double out[EACH * D], gram[D * D], a[D * D], left[D * D] = {0}, both[D * D] = {0};
    fill(&f, CBE_NORM_RMS);
    cbe_assert_ok(cbe_unembedding_gram(&f.decoder, f.gram, &err), &err);
    const cbe_candidate_input input = {
        &f.decoder, f.gram, {f.weight, NULL}, N, f.hidden, CBE_ABLATE_MEAN, NULL, 0, N, 0, NULL};
    cbe_assert_ok(cbe_candidates_singular(&input, EACH, out, &err), &err);
    gram_ref(&f, gram);
    for (size_t i = 0; i < D * D; i++) a[i] = (double)f.weight[i] + (i % (D + 1) == 0);
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < D; j++)
            for (size_t k = 0; k < D; k++) left[i * D + j] += a[k * D + i] * gram[k * D + j];
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < D; j++)
            for (size_t k = 0; k < D; k++) both[i * D + j] += left[i * D + k] * a[k * D + j];
    assert_leading(out, EACH, both, "translator");
}

/* The vectors of one family, which come in turn. */
static void take_family(const double *all, size_t family, double *out)
{
    for (size_t i = 0; i < EACH; i++)
        memcpy(out + i * D, all + (i * CBE_CANDIDATE_FAMILIES + family) * D, D * sizeof *out);
}

static void all__has_five_families(void **state)
{
    (void)state;
    static fixture f;
    for (int ablation = 0; ablation < CBE_N_ABLATIONS; ablation++) {
        cbe_start_kind kinds[CBE_CANDIDATE_FAMILIES * EACH];
        double all[CBE_CANDIDATE_FAMILIES * EACH * D], out[EACH * D], gram[D * D], moment[D * D],
            both[D * D];
        fill(&f, CBE_NORM_RMS);
        cbe_assert_ok(cbe_unembedding_gram(&f.decoder, f.gram, &err), &err);
        const cbe_candidate_input input = {
            &f.decoder, f.gram, {f.weight, NULL}, N, f.hidden, (cbe_ablation)ablation, NULL, 0, N,
            0,          NULL};
        const cbe_candidate_input plain = {
            &f.decoder, f.gram, {NULL, NULL}, N, f.hidden, (cbe_ablation)ablation, NULL, 0,
            N,          0,      NULL};
        cbe_assert_ok(cbe_candidates_all(&plain, EACH, all, kinds, &err), &err);
        gram_ref(&f, gram);
        moment_ref(&f, (cbe_ablation)ablation, moment);
        for (size_t i = 0; i < D * D; i++)
            both[i] = gram[i] / trace(gram) + moment[i] / trace(moment);
        take_family(all, 0, out);
        assert_leading(out, EACH, both, "both");
        take_family(all, 1, out);
        assert_leading(out, EACH, gram, "Gram matrix");
        take_family(all, 2, out);
        assert_leading(out, EACH, moment, cbe_ablation_name((cbe_ablation)ablation));
        assert_int_equal(kinds[0], CBE_FROM_BOTH);
        assert_int_equal(kinds[CBE_CANDIDATE_FAMILIES * EACH - 1], CBE_FROM_ENTRY);
        /* Four tokens and entries in the middle of four parts. */
        cbe_assert_ok(cbe_candidates_all(&input, EACH, all, kinds, &err), &err);
        for (size_t i = 0; i < EACH; i++) {
            const size_t token = (2 * i + 1) * N / (2 * EACH), entry = (2 * i + 1) * V / (2 * EACH);
            double want[D], row[D];
            for (size_t k = 0; k < D; k++) {
                double mean = 0;
                for (size_t n = 0; n < N && ablation != CBE_ABLATE_ZERO; n++)
                    mean += (double)f.hidden[n * D + k] / N;
                want[k] = (double)f.hidden[token * D + k] - mean;
                row[k] = (double)f.unembedding[entry * D + k] * (double)f.gamma[k];
            }
            take_family(all, 3, out);
            /* sums of 1,050 doubles */
            cbe_assert_close(out + i * D, want, D, 1e-9, 0, "token %zu", token);
            for (size_t k = 0; k < D; k++) {
                want[k] = row[k];
                for (size_t j = 0; j < D; j++) want[k] += (double)f.weight[j * D + k] * row[j];
            }
            take_family(all, 4, out);
            cbe_assert_close(out + i * D, want, D, 1e-12, 1e-12, "entry %zu", entry);
        }
    }
}

static void all__takes_hidden_states_of_zeros(void **state)
{
    (void)state;
    static fixture f;
    double out[CBE_CANDIDATE_FAMILIES * EACH * D];
    cbe_start_kind kinds[CBE_CANDIDATE_FAMILIES * EACH];
    fill(&f, CBE_NORM_RMS);
    memset(f.hidden, 0, sizeof f.hidden);
    cbe_assert_ok(cbe_unembedding_gram(&f.decoder, f.gram, &err), &err);
    const cbe_candidate_input input = {
        &f.decoder, f.gram, {NULL, NULL}, N, f.hidden, CBE_ABLATE_MEAN, NULL, 0, N, 0, NULL};
    cbe_assert_ok(cbe_candidates_all(&input, EACH, out, kinds, &err), &err);
    for (size_t i = 0; i < CBE_CANDIDATE_FAMILIES * EACH * D; i++) assert_true(isfinite(out[i]));
}

/* Tokens held out may be anything, and the directions of single tokens are those of the others
 * alone. */
static void all__take_nothing_from_tokens_held_out(void **state)
{
    (void)state;
    enum { SEQUENCE = 50 }; /* a fifth of them is held out */
    static fixture f, other;
    static bool held_out[N];
    static float left[N * D];
    double all[CBE_CANDIDATE_FAMILIES * EACH * D], again[CBE_CANDIDATE_FAMILIES * EACH * D],
        alone[CBE_CANDIDATE_FAMILIES * EACH * D], want[EACH * D], out[EACH * D];
    cbe_start_kind kinds[CBE_CANDIDATE_FAMILIES * EACH];
    size_t n_left = 0;
    fill(&f, CBE_NORM_RMS);
    cbe_assert_ok(cbe_unembedding_gram(&f.decoder, f.gram, &err), &err);
    other = f;
    for (size_t n = 0; n < N; n++) {
        held_out[n] = n / SEQUENCE % 5 == 2;
        for (size_t k = 0; k < D && held_out[n]; k++) other.hidden[n * D + k] = (float)(n % 9 + k);
        for (size_t k = 0; k < D && !held_out[n]; k++) left[n_left * D + k] = f.hidden[n * D + k];
        n_left += !held_out[n];
    }
    cbe_candidate_input input = {&f.decoder, f.gram,          {NULL, NULL}, N,
                                 f.hidden,   CBE_ABLATE_MEAN, NULL,         0,
                                 N,          SEQUENCE,        held_out};
    cbe_assert_ok(cbe_candidates_all(&input, EACH, all, kinds, &err), &err);
    input.hidden = other.hidden;
    cbe_assert_ok(cbe_candidates_all(&input, EACH, again, kinds, &err), &err);
    assert_memory_equal(all, again, sizeof all);
    input = (cbe_candidate_input){&f.decoder, f.gram, {NULL, NULL}, n_left,   left, CBE_ABLATE_MEAN,
                                  NULL,       0,      n_left,       SEQUENCE, NULL};
    cbe_assert_ok(cbe_candidates_all(&input, EACH, alone, kinds, &err), &err);
    take_family(all, 3, out);
    take_family(alone, 3, want);
    cbe_assert_close(out, want, EACH * D, 1e-9, 0, "tokens");
    for (size_t family = 0; family < 3; family++) {
        take_family(all, family, out);
        take_family(alone, family, want);
        for (size_t i = 0; i < EACH; i++) {
            const double one = 1;
            double dot = 0; /* of either sign */
            for (size_t k = 0; k < D; k++) dot += out[i * D + k] * want[i * D + k];
            dot = fabs(dot);
            cbe_assert_close(&dot, &one, 1, 1e-6, 0, "family %zu, vector %zu", family, i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gram__meets_plain_loops),
        cmocka_unit_test(singular__are_the_leading_eigenvectors_of_the_gram_matrix),
        cmocka_unit_test(singular__see_through_the_translator),
        cmocka_unit_test(all__has_five_families),
        cmocka_unit_test(all__takes_hidden_states_of_zeros),
        cmocka_unit_test(all__take_nothing_from_tokens_held_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
