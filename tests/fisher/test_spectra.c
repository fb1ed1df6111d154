/* Spectra of a model's layers against the same made in one go from all states and gradients; their
 * bits where states are taken in groups, and where a run is interrupted and goes on. */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fisher/spectra.h"
#include "math/eigen.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/temp_folder.h"

enum { S = 9, B = 6, R = 2, SKIP = 1, N = B * (S - SKIP) };

static cbe_error err;

static const size_t states[] = {1, 3};

static cbe_spectra_options options_of(const int64_t *ids)
{
    return (cbe_spectra_options){.gradients = {.n_sequences = B,
                                               .context_length = S,
                                               .ids = ids,
                                               .all_sequences = B,
                                               .skip_positions = SKIP,
                                               .n_draws = R,
                                               .seed = 5},
                                 .n_states = 2,
                                 .states = states};
}

/* Rows of both states that are not skipped. */
typedef struct {
    size_t d;
    double *hidden[2], *grad[2]; /* (N, d), (R N, d) */
} rows;

static cbe_status take(void *context, const cbe_sampled_gradients *g, cbe_error *error)
{
    (void)error;
    rows *r = context;
    const size_t which = g->state == states[1];
    for (size_t i = 0; i < g->n_sequences * S; i++) {
        if (i % S < SKIP) continue;
        const size_t n = (g->first + i / S) * (S - SKIP) + i % S - SKIP;
        for (size_t k = 0; k < r->d; k++) {
            r->hidden[which][n * r->d + k] = (double)g->hidden[i * r->d + k];
            r->grad[which][(g->draw * N + n) * r->d + k] = (double)g->grad[i * r->d + k];
        }
    }
    return CBE_OK;
}

/* The mean of x x' (d, d) of n rows; centred: about their mean. */
static double *square_of(size_t d, size_t n, const double *x, bool centred)
{
    double *out = calloc(d * d, sizeof *out), *mean = calloc(d, sizeof *mean);
    assert_true(out && mean);
    for (size_t i = 0; i < n * d && centred; i++) mean[i % d] += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d * d; j++)
            out[j] +=
                (x[i * d + j / d] - mean[j / d]) * (x[i * d + j % d] - mean[j % d]) / (double)n;
    free(mean);
    return out;
}

static void multiply(size_t d, const double *a, const double *b, double *out)
{
    for (size_t i = 0; i < d * d; i++) {
        out[i] = 0;
        for (size_t k = 0; k < d; k++) out[i] += a[i / d * d + k] * b[k * d + i % d];
    }
}

/* Half the eigenvalues of S^(1/2) M S^(1/2), the root made of S's eigenvectors. */
static void compare(const cbe_state_spectrum *got, size_t d, const rows *r, size_t which)
{
    double *s = square_of(d, N, r->hidden[which], true),
           *m = square_of(d, R * N, r->grad[which], false),
           *work = malloc(2 * d * d * sizeof *work), *root = work + d * d,
           *values = malloc(d * sizeof *values);
    assert_true(work && values);
    cbe_assert_ok(cbe_eigen_symmetric(d, s, values, &err), &err);
    for (size_t i = 0; i < d; i++) values[i] = fmax(values[i], 0);
    cbe_assert_close(got->variances, values, d, 1e-12 * values[0], 1e-9, "variances");
    for (size_t i = 0; i < d * d; i++) {
        root[i] = 0;
        for (size_t k = 0; k < d; k++)
            root[i] += s[k * d + i / d] * sqrt(values[k]) * s[k * d + i % d];
    }
    multiply(d, root, m, work);
    multiply(d, work, root, m);
    cbe_assert_ok(cbe_eigen_symmetric(d, m, values, &err), &err);
    for (size_t i = 0; i < d; i++) values[i] = fmax(values[i], 0) / 2;
    cbe_assert_close(got->energies, values, d, 1e-9 * values[0], 1e-9, "energies");
    assert_true(got->energy.largest == got->energies[0] && got->energy.sum > 0);
    free(s);
    free(m);
    free(work);
    free(values);
}

