/* The cost model of cbe plan: its sums by hand, how they scale, divisions, refusals; rates that are
 * measured. */
#include <omp.h>
#include <string.h>

#include "covariance/covariance.h"
#include "objective/lens/objective.h"
#include "plan/plan.h"
#include "support/assert_close.h"

static cbe_error err;

/* A model of 10 blocks, d = 100, V = 1000, and rates that make sums easy. */
static const cbe_model_config model = {.architecture = "llama",
                                       .hidden_size = 100,
                                       .n_layers = 10,
                                       .vocab_size = 1000,
                                       .n_heads = 4,
                                       .n_kv_heads = 2,
                                       .head_size = 25,
                                       .mlp_size = 300,
                                       .gated_mlp = true};
static const cbe_plan_rates rates = {.threads = 2,
                                     .multiply = 1e-9,
                                     .set = 5e-9,
                                     .score = 1e-8,
                                     .one = 3e-8,
                                     .many = 2e-8,
                                     .score_product = 1e-9,
                                     .one_product = 3e-9,
                                     .many_product = 2e-9};

static cbe_plan_run a_run(void)
{
    return (cbe_plan_run){.model = model,
                          .n_tokens = 4096,
                          .context_length = 256,
                          .n_layers = 10,
                          .n_vectors = 1,
                          .n_processes = 1,
                          .n_machines = 1,
                          .threads = 2,
                          .bandwidth = 1e9,
                          .latency = 1e-5};
}

static cbe_plan plan_of(const cbe_plan_run *run)
{
    cbe_plan plan;
    cbe_assert_ok(cbe_plan_make(&plan, run, &rates, &err), &err);
    return plan;
}

static void assert_near(double got, double want)
{
    cbe_assert_close(&got, &want, 1, 0, 1e-12, "a sum");
}

static void weights__are_those_of_the_matrices(void **state)
{
    (void)state;
    size_t block;
    /* q and o 100 x 100, k and v 100 x 50, three of 100 x 300, two norms; the embedding. */
    const size_t all = cbe_plan_weight_bytes(&model, &block);
    assert_int_equal(all, 10 * block + 4 * 100000);
    assert_int_equal(block, 4 * (2 * 10000 + 2 * 5000 + 3 * 30000 + 200));
}

static void plan__adds_up(void **state)
{
    (void)state;
    const cbe_plan_run run = a_run();
    const cbe_plan plan = plan_of(&run);
    const double n = 4096, v = 1000, d = 100;
    assert_near(plan.forward, n * 10 * 120200 * 1e-9 / 0.8);
    assert_near(plan.set, 10 * n * v * (2 * d * 1e-9 + 5e-9));
    /* Per layer: 215 directions on 256 tokens, 17 on all, 58 scored on 128, 14 rescored. */
    const double search = 215 * (2e-8 * 256 * v + 2e-9 * v * d) +
                          17 * (2.5e-8 * n * v + 2.5e-9 * v * d) +
                          58 * (1e-8 * 128 * v + 1e-9 * v * d) + 14 * (1e-8 * n * v + 1e-9 * v * d);
    assert_near(plan.search_time, 10 * search);
    assert_near(plan.report, 10 * 5 * (1e-8 * n * v + 1e-9 * v * d));
    assert_near(plan.seconds, plan.forward + plan.set + plan.search_time + plan.report);
    assert_int_equal(plan.memory, plan.program + plan.weights + plan.states + plan.objective +
                                      plan.covariance + plan.search);
    assert_int_equal(plan.covariance, cbe_covariance_bytes(100));
    const cbe_decoder decoder = {.hidden_size = 100, .vocab_size = 1000};
    const cbe_lens_options lens = {.n_tokens = 4096, .max_batch = 8};
    assert_int_equal(plan.objective, cbe_lens_objective_bytes(&decoder, &lens));
    assert_true(plan.sent == 0 && plan.network_time == 0);
}

/* A vocabulary large enough: what goes over a quarter of it, and what over all of it. */
static void plan__knows_rough_energies(void **state)
{
    (void)state;
    cbe_plan_run run = a_run();
    run.model.vocab_size = 20000;
    const double n = 4096, v = 20000, r = 5000, d = 100;
    const double search =
        231 * (2e-8 * 256 * r + 2e-9 * r * d) + 234 * (2e-8 * 512 * r + 2e-9 * r * d) +
        39 * (3e-8 * n * r + 3e-9 * r * d) + 11 * (2.5e-8 * n * v + 2.5e-9 * v * d) +
        58 * (1e-8 * 128 * r + 1e-9 * r * d) + 24 * (1e-8 * 256 * v + 1e-9 * v * d) +
        8 * (1e-8 * n * v + 1e-9 * v * d);
    const cbe_plan plan = plan_of(&run);
    assert_near(plan.search_time, 10 * search);
    assert_near(plan.set, 10 * ((2 * n * v * d + 256 * v * d + n * r * d) * 1e-9 + n * v * 5e-9));
}

