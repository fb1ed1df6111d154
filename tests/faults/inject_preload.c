/*
 * inject_preload.c - inject.h for any program, by the environment:
 *
 *   LD_PRELOAD=build/ci/tests/libcbe-inject.so CBE_FAULT=write:5:ENOSPC cbe extract ...
 *   LD_PRELOAD=build/ci/tests/libcbe-inject.so CBE_FAULT=memory:0 cbe extract ...    fails nothing
 *
 * With CBE_FAULT_OF=program only calls of the program itself count, not those of its libraries:
 * MPI's allocate by the thousand.
 *
 * At the end it says on standard error how many calls there were. Writing to standard output is not
 * counted here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faults/inject.h"

static void say_counts(void)
{
    inject_end();
    for (int kind = 0; kind < INJECT_N_KINDS; kind++)
        fprintf(stderr, "%s%s %ld", kind ? ", " : "inject: ", inject_kind_name((inject_kind)kind),
                inject_count((inject_kind)kind));
    fprintf(stderr, "; failed: %s\n", *inject_failed() ? inject_failed() : "none");
}

static __attribute__((constructor)) void begin(void)
{
    inject_fault fault;
    const char *text = getenv("CBE_FAULT");
    if (!text) return;
    if (!inject_parse(&fault, text)) {
        fprintf(stderr, "inject: CBE_FAULT=%s: not KIND:N[+][:ERROR]\n", text);
        exit(2);
    }
    const char *of = getenv("CBE_FAULT_OF");
    if (of && strcmp(of, "program") == 0) inject_of_program();
    atexit(say_counts);
    inject_begin(&fault);
}
