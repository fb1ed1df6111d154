/* The command plan: what it prints, and what it refuses. Each run measures this machine for
 * seconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/program.h"
#include "support/temp_folder.h"

static void plan__prints_what_a_run_takes(void **state)
{
    (void)state;
    program_done(
        "plan %G/models/llama/config.json --tokens 4096 -k 2 -p 2 --nodes 2 --divide tokens -t 1");
    assert_non_null(strstr(program_out, "2 of 1 thread on 2 nodes"));
    program_done("plan %G/models/llama --tokens 4096 -k 2 -p 4 --divide layers");
    assert_non_null(strstr(program_out, "3 layers, 2 vectors each"));
    assert_non_null(strstr(program_out, "2 groups with layers of their own, of 2 that divide"));
    assert_non_null(strstr(program_out, "logits as float32"));
}

static void plan__refuses_what_cannot_be(void **state)
{
    (void)state;
    static const struct {
        const char *line, *said;
    } cases[] = {
        {"plan --tokens 5", "MODEL is missing"},
        {"plan %G/models/llama", "--tokens N is missing"},
        {"plan %G/models/llama --tokens 4096 --nodes 2", "--nodes 2"},
        {"plan %G/models/llama --tokens 4096 -k 100000", "-k 100000"},
        {"plan %G/models/llama --tokens 4096 -l 7", "no layer 7"},
        {"plan %G/models/llama --tokens 4096 --bandwidth 0", "--bandwidth"},
        {"plan %G/models/llama --tokens 4096 -p 4 --divide 3", "3 groups"},
        {"plan %F/none.json --tokens 4096", "none.json"},
        {"plan %G/models/llama --tokens 4096 --memory 1M", "a process needs"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(program_run(cases[i].line), 2);
        if (!strstr(program_err, cases[i].said)) fail_msg("%s: %s", cases[i].line, program_err);
        assert_ptr_equal(strchr(program_err, '\n'), program_err + strlen(program_err) - 1);
    }
}

int main(void)
{
    /* Rates of one thread take as long to measure as rates of two, and half the processor time. */
    setenv("OMP_NUM_THREADS", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan__prints_what_a_run_takes),
        cmocka_unit_test(plan__refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