static void plan__scales_with_threads_and_processes(void **state)
{
    (void)state;
    cbe_plan_run run = a_run();
    const cbe_plan one = plan_of(&run);
    run.threads = 8;
    assert_near(plan_of(&run).seconds, one.seconds / 4);
    run = a_run();
    run.n_processes = 5;
    const cbe_plan layers = plan_of(&run);
    assert_int_equal(layers.n_groups, 5);
    assert_near(layers.search_time, one.search_time / 5);
    /* 16 sequences: a process runs 4 at most for all, and has the states of two layers, four fifths
     * of them from others. */
    assert_near(layers.forward, one.forward / 4);
    assert_near(layers.sent, 2 * 2 * 4096.0 * 100 * 4 * 4 / 5);
    run.context_length = 64; /* short sequences are run by each group */
    assert_near(plan_of(&run).forward, one.forward);
    run.context_length = 256;
    run.n_processes = run.n_groups = 2;
    const cbe_plan two = plan_of(&run);
    assert_near(two.forward, one.forward / 2);
    /* of the half that states may take, twice what is kept */
    run.memory = two.program + two.weights + 4 * two.states;
    assert_near(plan_of(&run).forward, two.forward);
    run.memory--;
    assert_near(plan_of(&run).forward, one.forward);
    run.memory = run.n_groups = 0;
    run.n_processes = 4; /* divides neither 10 layers: groups of three */
    assert_near(plan_of(&run).search_time, one.search_time * 3 / 10);
    run.n_groups = 1;
    const cbe_plan tokens = plan_of(&run);
    assert_int_equal(tokens.group_size, 4);
    assert_near(tokens.set, one.set / 4);
    /* products with the vocabulary are divided too */
    assert_near(tokens.search_time, one.search_time / 4);
    assert_true(tokens.memory < one.memory && tokens.sent > 0 && tokens.network_time == 0);
    run.n_machines = 2;
    const cbe_plan far = plan_of(&run);
    assert_true(far.network_time > tokens.sent / 1e9);
    assert_true(far.search_time > one.search_time / 4 && far.search_time < one.search_time);
}

static void plan__divides_tokens_where_memory_asks_for_it(void **state)
{
    (void)state;
    cbe_plan_run run = a_run();
    run.n_processes = 4;
    assert_int_equal(plan_of(&run).group_size, 1);
    run.memory = plan_of(&run).memory - 1;
    const cbe_plan smaller = plan_of(&run);
    assert_true(smaller.group_size > 1 && smaller.memory <= run.memory);
    assert_string_equal(smaller.logits, "float32");
    run = a_run();
    run.memory = plan_of(&run).memory - 1;
    assert_string_equal(plan_of(&run).logits, "float16");
}

static void plan__refuses_what_cannot_be(void **state)
{
    (void)state;
    cbe_plan plan;
    cbe_plan_run run = a_run();
    run.memory = 1000000;
    assert_int_equal(cbe_plan_make(&plan, &run, &rates, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "a process needs"));
    run = a_run();
    run.n_processes = 6;
    run.n_groups = 4;
    assert_int_equal(cbe_plan_make(&plan, &run, &rates, &err), CBE_ERR_ARG);
    run.n_groups = 0;
    run.n_processes = 1000;
    assert_int_equal(cbe_plan_make(&plan, &run, &rates, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "too many"));
}

static void measure__gives_rates(void **state)
{
    (void)state;
    cbe_plan_rates r;
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    cbe_assert_ok(cbe_plan_measure(&r, 64, 5000, &err), &err);
    omp_set_num_threads(threads);
    assert_int_equal(r.threads, 1);
    /* Between a CPU of 1 TFLOP/s a thread and one of an emulator. */
    assert_true(r.multiply > 1e-13 && r.multiply < 1e-6);
    const double all[] = {r.score,       r.one,          r.many, r.score_product,
                          r.one_product, r.many_product, r.set};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) assert_true(all[i] >= 0 && all[i] < 1e-5);
    assert_true(r.score > 0 && r.one > 0 && r.many > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights__are_those_of_the_matrices),
        cmocka_unit_test(plan__adds_up),
        cmocka_unit_test(plan__knows_rough_energies),
        cmocka_unit_test(plan__scales_with_threads_and_processes),
        cmocka_unit_test(plan__divides_tokens_where_memory_asks_for_it),
        cmocka_unit_test(plan__refuses_what_cannot_be),
        cmocka_unit_test(measure__gives_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
