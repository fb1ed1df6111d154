/* Lists of distinct maxima: order, directions that are equal up to sign, and what a full list
 * drops. */
#include "search/maxima.h"

#include <math.h>
#include <string.h>

#include "support/assert_close.h"

enum { D = 100 };

static cbe_error err;

/* The i-th axis, turned towards the last by an angle. */
static void axis(double *v, size_t i, double angle)
{
    memset(v, 0, D * sizeof *v);
    v[i] = cos(angle);
    v[D - 1] = sin(angle);
}

static void add__keeps_the_highest_first_and_equal_directions_once(void **state)
{
    (void)state;
    cbe_maxima m = {0};
    double v[D];
    cbe_assert_ok(cbe_maxima_init(&m, D, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        axis(v, i, 0);
        cbe_maxima_add(&m, v, (double)(i + 1), CBE_FROM_RANDOM);
    }
    axis(v, 0, 0.1); /* cosine 0.995: the first again, and highest now */
    for (size_t k = 0; k < D; k++) v[k] = -v[k];
    cbe_maxima_add(&m, v, 9, CBE_FROM_RANDOM);
    axis(v, 1, 0.1); /* the second again, but lower */
    cbe_maxima_add(&m, v, 1.5, CBE_FROM_RANDOM);
    axis(v, 2, 0.2); /* cosine 0.98: another one */
    cbe_maxima_add(&m, v, 0.5, CBE_FROM_RANDOM);
    assert_int_equal(m.n, 4);
    const double energies[] = {9, 3, 2, 0.5};
    for (size_t i = 0; i < 4; i++) assert_true(m.list[i].energy == energies[i]);
    assert_true(m.list[0].v[0] == -cos(0.1) && m.list[1].v[2] == 1 && m.list[2].v[1] == 1);
    cbe_maxima_remove(&m, 1);
    assert_int_equal(m.n, 3);
    assert_true(m.list[1].energy == 2 && m.list[2].energy == 0.5);
    cbe_maxima_free(&m);
}

static void add__drops_the_lowest_of_a_full_list(void **state)
{
    (void)state;
    cbe_maxima m = {0}, copy = {0};
    double v[D];
    cbe_assert_ok(cbe_maxima_init(&m, D, &err), &err);
    cbe_assert_ok(cbe_maxima_init(&copy, D, &err), &err);
    for (size_t i = 0; i < CBE_MAXIMA_MOST + 5; i++) {
        axis(v, i, 0);
        cbe_maxima_add(&m, v, (double)i, CBE_FROM_RANDOM);
    }
    axis(v, 0, 0);
    cbe_maxima_add(&m, v, 1, CBE_FROM_RANDOM); /* lower than all that are kept */
    assert_int_equal(m.n, CBE_MAXIMA_MOST);
    cbe_maxima_add_all(&copy, &m);
    assert_int_equal(copy.n, CBE_MAXIMA_MOST);
    for (size_t i = 0; i < copy.n; i++) {
        const size_t from = CBE_MAXIMA_MOST + 4 - i;
        assert_true(copy.list[i].energy == (double)from && copy.list[i].v[from] == 1);
    }
    cbe_maxima_free(&m);
    cbe_maxima_free(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add__keeps_the_highest_first_and_equal_directions_once),
        cmocka_unit_test(add__drops_the_lowest_of_a_full_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