static void spectra__are_those_of_all_states_and_gradients(void **state)
{
    (void)state;
    char *folder = cbe_golden_path("models/llama");
    cbe_model *model = open_model(folder);
    const cbe_model_config *config = cbe_model_get_config(model);
    const size_t d = config->hidden_size;
    int64_t ids[B * S];
    for (size_t i = 0; i < B * S; i++) ids[i] = (int64_t)((i * i * 7 + 3) % config->vocab_size);
    cbe_spectra_options options = options_of(ids);
    cbe_state_spectrum spectra[2] = {{0}}, grouped[4] = {{0}};
    cbe_assert_ok(cbe_spectra_run(model, &options, spectra, &err), &err);
    bool wanted[64] = {false};
    rows r = {.d = d};
    for (size_t i = 0; i < 2; i++) {
        wanted[states[i]] = true;
        r.hidden[i] = calloc(N * d, sizeof(double));
        r.grad[i] = calloc(R * N * d, sizeof(double));
        assert_true(r.hidden[i] && r.grad[i]);
    }
    cbe_sampled_gradients_options gradients = options.gradients;
    gradients.states = wanted;
    cbe_assert_ok(cbe_sampled_gradients_run(model, &gradients, take, &r, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(spectra[i].state, states[i]);
        assert_int_equal(spectra[i].n_tokens, N);
        compare(&spectra[i], d, &r, i);
    }
    /* All states, on the least memory with which the run begins: sums of some at a time. */
    static const size_t all[] = {0, 1, 2, 3};
    cbe_spectra_plan plan;
    options.n_states = 4;
    options.states = all;
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    for (options.gradients.memory = 1 << 16;
         cbe_spectra_choose(&plan, model, &options, &err) != CBE_OK;
         options.gradients.memory += 1 << 14)
        assert_non_null(strstr(err.message, "MB at least"));
    assert_true(plan.n_groups > 1 && plan.n_groups * plan.n_states >= 4);
    cbe_assert_ok(cbe_spectra_run(model, &options, grouped, &err), &err);
    omp_set_num_threads(threads);
    for (size_t i = 0; i < 4; i++) assert_int_equal(grouped[i].state, i);
    for (size_t i = 0; i < 2; i++) {
        const cbe_state_spectrum *same = &grouped[states[i]];
        assert_memory_equal(same->energies, spectra[i].energies, d * sizeof(double));
        assert_memory_equal(same->variances, spectra[i].variances, d * sizeof(double));
        cbe_state_spectrum_free(&spectra[i]);
        free(r.hidden[i]);
        free(r.grad[i]);
    }
    for (size_t i = 0; i < 4; i++) cbe_state_spectrum_free(&grouped[i]);
    cbe_model_close(model);
    free(folder);
}

/* A run that is cancelled after so many calls of its progress. */
typedef struct {
    size_t calls, most;
} patience;

static bool wait_for(void *context, size_t done, size_t total)
{
    patience *p = context;
    assert_true(done <= total);
    return p->calls++ < p->most;
}

static cbe_status accept_any(void *context, const cbe_safetensors *file, cbe_error *error)
{
    (void)context;
    (void)file;
    (void)error;
    return CBE_OK;
}

static void note_place(void *context, size_t n_sequences, size_t n_done)
{
    size_t *place = context;
    place[0] = n_sequences;
    place[1] = n_done;
}

/* The least memory with which a run of these options begins. */
static size_t least_memory(const cbe_model *model, cbe_spectra_options options)
{
    cbe_spectra_plan plan;
    for (options.gradients.memory = 1 << 16;
         cbe_spectra_choose(&plan, model, &options, &err) != CBE_OK;)
        options.gradients.memory += 1 << 14;
    return options.gradients.memory;
}

/* Cancelled anywhere, in each group of states, a run goes on behind the last batch that was whole,
 * on more memory too. On less memory than its sums take it does not. */
static void a_run_that_is_cancelled__goes_on_to_the_same_bits(void **state)
{
    static const size_t all[] = {0, 1, 2, 3};
    enum { N_STATES = 4, MOST = 1000 };
    char *folder = cbe_golden_path("models/llama");
    cbe_model *model = open_model(folder);
    const cbe_model_config *config = cbe_model_get_config(model);
    const size_t d = config->hidden_size;
    int64_t ids[B * S];
    for (size_t i = 0; i < B * S; i++) ids[i] = (int64_t)((i * i * 5 + 1) % config->vocab_size);
    const char *path = temp_path(state, "checkpoint.safetensors");
    const cbe_folder_mark mark = cbe_folder_mark_of_file(path);
    static const char *const pairs[] = {"format", "a test"};
    size_t place[2] = {0, 0};
    cbe_spectra_checkpoint checkpoint = {.path = path,
                                         .folder = &mark,
                                         .resume = true,
                                         .n_pairs = 1,
                                         .pairs = pairs,
                                         .compare = accept_any,
                                         .found = note_place,
                                         .context = place};
    cbe_state_spectrum whole[N_STATES] = {{0}};
    cbe_spectra_options options = options_of(ids);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    options.n_states = N_STATES;
    options.states = all;
    cbe_assert_ok(cbe_spectra_run(model, &options, whole, &err), &err);
    const size_t few = least_memory(model, options);
    patience p = {0, 0};
    options.checkpoint = &checkpoint;
    options.gradients.progress = wait_for;
    options.gradients.context = &p;
    size_t groups_seen = 0, sequences_seen = 0, runs = 0;
    for (bool done = false; !done; runs++) {
        cbe_state_spectrum out[N_STATES] = {{0}};
        assert_true(runs < MOST);
        p = (patience){0, 2 + runs % (2 * R + 1)}; /* a batch has R + 1 calls */
        /* Little memory at first, and so groups, which stay; more from the third run on. */
        options.gradients.memory = runs < 3 ? few : 0;
        place[0] = place[1] = 0;
        const cbe_status st = cbe_spectra_run(model, &options, out, &err);
        sequences_seen += place[0] > 0;
        groups_seen += place[1] > 0 && place[1] < N_STATES;
        done = st == CBE_OK;
        if (!done) assert_int_equal(st, CBE_ERR_CANCELLED);
        for (size_t i = 0; i < N_STATES; i++) {
            if (done) {
                assert_int_equal(out[i].n_tokens, whole[i].n_tokens);
                assert_memory_equal(out[i].energies, whole[i].energies, d * sizeof(double));
                assert_memory_equal(out[i].variances, whole[i].variances, d * sizeof(double));
                assert_memory_equal(&out[i].energy, &whole[i].energy, sizeof whole[i].energy);
            }
            cbe_state_spectrum_free(&out[i]);
        }
    }
    assert_true(runs > 4 && sequences_seen > 2);
    /* All is done: nothing runs, and the result is there again. */
    cbe_state_spectrum out[N_STATES] = {{0}};
    p = (patience){0, 0};
    cbe_assert_ok(cbe_spectra_run(model, &options, out, &err), &err);
    assert_memory_equal(out[2].energies, whole[2].energies, d * sizeof(double));
    for (size_t i = 0; i < N_STATES; i++) cbe_state_spectrum_free(&out[i]);
    /* Sums of all states in memory, and then room for some. */
    assert_int_equal(remove(path), 0);
    p.most = 3;
    options.gradients.memory = 0;
    assert_int_equal(cbe_spectra_run(model, &options, out, &err), CBE_ERR_CANCELLED);
    options.gradients.memory = few;
    assert_int_equal(cbe_spectra_run(model, &options, out, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "sums of 4 layers in memory at once"));
    omp_set_num_threads(threads);
    for (size_t i = 0; i < N_STATES; i++) cbe_state_spectrum_free(&whole[i]);
    cbe_model_close(model);
    free(folder);
    print_message("%zu runs, %zu went on behind groups that were done\n", runs, groups_seen);
    assert_true(groups_seen > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spectra__are_those_of_all_states_and_gradients),
        cmocka_unit_test(a_run_that_is_cancelled__goes_on_to_the_same_bits),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
