/* ending.c - the end of a command: its line on standard error, its standard output, its exit status
 * (commands.h). */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "core/fail.h"

int cli_report(const cbe_error *err)
{
    fprintf(stderr, "cbe: %s\n", cbe_error_typed(err));
    switch (err->code) {
    case CBE_ERR_NOMEM:
    case CBE_ERR_SYSTEM:
    case CBE_ERR_CANCELLED:
    case CBE_ERR_INTERNAL: return CLI_FAILED;
    default: return CLI_BAD_INPUT;
    }
}

static int output_error; /* errno of the first write to standard output that failed; 0: unknown */

void cli_flush_output(void)
{
    if ((ferror(stdout) || fflush(stdout) != 0) && !output_error) output_error = errno;
}

int cli_finish_output(void)
{
    /* Without output_error the reason is no longer known. */
    const bool earlier = ferror(stdout);
    if (!earlier) cli_flush_output();
    if (!earlier && !output_error) return CLI_DONE;
    fprintf(stderr, "cbe: standard output cannot be written: %s\n",
            output_error ? strerror(output_error) : "a part of it was lost");
    return CLI_FAILED;
}
