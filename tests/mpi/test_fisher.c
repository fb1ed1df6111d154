/* Label-sampled gradients whose sequences are divided over 3 processes: moments, second-order
 * energies and samples have the bits of one process. */
#include <stdlib.h>
#include <string.h>

#include "fisher/moments.h"
#include "fisher/apart.h"
#include "fisher/sampled_gradients.h"
#include "fisher/second_order.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/in_processes.h"

enum { M = 3, R = 2, STATE = 2, SKIP = 1, MOST_D = 128 };

static cbe_error err;

typedef struct {
    cbe_moments moments;
    cbe_moments_room *room;
    cbe_second_order sums;
    cbe_apart *apart;
} answers;

static cbe_status add(void *context, const cbe_sampled_gradients *g, cbe_error *error)
{
    (void)error;
    answers *a = context;
    cbe_moments_add(&a->moments, a->room, g->n_sequences, SKIP, g->grad);
    cbe_second_order_add(&a->sums, g);
    cbe_apart_add(a->apart, g);
    return CBE_OK;
}

/* All that is made of sequences first .. first + n - 1 of `all`, and by the processes together. */
static void ask(answers *a, const cbe_model *model, const int64_t *ids, const double *v,
                size_t length, size_t all, size_t first, size_t n, const cbe_processes *processes)
{
    const size_t d = cbe_model_get_config(model)->hidden_size;
    bool states[64] = {[STATE] = true};
    const cbe_sampled_gradients_options options = {.n_sequences = n,
                                                   .context_length = length,
                                                   .ids = ids + first * length,
                                                   .first_sequence = first,
                                                   .all_sequences = all,
                                                   .skip_positions = SKIP,
                                                   .states = states,
                                                   .n_draws = R,
                                                   .seed = 1};
    const cbe_apart_options apart = {.hidden_size = d,
                                     .m = M,
                                     .context_length = length,
                                     .skip_positions = SKIP,
                                     .first_sequence = first,
                                     .n_sequences = n,
                                     .all_sequences = all,
                                     .n_draws = R,
                                     .max_batch = 2};
    *a = (answers){.sums = {.hidden_size = d,
                            .m = M,
                            .context_length = length,
                            .skip_positions = SKIP,
                            .first_sequence = first,
                            .all_sequences = all,
                            .n_draws = R,
                            .read = v,
                            .write = v}};
    cbe_assert_ok(cbe_moments_init(&a->moments, d, &err), &err);
    cbe_assert_ok(cbe_moments_room_create(&a->room, d, length, &err), &err);
    cbe_assert_ok(cbe_second_order_init(&a->sums, &err), &err);
    cbe_assert_ok(cbe_apart_create(&a->apart, &apart, v, v, &err), &err);
    cbe_assert_ok(cbe_sampled_gradients_run(model, &options, add, a, &err), &err);
    cbe_moments_add_up(&a->moments, processes);
    cbe_second_order_complete(&a->sums, processes);
    cbe_assert_ok(cbe_apart_complete(a->apart, processes, &err), &err);
}

static void release(answers *a)
{
    cbe_moments_free(&a->moments);
    cbe_moments_room_free(a->room);
    cbe_second_order_free(&a->sums);
    cbe_apart_free(a->apart);
}

static size_t differences(const answers *a, const answers *b, size_t d, size_t all)
{
    double *one = malloc(2 * d * d * sizeof *one), *two = one + d * d;
    const double x[] = {0.5, -1, 2};
    double energy[2], grad[2][M];
    assert_non_null(one);
    cbe_moments_mean(&a->moments, one, NULL);
    cbe_moments_mean(&b->moments, two, NULL);
    size_t wrong = a->moments.n != b->moments.n || memcmp(one, two, d * d * sizeof *one) != 0;
    wrong += memcmp(a->sums.samples, b->sums.samples, all * R * M * sizeof(double)) != 0;
    cbe_apart_eval(a->apart, CBE_SAMPLES_ODD, 1, x, &energy[0], grad[0]);
    cbe_apart_eval(b->apart, CBE_SAMPLES_ODD, 1, x, &energy[1], grad[1]);
    wrong += energy[0] != energy[1] || memcmp(grad[0], grad[1], sizeof grad[0]) != 0;
    wrong += !(energy[0] > 0);
    free(one);
    return wrong;
}

static void compare(const cbe_processes *processes, const char *name, size_t length, size_t all)
{
    char *folder = cbe_golden_path("models/%s", name);
    cbe_model *model = open_model(folder);
    const cbe_model_config *config = cbe_model_get_config(model);
    const size_t rank = cbe_processes_rank(processes), size = cbe_processes_size(processes),
                 first = all * rank / size, n = all * (rank + 1) / size - first;
    double v[M * MOST_D];
    int64_t *ids = malloc(all * length * sizeof *ids);
    assert_true(ids && config->hidden_size <= MOST_D);
    for (size_t i = 0; i < all * length; i++)
        ids[i] = (int64_t)((i * i * 7 + i / 5) % config->vocab_size);
    for (size_t i = 0; i < M * MOST_D; i++) v[i] = (double)(i * i % 31) / 31 - 0.5;
    answers divided, whole;
    ask(&divided, model, ids, v, length, all, first, n, processes);
    ask(&whole, model, ids, v, length, all, 0, all, NULL);
    const size_t wrong = differences(&divided, &whole, config->hidden_size, all);
    release(&divided);
    release(&whole);
    free(ids);
    cbe_model_close(model);
    free(folder);
    assert_int_equal(wrong, 0);
}

static void sequences__divided_give_the_bits_of_all(void **state)
{
    compare(*state, "llama", 130, 7);
    compare(*state, "gemma2", 9, 48);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(sequences__divided_give_the_bits_of_all)};
    return in_processes_run(sizeof tests / sizeof *tests, tests);
}
