/* A thread's function is called while its products last, and no other thread's. */
#include "core/pulse.h"

#include <pthread.h>

#include "math/gemm.h"
#include "support/assert_close.h"

enum { N = 64 };

static void count(void *context)
{
    ++*(int *)context;
}

static void multiply(void)
{
    static float a[N * N], c[N * N];
    cbe_gemm(false, false, N, N, N, 1, a, N, a, N, 0, c, N);
}

static void *multiply_elsewhere(void *unused)
{
    (void)unused;
    static double a[N * N], c[N * N];
    cbe_pulse();
    cbe_gemm_f64(false, false, N, N, N, 1, a, N, a, N, 0, c, N);
    return NULL;
}

static void products__are_heard(void **state)
{
    int n = 0;
    pthread_t other;
    (void)state;
    cbe_pulse(); /* nobody listens */
    cbe_pulse_set(count, &n);
    while (n < 2) multiply();
    cbe_pulse_set(NULL, NULL);
    assert_int_equal(n, 2);
    assert_int_equal(pthread_create(&other, NULL, multiply_elsewhere, NULL), 0);
    pthread_join(other, NULL);
    multiply();
    assert_int_equal(n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products__are_heard)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
