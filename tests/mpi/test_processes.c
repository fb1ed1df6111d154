/* Sums, lists, rows and messages between processes, of which mpirun starts 3. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "processes/processes.h"
#include "core/fail.h"
#include "core/memory.h"
#include "processes/long_sums.h"
#include "support/in_processes.h"

static cbe_error err;

static cbe_processes *all_of(void **state)
{
    return *state;
}

static void sum__is_that_of_all(void **state)
{
    const cbe_processes *p = all_of(state);
    const size_t rank = cbe_processes_rank(p), size = cbe_processes_size(p);
    double x[1000];
    for (size_t i = 0; i < 1000; i++) x[i] = (double)(i + 1) * (double)(rank + 1) / 3;
    cbe_processes_sum(p, 1000, x);
    for (size_t i = 0; i < 1000; i++)
        assert_true(fabs(x[i] - (double)(i + 1) * (double)(size * (size + 1)) / 6) < 1e-9);
    /* The same bits in all. */
    double first[1000];
    memcpy(first, x, sizeof x);
    cbe_processes_broadcast(p, sizeof first, first);
    assert_memory_equal(first, x, sizeof x);
}

/* Shares of a list that add up to its sum, all digits of it. */
static void add_up__has_the_bits_of_one_process(void **state)
{
    enum { N = 700, TERMS = 30 };
    const cbe_processes *p = all_of(state);
    const size_t rank = cbe_processes_rank(p), size = cbe_processes_size(p);
    static cbe_long_sum mine[N], all[N];
    for (size_t i = 0; i < N; i++) {
        mine[i] = all[i] = (cbe_long_sum){0, 0};
        for (size_t t = 0; t < TERMS; t++) {
            const double x = sin((double)(i * TERMS + t)) * pow(10, (double)(t % 17) - 8);
            cbe_long_add(&all[i], x);
            if (t % size == rank) cbe_long_add(&mine[i], x);
        }
    }
    cbe_processes_add_up(p, N, mine);
    for (size_t i = 0; i < N; i++) assert_true(cbe_long_value(&mine[i]) == cbe_long_value(&all[i]));
}

static void list__and_join_are_in_the_order_of_ranks(void **state)
{
    const cbe_processes *p = all_of(state);
    const size_t rank = cbe_processes_rank(p);
    size_t all[3];
    cbe_processes_list(p, 10 * rank + 1, all);
    for (size_t r = 0; r < 3; r++) assert_int_equal(all[r], 10 * r + 1);
    static const size_t lower[] = {0, 1, 12};
    size_t before, total;
    cbe_processes_place(p, 10 * rank + 1, &before, &total);
    assert_int_equal(total, 33);
    assert_int_equal(before, lower[rank]);
    /* One has nothing. */
    const size_t counts[3] = {2, 0, 3};
    const double mine[3] = {(double)rank, (double)rank + 0.25, (double)rank + 0.5},
                 want[5] = {0, 0.25, 2, 2.25, 2.5};
    double joined[5];
    cbe_processes_join(p, mine, counts, joined);
    assert_memory_equal(joined, want, sizeof want);
}

static void fetch_rows__brings_them_in_the_order_asked(void **state)
{
    enum { WIDTH = 3 };
    const cbe_processes *p = all_of(state);
    const size_t first[4] = {0, 2, 2, 7}, rank = cbe_processes_rank(p);
    float rows[5][WIDTH], got[6][WIDTH];
    for (size_t i = first[rank]; i < first[rank + 1]; i++)
        for (size_t k = 0; k < WIDTH; k++) rows[i - first[rank]][k] = (float)(10 * i + k);
    const size_t wanted[3][6] = {{6, 0, 2, 6, 1, 3}, {1, 4, 0, 5, 2, 3}, {0}}, n[3] = {6, 6, 1};
    cbe_assert_ok(
        cbe_processes_fetch_rows(p, first, WIDTH, rows[0], n[rank], wanted[rank], got[0], &err),
        &err);
    for (size_t i = 0; i < n[rank]; i++)
        for (size_t k = 0; k < WIDTH; k++)
            assert_true(got[i][k] == (float)(10 * wanted[rank][i] + k));
    /* One that has no memory for it: all are told. */
    cbe_memory_fail_after(rank == 1 ? 0 : -1);
    const cbe_status st =
        cbe_processes_fetch_rows(p, first, WIDTH, rows[0], n[rank], wanted[rank], got[0], &err);
    cbe_memory_fail_after(-1);
    assert_int_equal(st, CBE_ERR_NOMEM);
    assert_non_null(strstr(err.message, "process 1: "));
}

