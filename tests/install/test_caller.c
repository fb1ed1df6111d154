/* What holds for the whole process of a caller is the same before and after each call of the shared
 * library, whether it succeeds or fails. A caller sees the public headers alone. */
#include <cbe/cbe.h>
#include <omp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CASE   CBE_TEST_DATA "/golden/extract/rmsnorm-logit/"
#define HIDDEN CASE "hidden.safetensors"

/* NULL with another BLAS. */
extern void openblas_set_num_threads(int) __attribute__((weak));
extern int openblas_get_num_threads(void) __attribute__((weak));

enum { THREADS = 3, LAYER = 1, D = 24 };

static const int signals[] = {SIGINT, SIGTERM, SIGPIPE, SIGBUS, SIGALRM};
enum { N_SIGNALS = sizeof signals / sizeof *signals };
static struct sigaction actions[N_SIGNALS]; /* as the caller set them */

static void callers_handler(int number)
{
    (void)number;
}

/* Called by each test, as cmocka sets handlers of its own around it. */
static void become_caller(void)
{
    struct sigaction action = {.sa_handler = callers_handler, .sa_flags = SA_RESTART};
    for (int i = 0; i < N_SIGNALS; i++) {
        assert_int_equal(sigaction(signals[i], &action, NULL), 0);
        assert_int_equal(sigaction(signals[i], NULL, &actions[i]), 0);
    }
    if (openblas_set_num_threads) openblas_set_num_threads(THREADS);
    omp_set_num_threads(THREADS);
}

static void assert_as_it_was(const char *when)
{
    if (omp_get_max_threads() != THREADS)
        fail_msg("%s OpenMP has %d threads", when, omp_get_max_threads());
    if (openblas_get_num_threads && openblas_get_num_threads() != THREADS)
        fail_msg("%s BLAS has %d threads", when, openblas_get_num_threads());
    for (int i = 0; i < N_SIGNALS; i++) {
        struct sigaction action;
        sigaction(signals[i], NULL, &action);
        if (action.sa_handler != callers_handler || action.sa_flags != actions[i].sa_flags)
            fail_msg("%s signal %d has another handler", when, signals[i]);
    }
}

static cbe_run *begin(const char *command, const char *threads, const char *hidden)
{
    cbe_error err;
    cbe_run *run = NULL;
    const char *const options[][2] = {{"threads", threads},
                                      {"hidden-states", hidden},
                                      {"decoder", CASE "decoder.safetensors"},
                                      {"layers", "1"}};
    assert_int_equal(cbe_run_create(&run, command, &err), CBE_OK);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (cbe_run_set(run, options[i][0], options[i][1], &err) != CBE_OK)
            fail_msg("%s: %s", options[i][0], err.message);
    assert_as_it_was("after options");
    return run;
}

static void execute(cbe_run *run, cbe_status want)
{
    cbe_error err = {0};
    if (cbe_run_execute(run, &err) != want) fail_msg("%s", err.message);
    assert_as_it_was("after the run");
}

static void a_run_that_succeeds__leaves_the_process_as_it_was(void **state)
{
    (void)state;
    become_caller();
    /* the library's own number of threads, the caller's, and more */
    static const char *const threads[] = {"1", "0", "5"};
    double energies[3][2];
    for (int t = 0; t < 3; t++) {
        const double *found;
        cbe_run *run = begin("extract", threads[t], HIDDEN);
        assert_int_equal(cbe_run_set(run, "vectors", "2", NULL), CBE_OK);
        execute(run, CBE_OK);
        assert_int_equal(cbe_run_values(run, LAYER, "energy", &found), 2);
        memcpy(energies[t], found, sizeof energies[t]);
        cbe_run_free(run);
        assert_as_it_was("after free");
        assert_memory_equal(energies[t], energies[0], sizeof energies[0]);
    }
    assert_true(energies[0][0] > energies[0][1] && energies[0][1] > 0);
}

static void probing_vectors__leaves_the_process_as_it_was(void **state)
{
    (void)state;
    become_caller();
    const double v[2][D] = {{[0] = 1}, {[3] = 0.6, [5] = 0.8}}, *found;
    cbe_run *run = begin("probe", "2", HIDDEN);
    assert_int_equal(cbe_run_set_vectors(run, 2, D, v[0], NULL), CBE_OK);
    execute(run, CBE_OK);
    assert_int_equal(cbe_run_values(run, LAYER, "energy", &found), 2);
    assert_true(found[0] > 0 && found[1] > 0);
    cbe_run_free(run);
    assert_as_it_was("after free");
}

static void saving__leaves_the_process_as_it_was(void **state)
{
    (void)state;
    become_caller();
    static const char *const names[] = {"/out/basis.safetensors", "/out/basis.json",
                                        "/out/vectors.csv", "/out", ""};
    char folder[] = "/tmp/cbe-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    cbe_run *run = begin("extract", "2", HIDDEN);
    assert_int_equal(cbe_run_set(run, "vectors", "1", NULL), CBE_OK);
    execute(run, CBE_OK);
    snprintf(path, sizeof path, "%s/none/out", folder);
    assert_int_equal(cbe_run_save(run, path, NULL), CBE_ERR_IO);
    assert_as_it_was("after saving to no folder");
    snprintf(path, sizeof path, "%s/out", folder);
    assert_int_equal(cbe_run_save(run, path, NULL), CBE_OK);
    assert_as_it_was("after saving");
    cbe_run_free(run);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s%s", folder, names[i]);
        assert_int_equal(remove(path), 0);
    }
}

static bool refuse(void *context, cbe_event event, const char *text, size_t done, size_t total)
{
    (void)text, (void)done, (void)total;
    *(int *)context += 1;
    return event != CBE_EVENT_PROGRESS;
}

static void runs_that_fail__leave_the_process_as_it_was(void **state)
{
    (void)state;
    become_caller();
    cbe_run *run = begin("extract", "2", CASE "none.safetensors");
    execute(run, CBE_ERR_IO);
    cbe_run_free(run);

    run = begin("extract", "2", CBE_TEST_DATA "/golden/extract/negative/hidden.safetensors");
    assert_int_equal(cbe_run_set(run, "layers", "50", NULL), CBE_OK);
    execute(run, CBE_ERR_ARG);
    cbe_run_free(run);

    int calls = 0;
    run = begin("extract", "2", HIDDEN);
    cbe_run_set_callback(run, refuse, &calls);
    execute(run, CBE_ERR_CANCELLED);
    assert_true(calls > 0);
    cbe_run_free(run);
    assert_as_it_was("after failures");
}

static void the_library__is_the_one_of_the_headers(void **state)
{
    (void)state;
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", CBE_VERSION_MAJOR, CBE_VERSION_MINOR,
             CBE_VERSION_PATCH);
    assert_string_equal(cbe_version(), version);
    assert_int_equal(cbe_abi(), CBE_ABI);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_succeeds__leaves_the_process_as_it_was),
        cmocka_unit_test(probing_vectors__leaves_the_process_as_it_was),
        cmocka_unit_test(saving__leaves_the_process_as_it_was),
        cmocka_unit_test(runs_that_fail__leave_the_process_as_it_was),
        cmocka_unit_test(the_library__is_the_one_of_the_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
