/* in_processes.h - running a group of tests in 3 processes together, as mpiexec starts them. */
#ifndef CBE_TESTS_IN_PROCESSES_H
#define CBE_TESTS_IN_PROCESSES_H

#include <stddef.h>

#include "support/assert_close.h"

/** Runs n tests, whose *state is the cbe_processes of all processes; returns the exit status. */
int in_processes_run(size_t n, struct CMUnitTest *tests);

#endif