static void agree__tells_all_of_the_lowest_that_failed(void **state)
{
    const cbe_processes *p = all_of(state);
    const size_t rank = cbe_processes_rank(p);
    cbe_assert_ok(cbe_processes_agree(p, CBE_OK, &err), &err);
    cbe_status st = rank == 0 ? CBE_OK
                              : cbe_fail(&err, rank == 1 ? CBE_ERR_IO : CBE_ERR_ARG, -1,
                                         "file %zu is missing", rank);
    assert_int_equal(cbe_processes_agree(p, st, &err), CBE_ERR_IO);
    assert_string_equal(err.message, "process 1: file 1 is missing");
    st = cbe_fail(&err, CBE_ERR_ARG, -1, "the same everywhere");
    assert_int_equal(cbe_processes_agree(p, st, &err), CBE_ERR_ARG);
    assert_string_equal(err.message, "the same everywhere");
}

static void messages__come_whole_and_in_order(void **state)
{
    cbe_processes *p = all_of(state);
    enum { N = 20 };
    for (size_t i = 0; i < N && cbe_processes_rank(p) > 0; i++) {
        char text[400];
        const size_t bytes = (size_t)snprintf(text, sizeof text, "%zu %zu %*s",
                                              cbe_processes_rank(p), i, (int)(i * 10 + 1), "");
        cbe_assert_ok(cbe_processes_send(p, bytes + 1, text, &err), &err);
    }
    size_t next[3] = {0, 0, 0};
    for (size_t i = 0; i < 2 * N && cbe_processes_rank(p) == 0; i++) {
        size_t from, bytes, sender, number;
        void *data;
        cbe_assert_ok(cbe_processes_receive(p, true, &from, &bytes, &data, &err), &err);
        assert_int_equal(strlen(data) + 1, bytes);
        assert_int_equal(sscanf(data, "%zu %zu", &sender, &number), 2);
        assert_int_equal(sender, from);
        assert_int_equal(number, next[from]++);
        cbe_free(data);
    }
    /* There is no more. */
    size_t from, bytes;
    void *data;
    cbe_assert_ok(cbe_processes_agree(p, CBE_OK, &err), &err);
    if (cbe_processes_rank(p) == 0)
        cbe_assert_ok(cbe_processes_receive(p, false, &from, &bytes, &data, &err), &err);
    if (cbe_processes_rank(p) == 0) assert_null(data);
}

static void split__makes_groups_of_neighbours(void **state)
{
    const cbe_processes *p = all_of(state);
    cbe_processes *group = NULL;
    assert_int_equal(cbe_processes_on_machine(p), 3);
    cbe_assert_ok(cbe_processes_split(&group, p, 1, &err), &err);
    assert_null(group);
    assert_int_equal(cbe_processes_split(&group, p, 2, &err), CBE_ERR_ARG);
    cbe_assert_ok(cbe_processes_split(&group, p, 3, &err), &err);
    assert_int_equal(cbe_processes_rank(group), cbe_processes_rank(p));
    assert_int_equal(cbe_processes_size(group), 3);
    double x = 1;
    cbe_processes_sum(group, 1, &x);
    assert_true(x == 3);
    cbe_processes_free(group);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(sum__is_that_of_all),
        cmocka_unit_test(add_up__has_the_bits_of_one_process),
        cmocka_unit_test(list__and_join_are_in_the_order_of_ranks),
        cmocka_unit_test(fetch_rows__brings_them_in_the_order_asked),
        cmocka_unit_test(agree__tells_all_of_the_lowest_that_failed),
        cmocka_unit_test(messages__come_whole_and_in_order),
        cmocka_unit_test(split__makes_groups_of_neighbours),
    };
    return in_processes_run(sizeof tests / sizeof *tests, tests);
}
