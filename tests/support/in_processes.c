/* in_processes.c - see in_processes.h. */
#include "support/in_processes.h"

#include <stdio.h>

#include "processes/processes.h"

int in_processes_run(size_t n, struct CMUnitTest *tests)
{
    cbe_error err = {0};
    cbe_processes *all = NULL;
    if (cbe_processes_start(&all, &err) != CBE_OK || cbe_processes_size(all) != 3) {
        fprintf(stderr, "to be started as 3 processes: %s\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < n; i++) tests[i].initial_state = all;
    const int failed = _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
    cbe_processes_end(all);
    return failed != 0;
}
